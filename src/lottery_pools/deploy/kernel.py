"""The C text of one convolution: tiles of sums in registers, the kept weights one after another.

All that depends on the shape is a constant of the text; weights, and where their inputs lie, are read from arrays. So
convolutions of one shape share a function, and a network of any size compiles in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lottery_pools.deploy.graph import Convolution
from lottery_pools.deploy.layout import REGISTER, Layout, Unfolded, rounded
from lottery_pools.deploy.sharing import Shift
from lottery_pools.deploy.tiles import Grid, Tile


@dataclass(frozen=True)
class Convolving:
    """A convolution with the layouts of all that it reads and makes."""

    op: Convolution
    source: Layout | Unfolded
    residual: Layout | None
    out: Layout

    @property
    def grid(self) -> Grid:
        """The positions of the result, as registers."""
        if isinstance(self.source, Unfolded) or self.out.unit == 1:
            return Grid(1, rounded(self.out.shape[1] * self.out.shape[2]) // REGISTER, 1, (0, REGISTER), (0, REGISTER))
        (rows, columns), unit = self.op.stride, self.out.unit
        return Grid(
            self.out.shape[1],
            self.out.shape[2],
            unit // REGISTER,
            (rows * self.source.pitch * unit, columns * unit),
            (self.out.pitch * unit, unit),
        )

    @property
    def plane(self) -> int:
        """Floats of one channel of the source."""
        return self.source.plane * (1 if isinstance(self.source, Unfolded) else self.source.unit)

    def taps(self) -> NDArray[np.int64]:
        """(kernel height, kernel width): the float of channel 0 that each weight of a kernel meets first."""
        if isinstance(self.source, Unfolded):
            return self.source.taps()
        down, right = (
            np.arange(size, dtype=np.int64) * step - before
            for size, step, before in zip(self.op.weight.shape[2:], self.op.dilation, self.op.padding, strict=True)
        )
        taps: NDArray[np.int64] = (down[:, None] * self.source.pitch + right) * self.source.unit + self.source.first
        return taps


@dataclass(frozen=True)
class Kernel:
    """The C text of a convolution: `NAME` stands for the name of its function."""

    work: Convolving
    places: Grid
    tile: Tile

    @property
    def op(self) -> Convolution:
        return self.work.op

    @property
    def out(self) -> Layout:
        return self.work.out

    @property
    def residual(self) -> Layout | None:
        return self.work.residual

    @property
    def blocks(self) -> int:
        blocks: int = -(-self.op.weight.shape[1] // self.tile.block)
        return blocks

    @property
    def loads(self) -> list[tuple[int, int, int]]:
        """(row, column, register) of each register of a tile."""
        tile = self.tile
        return [
            (row, column, vector)
            for row in range(tile.rows)
            for column in range(tile.columns)
            for vector in range(self.places.vectors)
        ]

    def spots(self, steps: tuple[int, int], per_output: int = 0) -> list[tuple[str, int]]:
        """(sum, its place from the tile's first in floats): where rows and columns lie `steps` apart."""
        return [
            (f"{output}_{index}", output * per_output + row * steps[0] + column * steps[1] + vector * REGISTER)
            for output in range(self.tile.together)
            for index, (row, column, vector) in enumerate(self.loads)
        ]

    def title(self) -> str:
        _, inputs, *kernel = self.op.weight.shape
        source = f"{inputs * self.op.groups} × {self.work.source.shape[1]} × {self.work.source.shape[2]}"
        sizes = f"kernel {kernel[0]} × {kernel[1]}, stride {self.op.stride[0]} × {self.op.stride[1]}"
        return (
            f"/* Convolution of {source} to {' × '.join(map(str, self.out.shape))}, {sizes}, {self.op.groups} groups,\n"
            f"   then {'a residual and ' if self.residual else ''}activation {self.op.activation}; {len(self.loads)} "
            f"registers by {self.tile.together} outputs at a time, {self.blocks} blocks of inputs. */"
        )

    def lines(self) -> Iterator[str]:
        tile, places = self.tile, self.places
        groups = len(self.op.weight) // tile.together
        parts = 1 + len(tile.shifts)
        starts = self.blocks * groups * parts + 1
        yield self.title()
        # The result may lie where the residual does.
        yield "static void NAME(const float *restrict in, const float *residual, float *out,"
        yield "                 const float *restrict floats, const int32_t *restrict integers, int part, int parts)"
        yield "{"
        yield f"    const float *bias = floats, *weights = floats + {len(self.op.weight)};"
        yield f"    const int32_t *starts = integers, *offsets = integers + {starts};"
        yield f"    const int from = {groups} * part / parts, until = {groups} * (part + 1) / parts;"
        if self.residual is None:
            yield "    (void)residual;"
        yield f"    for (int row = 0; row < {places.rows}; row += {tile.rows})"
        yield f"    for (int column = 0; column < {places.columns}; column += {tile.columns}) {{"
        down, right = places.rows - tile.rows, places.columns - tile.columns  # the last tile, within the result
        yield f"        const int y = row < {down} ? row : {down}, x = column < {right} ? column : {right};"
        yield f"        const float *under = in + y * {places.source[0]} + x * {places.source[1]};"
        yield f"        float *over = out + {self.out.first} + y * {places.out[0]} + x * {places.out[1]};"
        if self.residual is not None:
            steps = self.residual_steps()
            yield f"        const float *beside = residual + {self.residual.first}"
            yield f"                              + y * {steps[0]} + x * {steps[1]};"
        yield f"        for (int block = 0; block < {self.blocks}; block++)"
        yield "        for (int output = from; output < until; output++) {"
        yield f"            const int32_t *range = starts + (block * {groups} + output) * {parts};"
        if self.blocks > 1:
            yield f"            if (range[0] == range[{parts}] && block > 0 && block < {self.blocks - 1})"
            yield "                continue;"
        yield f"            for (int lane = 0; lane < {REGISTER}; lane += LANES) {{"
        yield from (f"                {line}" for line in self.body())
        yield "            }"
        yield "        }"
        yield "    }"
        yield "}"

    def residual_steps(self) -> tuple[int, int]:
        """From one row, one column of registers to the next, in the residual."""
        assert self.residual is not None
        unit = self.residual.unit
        return self.places.out if unit == 1 else (self.residual.pitch * unit, unit)

    def body(self) -> Iterator[str]:
        """One tile of one output channel (or of two together): start, add, finish."""
        tile = self.tile
        plane = self.out.plane * self.out.unit
        sums = self.spots(self.places.out, plane)
        yield "const float *source = under + lane;"
        yield f"float *to = over + (ptrdiff_t)output * {tile.together * plane} + lane;"
        chains = "abcd"[: tile.chains]
        bias = {str(t): f"splat(bias[output * {tile.together} + {t}])" for t in range(tile.together)}
        start = [f"a{name} = {bias[name[0]]};" for name, _ in sums]
        if self.residual is not None:
            beyond = self.residual.plane * self.residual.unit
            start.insert(0, f"const float *r = beside + (ptrdiff_t)output * {tile.together * beyond} + lane;")
            start += [f"a{name} += load(r + {place});" for name, place in self.spots(self.residual_steps(), beyond)]
        yield "vec " + ", ".join(f"{chain}{name}" for chain in chains for name, _ in sums) + ";"
        if self.blocks > 1:
            yield "if (block == 0) {"
            yield from (f"    {line}" for line in start)
            yield "} else {"
            yield from (f"    a{name} = load(to + {place});" for name, place in sums)
            yield "}"
        else:
            yield from start
        for chain in chains[1:]:
            yield " ".join(f"{chain}{name} = splat(0.0f);" for name, _ in sums)
        yield "int32_t k = range[0];"
        if tile.chains > 1:
            yield f"for (; k + {tile.chains} <= range[1]; k += {tile.chains}) {{"
            for number, chain in enumerate(chains):
                yield from (f"    {line}" for line in self.add(chain, f"k + {number}"))
            yield "}"
        yield "for (; k < range[1]; k++) {"
        yield from (f"    {line}" for line in self.add("a", "k"))
        yield "}"
        for part, shift in enumerate(tile.shifts, 2):
            yield f"for (; k < range[{part}]; k += 2) {{"
            yield from (f"    {line}" for line in self.add_pair(shift))
            yield "}"
        for chain in chains[1:]:
            yield " ".join(f"a{name} += {chain}{name};" for name, _ in sums)
        yield from self.finish([name for name, _ in sums])
        yield from (f"store(to + {place}, a{name});" for name, place in sums)

    def add(self, chain: str, k: str) -> Iterator[str]:
        """One kept weight (or one of each of two outputs) times the inputs under it."""
        together = self.tile.together
        yield "{"
        yield f"    const float *p = source + offsets[{k}];"
        weights = [f"w{t} = splat(weights[({k}) * {together} + {t}])" for t in range(together)]
        yield f"    const vec {', '.join(weights)};"
        for index, (row, column, vector) in enumerate(self.loads):
            place = row * self.places.source[0] + column * self.places.source[1] + vector * REGISTER
            if together == 1:
                yield f"    {chain}0_{index} += w0 * load(p + {place});"
            else:
                adds = " ".join(f"{chain}{t}_{index} += w{t} * x;" for t in range(together))
                yield f"    {{ const vec x = load(p + {place}); {adds} }}"
        yield "}"

    def add_pair(self, shift: Shift) -> Iterator[str]:
        """Two kept weights times the inputs under them; an input that both need is loaded once."""
        down, right = shift.registers
        sums = {(row, column): index for index, (row, column, _) in enumerate(self.loads)}
        yield "const float *p = source + offsets[k];"
        yield "const vec w0 = splat(weights[k]), w1 = splat(weights[k + 1]);"
        for row, column in sorted({*sums, *((row + down, column + right) for row, column in sums)}):
            place = row * self.places.source[0] + column * self.places.source[1]
            users = [(0, sums.get((row, column))), (1, sums.get((row - down, column - right)))]
            adds = " ".join(f"a0_{index} += w{weight} * x;" for weight, index in users if index is not None)
            yield f"{{ const vec x = load(p + {place}); {adds} }}"

    def finish(self, names: list[str]) -> Iterator[str]:
        """What follows the last block: the activation."""
        lines = []
        if self.op.activation != "none":
            lines += [f"a{name} = {self.op.activation}(a{name});" for name in names]
        if self.blocks > 1 and lines:
            lines = [f"if (block == {self.blocks - 1}) {{", *(f"    {line}" for line in lines), "}"]
        yield from lines

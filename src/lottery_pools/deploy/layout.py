"""Where values lie in memory: which float holds channel c, row y, column x; and which memory values share.

Two modes. In *batch* mode a position holds 16 samples side by side (or 64), one lane of a vector register each, and
every value has the border of zeros that its readers read. In *single* mode a position holds one sample, a register
holds 16 neighbouring positions, and values have no border: before a convolution its source is unfolded, copied once
for each column of the kernel, so that whatever a weight reads is one stretch of memory, in registers' places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lottery_pools.deploy.graph import Convolution, Network, Operation, Pair, Shape

REGISTER = 16
"""Floats that are worked on side by side: one AVX-512 register, two of AVX2, four of NEON."""

CACHE = 4 << 20
"""Bytes that one operation may touch before it is better to compute one sample at a time (docs/decisions.md)."""


@dataclass(frozen=True)
class Layout:
    """The memory of one value: channel c, row y, column x begins at position `position(c, y, x)`.

    `unit`: floats a position. `pitch`: positions a row. `top`, `left`: border before the first row and column.
    `plane`: positions a channel.
    """

    shape: Shape
    unit: int
    pitch: int
    top: int
    left: int
    plane: int

    def position(self, channel: int, row: int, column: int) -> int:
        """The position of a channel, row and column; those of the border lie outside the shape."""
        return channel * self.plane + (row + self.top) * self.pitch + column + self.left

    @property
    def first(self) -> int:
        """The float at which channel 0, row 0, column 0 begins."""
        return self.position(0, 0, 0) * self.unit

    @property
    def floats(self) -> int:
        return self.shape[0] * self.plane * self.unit


@dataclass(frozen=True)
class Unfolded:
    """The source of a convolution in single mode: for each column of the kernel, the inputs under it, zeros included.

    These are rows as long as the output's. With a stride down of 2, even rows and odd rows lie apart. Where the output
    fits one register, each row of the kernel has a copy of its own too (`each`).
    """

    shape: Shape
    out: Shape
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @property
    def each(self) -> bool:
        return self.out[1] * self.out[2] <= REGISTER

    @property
    def rows(self) -> int:
        """Rows of one copy."""
        return self.out[1] if self.each else self.out[1] + (self.kernel[0] - 1) * self.dilation[0] // self.stride[0]

    @property
    def copy(self) -> int:
        """Floats of one copy."""
        return rounded(self.rows * self.out[2])

    @property
    def parts(self) -> int:
        """Copies for each column of the kernel."""
        return self.kernel[0] if self.each else self.stride[0]

    def taps(self) -> NDArray[np.int64]:
        """(kernel height, kernel width): the float of channel 0 that each weight of a kernel meets first."""
        down = np.arange(self.kernel[0]) * (1 if self.each else self.dilation[0])
        part, row = (down, 0 * down) if self.each else (down % self.stride[0], down // self.stride[0])
        along = np.arange(self.kernel[1]) * self.parts
        return (along + part[:, None]) * self.copy + row[:, None] * self.out[2]

    @property
    def plane(self) -> int:
        """Floats a channel."""
        return self.kernel[1] * self.parts * self.copy

    @property
    def floats(self) -> int:
        return self.shape[0] * self.plane


@dataclass(frozen=True)
class Unfold:
    """The source of a convolution, unfolded."""

    out: str
    source: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)


@dataclass(frozen=True)
class Plan:
    """The operations in order, and for each value its layout and memory."""

    network: Network
    lanes: int
    """Samples that are computed side by side."""
    operations: tuple[Operation | Unfold, ...]
    layouts: Mapping[str, Layout]
    unfolded: Mapping[str, Unfolded]
    places: Mapping[str, int]
    """Value → first float of it in the workspace."""
    workspace: int
    """Floats of the workspace."""


def rounded(floats: int) -> int:
    """Up to whole registers."""
    return -(-floats // REGISTER) * REGISTER


def plan(network: Network, single: bool) -> Plan:
    """Lay out and place all values of a network, for one sample at a time or for many side by side."""
    if single:
        operations, layouts, unfolded = _single(network)
        lanes = 1
    else:
        lanes = _lanes(network)
        operations, layouts, unfolded = list(network.operations), _batch(network, lanes), {}
    places, workspace = _place(network, operations, {**layouts, **unfolded})
    # Whole registers may read beyond the last value, to no effect: by less than the positions of one channel.
    beyond = max((layout.plane * layout.unit for layout in layouts.values()), default=0) if single else 0
    return Plan(network, lanes, tuple(operations), layouts, unfolded, places, workspace + beyond + REGISTER)


def cut(network: Network) -> int:
    """How many operations to compute one sample at a time, where many are given, before many are side by side.

    Side by side, early layers of large images move more memory than the second cache holds: the operations up to the
    last that touches more than `CACHE` bytes are better done one sample at a time.
    """
    floats = {name: layout.floats for name, layout in _batch(network, _lanes(network)).items()}
    large = [
        index
        for index, op in enumerate(network.operations)
        if 4 * sum(floats[name] for name in (*op.reads, op.out)) > CACHE
    ]
    return large[-1] + 1 if large else 0


def _lanes(network: Network) -> int:
    """Samples side by side: four registers of them where there are no neighbouring positions to work on together."""
    convolutions = [operation for operation in network.operations if isinstance(operation, Convolution)]
    vectors_only = all(network.shapes[operation.out][1:] == (1, 1) for operation in convolutions)
    return 4 * REGISTER if vectors_only else REGISTER


@dataclass(frozen=True)
class _Border:
    """Rows and columns beyond a value's edge that its readers read."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __or__(self, other: _Border) -> _Border:
        return _Border(
            max(self.top, other.top),
            max(self.bottom, other.bottom),
            max(self.left, other.left),
            max(self.right, other.right),
        )


def _border(convolution: Convolution, source: Shape, out: Shape) -> _Border:
    """What a convolution reads beyond the edge of its source."""
    beyond = [
        (out[1 + axis] - 1) * convolution.stride[axis]
        + (convolution.weight.shape[2 + axis] - 1) * convolution.dilation[axis]
        - convolution.padding[axis]
        - (source[1 + axis] - 1)
        for axis in (0, 1)
    ]
    return _Border(convolution.padding[0], max(0, beyond[0]), convolution.padding[1], max(0, beyond[1]))


def _batch(network: Network, unit: int) -> dict[str, Layout]:
    """The layouts of batch mode: every value has just the border that its readers read."""
    borders = dict.fromkeys(network.shapes, _Border())
    for op in network.operations:
        if isinstance(op, Convolution):
            borders[op.source] |= _border(op, network.shapes[op.source], network.shapes[op.out])
    layouts = {}
    for name, shape in network.shapes.items():
        edge = borders[name]
        pitch = edge.left + shape[2] + edge.right
        plane = (edge.top + shape[1] + edge.bottom) * pitch
        layouts[name] = Layout(shape, unit, pitch, edge.top, edge.left, plane)
    return layouts


def _single(network: Network) -> tuple[list[Operation | Unfold], dict[str, Layout], dict[str, Unfolded]]:
    """The layouts of single mode, and the operations with the unfolding of sources that have to be."""
    layouts = {
        name: Layout(shape, 1, shape[2], 0, 0, rounded(shape[1] * shape[2])) for name, shape in network.shapes.items()
    }
    operations: list[Operation | Unfold] = []
    unfolded: dict[str, Unfolded] = {}
    for op in network.operations:
        if isinstance(op, Convolution) and not reads_directly(op, network.shapes[op.source], network.shapes[op.out]):
            name = f"{op.source} for {op.out}"
            unfolded[name] = Unfolded(
                network.shapes[op.source],
                network.shapes[op.out],
                (op.weight.shape[2], op.weight.shape[3]),
                op.stride,
                op.padding,
                op.dilation,
            )
            operations.append(Unfold(name, op.source))
            op = replace(op, source=name)
        operations.append(op)
    return operations, layouts, unfolded


def reads_directly(op: Convolution, source: Shape, out: Shape) -> bool:
    """Whether, in single mode, what each weight reads is one stretch of memory already."""
    if op.padding != (0, 0):
        return False
    along_rows = op.stride == (1, 1) and op.weight.shape[3] == 1 and out[2] == source[2]
    return along_rows or out[1:] == (1, 1)


def _place(
    network: Network, operations: list[Operation | Unfold], layouts: Mapping[str, Layout | Unfolded]
) -> tuple[dict[str, int], int]:
    """Where each value begins in the workspace, and how many floats that has.

    A value takes the memory of one that is no longer read only where both have the same layout, so that the borders,
    to which nothing is written, stay zero.
    """
    last = {name: index for index, op in enumerate(operations) for name in op.reads}
    last.update(dict.fromkeys(network.outputs, len(operations)))
    free: dict[Layout | Unfolded, list[int]] = {}
    places: dict[str, int] = {}
    total = 0
    for index, names in enumerate([network.inputs, *((op.out,) for op in operations)]):
        for name in names:
            layout = layouts[name]
            if free.get(layout):
                places[name] = free[layout].pop()
            else:
                places[name] = total
                total += rounded(layout.floats)
        for name, end in last.items():
            if end == index - 1 and name in places:
                free.setdefault(layouts[name], []).append(places[name])
    return places, total

"""One convolution or linear layer as a C function and the numbers that it reads: kept weights and their offsets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lottery_pools.deploy.graph import Convolution
from lottery_pools.deploy.kernel import Convolving, Kernel
from lottery_pools.deploy.plan import Plan
from lottery_pools.deploy.sharing import match, sharings, shifts
from lottery_pools.deploy.tiles import Reach, Tile, choose


@dataclass(frozen=True)
class Function:
    """A C function's text, in which its name is `NAME`, and the constants of one call of it."""

    text: str
    floats: NDArray[np.float32]
    integers: NDArray[np.int32]


def convolution(op: Convolution, planned: Plan, target: str) -> Function:
    """The C function of a convolution, tuned for `target`."""
    source = planned.unfolded.get(op.source) or planned.layouts[op.source]
    residual = None if op.residual is None else planned.layouts[op.residual]
    work = Convolving(op, source, residual, planned.layouts[op.out])
    taps = work.taps()
    over = op.residual is not None and planned.places[op.residual] == planned.places[op.out]
    grid = replace(work.grid, once=over)
    tile = choose(op, grid, reach(work), target)
    starts, offsets, weights = _entries(op, taps, work.plane, tile)
    text = "\n".join(Kernel(work, grid, tile).lines())
    return Function(text, np.concatenate([op.bias, weights]), np.concatenate([starts, offsets]))


def reach(work: Convolving) -> Reach:
    """What one channel's inputs under a tile take, as a function of the tile."""
    op, unit = work.op, work.out.unit
    taps = work.taps()
    ways = sharings(op.weight, shifts(taps, work.grid.source))
    if unit == 1:
        return Reach(int(taps.max() - taps.min()), taps.size, unit, op.weight.shape[2:], op.stride, op.dilation, ways)
    return Reach(0, 0, unit, op.weight.shape[2:], op.stride, op.dilation, ways)


def _entries(
    op: Convolution, taps: NDArray[np.int64], plane: int, tile: Tile
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """(starts, offsets, weights): the kept weights, block by block of input channels, then by output channel.

    The weights of (block, output) are those from `starts[(block · outputs + output) · parts]` on: first those in no
    pair, then the pairs of each shift, in as many parts. `offsets` says how far from the first position of a tile its
    input lies; for a pair, that of its first weight counts. Of `together` outputs, a weight is kept where any has it.
    """
    outputs, inputs, *kernel = op.weight.shape
    kept = (op.weight != 0).reshape(outputs // tile.together, tile.together, inputs, *kernel).any(1)
    left, pairs = match(kept, tile.shifts)
    places = [np.argwhere(left), *(pair.reshape(-1, 4) for pair in pairs)]
    part = np.repeat(np.arange(len(places)), [len(part) for part in places])
    output, channel, row, column = np.concatenate(places).astype(np.int64).T
    blocks = -(-inputs // tile.block)
    cell = (channel // tile.block * len(kept) + output) * len(places) + part
    order = np.argsort(cell, kind="stable")
    output, channel, row, column = output[order], channel[order], row[order], column[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=blocks * len(kept) * len(places)))])
    first = output * tile.together // (outputs // op.groups) * inputs
    offsets = (first + channel) * plane + taps[row, column]
    rows = op.weight.reshape(-1, tile.together, inputs, *kernel)[output, :, channel, row, column]
    return starts.astype(np.int32), offsets.astype(np.int32), rows.reshape(-1).astype(np.float32)

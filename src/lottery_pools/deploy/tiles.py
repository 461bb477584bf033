"""How a convolution is cut up: tiles of output positions, blocks of input channels, and what each choice costs.

The kernel keeps a tile of outputs in registers, and adds, weight by weight, one input register a position: one load
and one multiply-add. So it is fast where these loads come from the nearest cache. Input channels are taken in blocks
whose inputs under the tile fit there; between blocks the sums wait in the output. Smaller blocks cost more of such
waiting, larger tiles spread each weight over more positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lottery_pools.deploy.graph import Convolution, Pair
from lottery_pools.deploy.layout import REGISTER
from lottery_pools.deploy.sharing import Sharing, Shift

SUMS = {"avx512": 16, "neon": 16, "avx2": 8, "plain": 8}
"""Target → sums of REGISTER lanes that a tile may hold; AVX2 works through their lanes in two turns."""

# Nanoseconds on a core with AVX-512 at about 3 GHz, fitted to 3×3 convolutions of 16 to 512 channels, densities 0.05
# to 1 (docs/decisions.md). Only their ratios matter.
_A_SUM, _A_WEIGHT, _A_TURN, _A_STORE = 0.25, 0.3, 4.0, 0.8
_UNLOADED = 0.7
"""What a multiplication and addition costs without a load of its own."""
_NEAR, _FAR, _FAR_COST = 38_000, 110_000, 1.0
"""Bytes that the nearest cache holds with ease, bytes at which all loads miss it, and what that adds to a load."""


@dataclass(frozen=True)
class Grid:
    """The output positions of one channel as rows × columns of registers, and how far apart these lie, in floats."""

    rows: int
    columns: int
    vectors: int
    """Registers a position: more than one where more than REGISTER samples lie side by side."""
    source: tuple[int, int]
    """From one row, one column of registers to the next, in the source."""
    out: tuple[int, int]
    once: bool = False
    """Whether no tile may meet a position that another one has."""

    def fits(self, rows: int, columns: int) -> bool:
        """Whether tiles of rows × columns positions may cover it."""
        if self.once and (self.rows % rows or self.columns % columns):
            return False
        return rows <= self.rows and columns <= self.columns


@dataclass(frozen=True)
class Tile:
    """`rows` × `columns` positions; `block` input channels; `together` output channels; `chains` sums a position.

    Weights that are pairs by one of the `shifts` are done together.
    """

    rows: int
    columns: int
    block: int
    together: int
    chains: int
    shifts: tuple[Shift, ...] = ()


@dataclass(frozen=True)
class Reach:
    """What the inputs of one channel under a tile take, besides what follows from the tile."""

    span: int
    """Single mode: floats from the first to the last that the weights of a kernel meet."""
    taps: int
    """Single mode: weights of a kernel."""
    unit: int
    """Floats a position: 1 in single mode."""
    kernel: Sequence[int]
    stride: Pair
    dilation: Pair
    sharings: tuple[Sharing, ...] = ()
    """The ways to pair the weights of a kernel."""

    def bytes(self, tile: Tile) -> int:
        """Bytes of one channel that a tile reads."""
        if self.unit == 1:
            run = tile.columns * REGISTER
            return 4 * min(self.span + run, self.taps * run)
        spans = [(size - 1) * step + 1 for size, step in zip((tile.rows, tile.columns), self.stride, strict=True)]
        lines = [
            min(span + (size - 1) * step, span * size)
            for span, size, step in zip(spans, self.kernel, self.dilation, strict=True)
        ]
        return 4 * self.unit * lines[0] * lines[1]


def choose(op: Convolution, places: Grid, reach: Reach, target: str) -> Tile:
    """The cheapest tile, by the cost of all candidates."""
    kept = op.weight.reshape(len(op.weight), -1) != 0
    single = int(kept.sum())
    pairs = _pairs(kept) if len(kept) % 2 == 0 and op.groups == 1 and single > 0.8 * kept.size else None
    blocks = {op.weight.shape[1]}
    if op.groups == 1:
        blocks |= {size for size in (4, 8, 16, 32, 64, 128, 256) if size < op.weight.shape[1]}
    best, cheapest = None, float("inf")
    most = max(1, SUMS[target] // places.vectors)
    for rows, columns, together in product(range(1, 5), range(1, 17), (1, 2)):
        positions = rows * columns * together
        if positions > most or not places.fits(rows, columns) or (together == 2 and pairs is None):
            continue
        chains = max(1, min(4, 8 // (positions * places.vectors)))
        ways = reach.sharings if chains == together == 1 and places.vectors == 1 else ()
        for block, sharing in product(sorted(blocks), (Sharing((), ()), *ways)):
            tile = Tile(rows, columns, block, together, chains, sharing.shifts)
            entries = single if together == 1 or pairs is None else pairs
            seconds = _cost(op, places, reach, tile, (entries, *sharing.pairs))
            if seconds < cheapest:
                best, cheapest = tile, seconds
    assert best is not None
    return best


def _pairs(kept: NDArray[np.bool_]) -> int:
    """Weights that two neighbouring output channels share or that either has."""
    return int((kept[0::2] | kept[1::2]).sum())


def _cost(op: Convolution, places: Grid, reach: Reach, tile: Tile, entries: tuple[int, ...]) -> float:
    """Estimated nanoseconds of one convolution: `entries` are all weights, and the pairs of each shift."""
    tiles = -(-places.rows // tile.rows) * -(-places.columns // tile.columns)
    sums = tile.rows * tile.columns * places.vectors * tile.together
    far = min(1.0, max(0.0, (reach.bytes(tile) * tile.block - _NEAR) / (_FAR - _NEAR)))
    a_load = _A_SUM * (1 + _FAR_COST * far)
    single: float = max(tile.rows * tile.columns * places.vectors * a_load, sums * _A_SUM * _UNLOADED)
    single += tile.together * _A_WEIGHT
    single = max(single, 1.3 / tile.chains)  # a sum waits for the one before it
    work = (entries[0] - 2 * sum(entries[1:])) * single
    for shift, count in zip(tile.shifts, entries[1:], strict=True):
        loads = shift.loads(tile.rows, tile.columns)
        work += count * (max(loads * a_load, 2 * sums * _A_SUM * _UNLOADED) + 2 * _A_WEIGHT)
    blocks: int = -(-op.weight.shape[1] // tile.block)
    turns: float = blocks * len(op.weight) / tile.together
    return tiles * (work + turns * (_A_TURN * (1 + len(tile.shifts)) + sums * _A_STORE))

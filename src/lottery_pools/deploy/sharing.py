"""Pairs of weights whose inputs overlap: where a tile of outputs needs an input for both, it is loaded once.

Two weights of one kernel that lie side by side meet, at four positions in a row, five inputs instead of eight. A
kernel's code is bound by its loads, so such pairs are kept apart and have a loop of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lottery_pools.deploy.graph import Pair

STEPS = ((0, 1), (1, 0), (0, 2), (2, 0))
"""How far apart in a kernel two weights may lie, in rows and columns."""


@dataclass(frozen=True)
class Shift:
    """Pairs of weights, `taps` apart in their kernel, whose inputs lie `registers` apart (rows, columns of a tile)."""

    taps: Pair
    registers: Pair

    def loads(self, rows: int, columns: int) -> int:
        """Registers that both weights of a pair need under a tile of rows × columns registers, each counted once."""
        shared = max(0, rows - self.registers[0]) * max(0, columns - self.registers[1])
        return 2 * rows * columns - shared

    def places(self, kernel: tuple[int, ...]) -> Iterator[tuple[Pair, Pair]]:
        """The (row, column) of both weights of each pair in a kernel."""
        down, right = self.taps
        for row, column in product(range(kernel[0] - down), range(kernel[1] - right)):
            yield (row, column), (row + down, column + right)


@dataclass(frozen=True)
class Sharing:
    """A way to pair the weights of a convolution: first by one shift, then what is left by the next."""

    shifts: tuple[Shift, ...]
    pairs: tuple[int, ...]
    """Pairs that each shift finds."""


def shifts(taps: NDArray[np.int64], steps: Pair) -> list[Shift]:
    """The shifts of a kernel whose weights meet floats `taps`, where registers of a tile lie `steps` apart."""
    kernel_shifts = []
    for down, right in STEPS:
        if down >= taps.shape[0] or right >= taps.shape[1]:
            continue
        apart = int(taps[down, right] - taps[0, 0])
        if down and steps[0] and apart % steps[0] == 0:
            kernel_shifts.append(Shift((down, right), (apart // steps[0], 0)))
        elif steps[1] and apart % steps[1] == 0 and apart > 0:
            kernel_shifts.append(Shift((down, right), (0, apart // steps[1])))
    return kernel_shifts


def sharings(weight: NDArray[np.float32], shifts: list[Shift]) -> tuple[Sharing, ...]:
    """Each shift alone, and the first two in turn."""
    ways = [(shift,) for shift in shifts] + ([tuple(shifts[:2])] if len(shifts) > 1 else [])
    return tuple(Sharing(way, tuple(map(len, match(weight != 0, way)[1]))) for way in ways)


def match(kept: NDArray[np.bool_], shifts: tuple[Shift, ...]) -> tuple[NDArray[np.bool_], list[NDArray[np.int64]]]:
    """(what is in no pair, the pairs of each shift), of kept weights (outputs, inputs, kernel height, kernel width).

    Pairs are an array (pairs, 2, 4): for both weights output, input, row and column.
    """
    left = kept.copy()
    matched = []
    for shift in shifts:
        pairs = [np.zeros((0, 2, 4), np.int64)]
        for first, second in shift.places(kept.shape[2:]):
            both = left[:, :, first[0], first[1]] & left[:, :, second[0], second[1]]
            left[:, :, first[0], first[1]] &= ~both
            left[:, :, second[0], second[1]] &= ~both
            where = np.argwhere(both)
            ends = [np.concatenate([where, np.broadcast_to(place, where.shape)], 1) for place in (first, second)]
            pairs.append(np.stack(ends, 1))
        matched.append(np.concatenate(pairs))
    return left, matched

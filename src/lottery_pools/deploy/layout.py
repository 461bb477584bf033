"""Where values lie in memory: which float holds channel c, row y, column x; and which memory values share.

Two modes. In *batch* mode a position holds 16 samples side by side (or 64), one lane of a vector register each, and
every value has the border of zeros that its readers read. In *single* mode a position holds one sample, a register
holds 16 neighbouring positions, and values have no border: before a convolution its source is unfolded, copied once
for each column of the kernel, so that whatever a weight reads is one stretch of memory, in registers' places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lottery_pools.deploy.graph import Pair, Shape

REGISTER = 16
"""Floats that are worked on side by side: one AVX-512 register, two of AVX2, four of NEON."""
SETS, WAYS = 64, 12
"""Of the nearest cache, whose lines are as long as a position of 16 samples."""


@dataclass(frozen=True)
class Layout:
    """The memory of one value: channel c, row y, column x begins at position `position(c, y, x)`.

    `unit`: floats a position. `pitch`: positions a row. `top`, `left`: border before the first row and column.
    `plane`: positions a channel. `after`: positions that the border of the last channel takes beyond its plane: what
    lies after a row is the border before the next row, and what lies below a channel is that above the next channel.
    """

    shape: Shape
    unit: int
    pitch: int
    top: int
    left: int
    plane: int
    after: int = 0

    def position(self, channel: int, row: int, column: int) -> int:
        """The position of a channel, row and column; those of the border lie outside the shape."""
        return channel * self.plane + (row + self.top) * self.pitch + column + self.left

    @property
    def first(self) -> int:
        """The float at which channel 0, row 0, column 0 begins."""
        return self.position(0, 0, 0) * self.unit

    @property
    def has_zeros(self) -> bool:
        """Whether something around the values has to be zero."""
        return bool(self.top or self.left)

    @property
    def floats(self) -> int:
        return (self.shape[0] * self.plane + self.after) * self.unit


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


def bordered(shape: Shape, unit: int, border: Pair) -> Layout:
    """The layout of batch mode with a border of so many rows and columns on all sides.

    Channels lie so far apart that the inputs of a tile of 4 × 4 positions and its border do not crowd in some of the
    nearest cache's sets: padding after each channel sees to that.
    """
    _, height, width = shape
    top, left = border
    pitch, rows = width + left, height + top
    plane = rows * pitch
    if top or left:
        plane += min(range(SETS // 4), key=lambda padding: _crowd(shape, border, plane + padding))
    after = (rows + top - 1) * pitch + left + width + left - plane
    return Layout(shape, unit, pitch, top, left, plane, max(0, after))


def _crowd(shape: Shape, border: Pair, plane: int) -> int:
    """The most positions that one set of the nearest cache holds of a tile's inputs, of as many channels as fit."""
    rows, columns = (min(4, size) + 2 * edge for size, edge in zip(shape[1:], border, strict=True))
    tile = (np.arange(rows)[:, None] * (shape[2] + border[1]) + np.arange(columns)).reshape(-1)
    channels = min(shape[0], SETS * WAYS * 3 // 4 // len(tile))
    lines = np.arange(channels)[:, None] * plane + tile
    return int(np.bincount(lines.reshape(-1) % SETS).max())


def rounded(floats: int) -> int:
    """Up to whole registers."""
    return -(-floats // REGISTER) * REGISTER

"""Linear operations on images: by one matrix for rows and one for columns, by shifted copies, and between pixels."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Matrix = NDArray[np.float64]
"""A matrix that maps the rows of an image, or its columns."""
Border = Literal["nearest", "reflect", "mirror"]
"""What follows the pixels a b c beyond the edge: `nearest` c c c, `reflect` c b a, `mirror` b a (SciPy's names)."""


def separable(x: Tensor, rows: Matrix, columns: Matrix) -> Tensor:
    """Apply `rows` (p, h) to the rows and `columns` (q, w) to the columns of `x` (n, c, h, w) → (n, c, p, q)."""
    # The type is changed on the CPU, because some devices have no float64.
    left, right = (torch.from_numpy(matrix).to(x.dtype).to(x.device) for matrix in (rows, columns))
    return left @ (x @ right.T)


def fold(index: NDArray[np.int64], size: int, border: Border) -> NDArray[np.int64]:
    """Return the pixel, 0 to size - 1, that stands at each index; indices may lie any distance beyond the edge."""
    if border == "nearest":
        return np.clip(index, 0, size - 1)
    period = 2 * size if border == "reflect" else max(2 * size - 2, 1)
    index = index % period
    return np.minimum(index, period - 1 - index if border == "reflect" else (period - index) % period)


def correlation(size: int, weights: NDArray[np.float64], border: Border) -> Matrix:
    """Return the matrix (size, size) of correlation with `weights`, which are odd in number and centred."""
    radius = len(weights) // 2
    matrix = np.zeros((size, size))
    pixels = np.arange(size)
    for offset, weight in enumerate(weights, start=-radius):
        np.add.at(matrix, (pixels, fold(pixels + offset, size, border)), weight)
    return matrix


@functools.lru_cache(maxsize=64)
def gaussian(size: int, sigma: float, border: Border = "nearest", truncate: float = 4.0) -> Matrix:
    """Return the matrix (size, size) of Gaussian smoothing, equal to SciPy's `gaussian_filter1d`.

    Args:
        size: Pixels.
        sigma: Standard deviation of the Gaussian, in pixels; 0 changes nothing.
        border: What follows beyond the edge.
        truncate: Where the Gaussian is cut off, in standard deviations.
    """
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-15)) ** 2)
    return correlation(size, weights / weights.sum(), border)


def box(size: int) -> Matrix:
    """Return the matrix (size, size) of the mean over three pixels, mirrored at the edge."""
    return correlation(size, np.full(3, 1 / 3), "mirror")


@functools.lru_cache(maxsize=128)
def zoom(size: int, factor: float) -> Matrix:
    """Return the matrix (size, size) that zooms into the centre by `factor`, with linear interpolation.

    As SciPy's `zoom` does, the central ⌈size / factor⌉ pixels are spread from end to end over that number times the
    factor, rounded; of these, the central `size` pixels are kept.
    """
    inner = math.ceil(size / factor)
    outer = round(inner * factor)
    place = (np.arange(size) + (outer - size) // 2) * ((inner - 1) / max(outer - 1, 1))
    left = np.minimum(place.astype(int), max(inner - 2, 0))
    matrix = np.zeros((size, size))
    pixels, start = np.arange(size), (size - inner) // 2
    np.add.at(matrix, (pixels, start + left), 1 - (place - left))
    np.add.at(matrix, (pixels, start + np.minimum(left + 1, inner - 1)), place - left)
    return matrix


def resize(size: int, to: int) -> Matrix:
    """Return the matrix (to, size) that resizes `size` pixels to `to` with Pillow's box filter.

    A pixel of the result is the mean of the pixels whose centres lie in its box.
    """
    scale = size / to
    matrix = np.zeros((to, size))
    for i in range(to):
        centre, support = (i + 0.5) * scale, 0.5 * max(scale, 1.0)
        pixels = np.arange(max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), size))
        offset = (pixels - centre + 0.5) / max(scale, 1.0)
        pixels = pixels[(offset > -0.5) & (offset <= 0.5)]
        matrix[i, pixels] = 1 / len(pixels)
    return matrix


def correlate(x: Tensor, kernel: NDArray[np.floating]) -> Tensor:
    """Correlate each channel of `x` (n, c, h, w) with one kernel of odd sides, mirrored at the edge.

    The result is a sum of shifted copies of the image. This keeps the precision of float32, where convolutions on a GPU
    may round to TF32, and is fast for a kernel with few entries other than zero.
    """
    (reach_y, reach_x), (h, w) = (side // 2 for side in kernel.shape), x.shape[2:]
    padded = pad(x, reach_y, reach_x, "mirror")
    # All channels of all images are one vector, so that a shift is one offset. Pixels that are shifted into the next
    # row or image fall on its padding, which is cut off at the end.
    flat, width = padded.flatten(), w + 2 * reach_x
    length = flat.numel() - 2 * (reach_y * width + reach_x)
    total = torch.zeros_like(flat)
    middle = total[reach_y * width + reach_x :][:length]
    for y, x_offset in np.argwhere(kernel):
        middle.add_(flat[y * width + x_offset :][:length], alpha=float(kernel[y, x_offset]))
    return total.view(padded.shape)[..., reach_y : reach_y + h, reach_x : reach_x + w]


def pad(x: Tensor, rows: int, columns: int, border: Border) -> Tensor:
    """Add `rows` pixels above and below, and `columns` pixels left and right, to `x` (n, c, h, w)."""
    h, w = x.shape[2:]
    row_indices = torch.from_numpy(fold(np.arange(-rows, h + rows), h, border)).to(x.device)
    column_indices = torch.from_numpy(fold(np.arange(-columns, w + columns), w, border)).to(x.device)
    return x.index_select(2, row_indices).index_select(3, column_indices)


def read_at(x: Tensor, columns: Tensor, rows: Tensor, border: Literal["reflect", "mirror"]) -> Tensor:
    """Read `x` (n, c, h, w) by bilinear interpolation at the places `columns` and `rows`, (n, h, w) each, in pixels."""
    h, w = x.shape[2:]
    mirror = border == "mirror"
    if mirror:
        grid = torch.stack([columns * (2 / (w - 1)) - 1, rows * (2 / (h - 1)) - 1], dim=-1)
    else:
        grid = torch.stack([(columns * 2 + 1) / w - 1, (rows * 2 + 1) / h - 1], dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=mirror)

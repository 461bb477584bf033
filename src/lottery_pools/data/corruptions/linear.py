"""Linear maps of images: one matrix for rows, one for columns; sums of shifted copies; reading between pixels."""

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
Border = Literal["nearest", "reflect", "mirror"]
"""What stands beyond the edge of a b c: `nearest` c c c, `reflect` c b a, `mirror` b a (as SciPy calls them)."""


def separable(x: Tensor, rows: Matrix, columns: Matrix) -> Tensor:
    """(n, c, h, w) with `rows` (p, h) and `columns` (q, w) → (n, c, p, q)."""
    # The type before the place: not every device has float64.
    left, right = (torch.from_numpy(m).to(x.dtype).to(x.device) for m in (rows, columns))
    return left @ (x @ right.T)


def fold(index: NDArray[np.int64], size: int, border: Border) -> NDArray[np.int64]:
    """The pixel that stands at each index, which may lie any distance beyond the edge."""
    if border == "nearest":
        return np.clip(index, 0, size - 1)
    period = 2 * size if border == "reflect" else max(2 * size - 2, 1)
    index = index % period
    return np.minimum(index, period - 1 - index if border == "reflect" else (period - index) % period)


def correlation(size: int, weights: NDArray[np.float64], border: Border) -> Matrix:
    """The (size, size) matrix of correlation with `weights`, odd in number and centred."""
    radius = len(weights) // 2
    matrix = np.zeros((size, size))
    here = np.arange(size)
    for offset, weight in enumerate(weights, start=-radius):
        np.add.at(matrix, (here, fold(here + offset, size, border)), weight)
    return matrix


@functools.lru_cache(maxsize=64)
def gaussian(size: int, sigma: float, border: Border = "nearest", truncate: float = 4.0) -> Matrix:
    """Gaussian smoothing as by SciPy's `gaussian_filter1d`: the kernel ends at `truncate` σ; σ = 0 changes nothing."""
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-15)) ** 2)
    return correlation(size, weights / weights.sum(), border)


def box(size: int) -> Matrix:
    """The mean over three pixels, mirrored at the edge."""
    return correlation(size, np.full(3, 1 / 3), "mirror")


@functools.lru_cache(maxsize=128)
def zoom(size: int, factor: float) -> Matrix:
    """Zoom into the middle, linearly interpolated, `size` pixels to `size` pixels.

    The middle ⌈size / factor⌉ pixels are spread, end on end, over ⌊that × factor⌉ (SciPy's `zoom`), of which the
    middle is taken.
    """
    inner = math.ceil(size / factor)
    outer = round(inner * factor)
    at = (np.arange(size) + (outer - size) // 2) * ((inner - 1) / max(outer - 1, 1))
    left = np.minimum(at.astype(int), max(inner - 2, 0))
    matrix = np.zeros((size, size))
    here, start = np.arange(size), (size - inner) // 2
    np.add.at(matrix, (here, start + left), 1 - (at - left))
    np.add.at(matrix, (here, start + np.minimum(left + 1, inner - 1)), at - left)
    return matrix


def resize(size: int, to: int) -> Matrix:
    """The (to, size) matrix of PIL's box filter: the mean of the pixels whose centres lie in the box."""
    scale = size / to
    matrix = np.zeros((to, size))
    for i in range(to):
        centre, support = (i + 0.5) * scale, 0.5 * max(scale, 1.0)
        pixels = np.arange(max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), size))
        offset = (pixels - centre + 0.5) / max(scale, 1.0)
        pixels = pixels[(offset > -0.5) & (offset <= 0.5)]
        matrix[i, pixels] = 1 / len(pixels)
    return matrix


@functools.lru_cache(maxsize=16)
def cosine(size: int) -> Matrix:
    """The orthonormal DCT-II of each run of eight pixels; `size` is a multiple of eight."""
    k, i = np.arange(8)[:, None], np.arange(8)[None, :]
    matrix = np.sqrt(np.where(k == 0, 1, 2) / 8) * np.cos((2 * i + 1) * k * np.pi / 16)
    return np.kron(np.eye(size // 8), matrix)


def correlate(x: Tensor, kernel: NDArray[np.floating]) -> Tensor:
    """Correlation of each channel with one odd, centred kernel, mirrored at the edge, (n, c, h, w) → same.

    A sum of shifted copies, for it is exact where convolution routines may round (TF32), and fast for few taps.
    """
    (reach_y, reach_x), (h, w) = (side // 2 for side in kernel.shape), x.shape[2:]
    padded = pad(x, reach_y, reach_x, "mirror")
    # All planes as one vector: a shift is then one offset, and what wraps round falls on the padding.
    flat, width = padded.flatten(), w + 2 * reach_x
    length = flat.numel() - 2 * (reach_y * width + reach_x)
    total = torch.zeros_like(flat)
    middle = total[reach_y * width + reach_x :][:length]
    for y, x_offset in np.argwhere(kernel):
        middle.add_(flat[y * width + x_offset :][:length], alpha=float(kernel[y, x_offset]))
    return total.view(padded.shape)[..., reach_y : reach_y + h, reach_x : reach_x + w]


def pad(x: Tensor, rows: int, columns: int, border: Border) -> Tensor:
    """`rows` more pixels above and below, `columns` more left and right."""
    h, w = x.shape[2:]
    y = torch.from_numpy(fold(np.arange(-rows, h + rows), h, border)).to(x.device)
    z = torch.from_numpy(fold(np.arange(-columns, w + columns), w, border)).to(x.device)
    return x.index_select(2, y).index_select(3, z)


def read_at(x: Tensor, columns: Tensor, rows: Tensor, border: Literal["reflect", "mirror"]) -> Tensor:
    """`x` (n, c, h, w) read at fractional `columns` and `rows` (n, h, w), bilinearly."""
    h, w = x.shape[2:]
    mirror = border == "mirror"
    if mirror:
        grid = torch.stack([columns * (2 / (w - 1)) - 1, rows * (2 / (h - 1)) - 1], dim=-1)
    else:
        grid = torch.stack([(columns * 2 + 1) / w - 1, (rows * 2 + 1) / h - 1], dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=mirror)

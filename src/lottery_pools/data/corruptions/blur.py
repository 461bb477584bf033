"""Blur: what a lens, a pane, a movement does to an image."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.data.corruptions import linear
from lottery_pools.data.corruptions.constants import Constants
from lottery_pools.data.corruptions.draws import Draws


def gaussian_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Gaussian smoothing, edges repeated; constant: σ in pixels."""
    return _smooth(x, constants[0])


def _smooth(x: Tensor, sigma: float) -> Tensor:
    return linear.separable(x, *(linear.gaussian(size, sigma) for size in x.shape[2:]))


def defocus_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Correlation with a smoothed disk, edges mirrored; constants: its radius and σ, in pixels."""
    return linear.correlate(x, _disk(*constants))


def _disk(radius: float, sigma: float) -> NDArray[np.float64]:
    """A disk that sums to one, on at least 17 × 17 points, smoothed by a Gaussian of 3 points (5 for a large one)."""
    reach = max(int(radius), 8)
    smoothing = 1 if radius <= 8 else 2
    across = np.arange(-reach, reach + 1)
    disk = (across[:, None] ** 2 + across**2 <= radius**2).astype(float)
    weights = np.exp(-(np.arange(-smoothing, smoothing + 1) ** 2) / (2 * sigma**2))
    smooth = linear.correlation(len(across), weights / weights.sum(), "mirror")
    kernel: NDArray[np.float64] = smooth @ (disk / disk.sum()) @ smooth.T
    kernel[kernel < 1e-9] = 0
    empty = np.flatnonzero(kernel.sum(axis=0))[0]
    return kernel[empty : len(across) - empty, empty : len(across) - empty]


def glass_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Smoothed, pixels locally shuffled, smoothed; constants: σ, farthest step d, rounds.

    From the last pixel to the first, each takes the colour of one drawn from -d to d - 1 pixels away on each axis.
    The published code means to swap the two, but both sides of its assignment are views of one array, so the second
    pixel keeps its colour; so it is here. The order needs no loop over pixels: a source ahead has been replaced
    already, one behind has not, so following the sources ahead leads to a pixel of the old image.
    """
    sigma, step, rounds = constants[0], int(constants[1]), int(constants[2])
    n, channels, h, w = x.shape
    flat = _smooth(x, sigma).add_(2**-14).floor_().flatten(2)
    row, column = (torch.arange(size, device=x.device) for size in (h, w))
    inside = ((row > step) & (row <= h - step))[:, None] & ((column > step) & (column <= w - step))
    here = torch.arange(h * w, device=x.device)
    shift = draws.integers(-step, step, rounds, 2, h, w)
    for dx, dy in (one_round.unbind(1) for one_round in shift.unbind(1)):
        source = here + torch.where(inside, dy * w + dx, 0).flatten(1)
        ahead = source > here
        while bool(ahead.any()):
            ahead, source = ahead & ahead.gather(1, source), torch.where(ahead, source.gather(1, source), source)
        flat = flat.gather(2, source[:, None].expand(n, channels, h * w))
    return _smooth(flat.view(x.shape), sigma)


def motion_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Smeared along a line drawn within 45° of the horizontal, in whole values; constants: radius and σ in pixels."""
    return smear(x, constants[0], constants[1], draws.uniform(1)[:, 0] * 90 - 45)


def smear(x: Tensor, radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """The motion blur of ImageMagick, written from its definition: a half Gaussian along a line of whole pixels.

    Image i's pixel is Σ_k g(k) · pixel k steps off along `degrees[i]`, k = 0 … 2⌈radius⌉, g a Gaussian that sums to
    one, each step rounded to a pixel, edges repeated. ImageMagick computes in 16 bits and rounds to 8, which this
    rounding of the exact sum can miss by one where the sum is a tie.
    """
    n, _, h, w = x.shape
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    reach = len(steps) - 1
    while reach > 0 and weights[reach:].sum() < 1e-6:  # what is left out is no part of any 8-bit value
        reach -= 1
    angle = torch.deg2rad(degrees)[:, None]
    k = torch.from_numpy(steps[: reach + 1]).to(x.dtype).to(x.device)
    offset_x, offset_y = ((k * f(angle) - 0.5).ceil().long() + reach for f in (torch.cos, torch.sin))
    windows = linear.pad(x, reach, reach, "nearest").unfold(2, h, 1).unfold(3, w, 1)
    image = torch.arange(n, device=x.device)
    total = torch.zeros_like(x)
    for step in range(reach + 1):
        total.add_(windows[image, :, offset_y[:, step], offset_x[:, step]], alpha=float(weights[step]))
    return total.add_(0.5).floor_()


def zoom_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """The mean of the image and of its zooms into the middle; constants: the factors."""
    total = x.clone()
    for factor in constants:
        total += linear.separable(x, *(linear.zoom(size, factor) for size in x.shape[2:]))
    return total / (len(constants) + 1)

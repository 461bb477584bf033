"""Corruptions by blur: of a lens out of focus, of frosted glass, of movement.

The package's docstring describes the arguments of all corruptions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.data.corruptions import linear
from lottery_pools.data.corruptions.constants import ROUNDING_ERROR, Constants
from lottery_pools.data.corruptions.draws import Draws


def gaussian_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Smooth with a Gaussian, the edge pixels repeated. Constant: its standard deviation in pixels."""
    return _smooth(x, constants[0])


def _smooth(x: Tensor, sigma: float) -> Tensor:
    """Smooth `x` (n, c, h, w) with a Gaussian of standard deviation `sigma`, in pixels."""
    return linear.separable(x, *(linear.gaussian(size, sigma) for size in x.shape[2:]))


def defocus_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Correlate with a smoothed disk, mirrored at the edge. Constants: disk radius and smoothing σ, in pixels."""
    return linear.correlate(x, _disk(*constants))


def _disk(radius: float, sigma: float) -> NDArray[np.float64]:
    """The kernel of `defocus_blur`: a disk that sums to one, smoothed, without its empty border.

    It is drawn on at least 17 × 17 points, and smoothed by a Gaussian of 3 points, or of 5 if the radius is above 8.
    """
    reach = max(int(radius), 8)
    smoothing_reach = 1 if radius <= 8 else 2
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    weights = np.exp(-(np.arange(-smoothing_reach, smoothing_reach + 1) ** 2) / (2 * sigma**2))
    smoothing = linear.correlation(len(offsets), weights / weights.sum(), "mirror")
    kernel: NDArray[np.float64] = smoothing @ (disk / disk.sum()) @ smoothing.T
    kernel[kernel < 1e-9] = 0
    border = np.flatnonzero(kernel.sum(axis=0))[0]
    return kernel[border : len(offsets) - border, border : len(offsets) - border]


def glass_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Smooth, shuffle neighbouring pixels, and smooth again. Constants: σ in pixels, largest step d in pixels, rounds.

    In a round, from the last pixel to the first, each pixel takes the colour of a source: a pixel drawn from -d to
    d - 1 pixels away on each axis. The published code intends to swap the two. But both sides of its assignment are
    views of one array, so that the source keeps its colour. This function does what that code does.

    It needs no loop over pixels. A source that comes after the pixel has already taken the colour of its own source; a
    source that comes before still has its old colour. Following the sources, as long as they come after the pixel that
    they are for, therefore leads to the pixel of the old image whose colour counts.
    """
    sigma, step, rounds = constants[0], int(constants[1]), int(constants[2])
    n, channels, h, w = x.shape
    flat = _smooth(x, sigma).add_(ROUNDING_ERROR).floor_().flatten(2)
    row, column = (torch.arange(size, device=x.device) for size in (h, w))
    inside = ((row > step) & (row <= h - step))[:, None] & ((column > step) & (column <= w - step))
    pixel = torch.arange(h * w, device=x.device)
    for steps in draws.integers(-step, step, rounds, 2, h, w).unbind(1):
        dx, dy = steps.unbind(1)
        source = pixel + torch.where(inside, dy * w + dx, 0).flatten(1)
        after = source > pixel
        while bool(after.any()):
            after, source = after & after.gather(1, source), torch.where(after, source.gather(1, source), source)
        flat = flat.gather(2, source[:, None].expand(n, channels, h * w))
    return _smooth(flat.view(x.shape), sigma)


def motion_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Smear along a line whose angle is drawn within 45° of the horizontal. Constants: radius and σ, in pixels."""
    return smear(x, constants[0], constants[1], draws.uniform(1)[:, 0] * 90 - 45)


def smear(x: Tensor, radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """Smear images along a line: the motion blur of ImageMagick, written from its definition.

    A pixel becomes Σ_k g(k) · (the pixel k steps away along the line), k = 0 … 2⌈radius⌉. Each step is rounded to a
    whole pixel, the edge pixels are repeated, and g is half a Gaussian that sums to one. ImageMagick computes in 16
    bits and rounds to 8; where the sum lies halfway between two values, this function may round it to the other one.

    Args:
        x: Images (n, c, h, w).
        radius: Half of the number of steps, in pixels.
        sigma: Standard deviation of the Gaussian, in pixels.
        degrees: Angle of each image's line to the horizontal, (n,).

    Returns:
        Images of whole values.
    """
    n, _, h, w = x.shape
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    reach = len(steps) - 1
    while reach > 0 and weights[reach:].sum() < 1e-6:  # too little to change a value of 8 bits
        reach -= 1
    angle = torch.deg2rad(degrees)[:, None]
    distance = torch.from_numpy(steps[: reach + 1]).to(x.dtype).to(x.device)
    offset_x, offset_y = ((distance * f(angle) - 0.5).ceil().long() + reach for f in (torch.cos, torch.sin))
    windows = linear.pad(x, reach, reach, "nearest").unfold(2, h, 1).unfold(3, w, 1)
    image = torch.arange(n, device=x.device)
    total = torch.zeros_like(x)
    for step in range(reach + 1):
        total.add_(windows[image, :, offset_y[:, step], offset_x[:, step]], alpha=float(weights[step]))
    return total.add_(0.5).floor_()


def zoom_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Take the mean of the image and of its zooms into the centre. Constants: the zoom factors."""
    total = x.clone()
    for factor in constants:
        total += linear.separable(x, *(linear.zoom(size, factor) for size in x.shape[2:]))
    return total / (len(constants) + 1)

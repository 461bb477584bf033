"""Corruption by spatter: drops of water, or of mud, on the lens.

The package's docstring describes the arguments of all corruptions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lottery_pools.data.corruptions import linear
from lottery_pools.data.corruptions.constants import ROUNDING_ERROR, Constants
from lottery_pools.data.corruptions.draws import Draws
from lottery_pools.data.corruptions.weather import grey

WATER = (175.0, 238.0, 238.0)
"""Colour of water: red, green, blue, 0 to 255."""
MUD = (63.0, 42.0, 20.0)
"""Colour of mud: red, green, blue, 0 to 255."""


def spatter(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Put water or mud wherever smoothed noise is above a threshold.

    Constants: mean and standard deviation of the noise; σ of its smoothing in pixels; the threshold; the strength of
    water, or σ in pixels of the edge of mud; and 0 for water, 1 for mud. Water is shaded as OpenCV does it: with Canny
    edges, distance transform (5 × 5 mask), histogram equalisation and filters, all written from their definitions on
    values of 8 bits. Where no drop is drawn, the published code divides by zero; here the image stays as it is.
    """
    mean, deviation, sigma, threshold, strength, is_mud = constants
    h, w = x.shape[2:]
    liquid = draws.normal(1, h, w) * deviation + mean
    liquid = linear.separable(liquid, linear.gaussian(h, sigma), linear.gaussian(w, sigma))
    colour = x.new_tensor(MUD if is_mud else WATER).view(1, 3, 1, 1)
    if x.shape[1] == 1:
        colour = grey(colour)
    if is_mud:
        cover = (liquid > threshold).to(x.dtype)
        cover = linear.separable(cover, linear.gaussian(h, strength), linear.gaussian(w, strength))
        cover = cover.masked_fill_(cover < 0.8, 0)
        return x * (1 - cover) + colour * cover
    liquid = liquid.masked_fill_(liquid < threshold, 0).mul_(255).floor_().remainder_(256)  # as a cast to 8 bits
    shade = liquid * _relief(liquid)
    peak = shade.amax((2, 3), keepdim=True)
    return x + colour * (shade * (strength / peak.clamp(min=1)))


def _relief(liquid: Tensor) -> Tensor:
    """The shading of drops that are lit from one corner: (n, 1, h, w), whole values, for `liquid` of that kind."""
    rows, columns = (linear.box(size) for size in liquid.shape[2:])
    distance = _distance(_edges(liquid, 50, 150)).clamp_(max=20)
    distance = _equalise(linear.separable(distance, rows, columns).add_(ROUNDING_ERROR).floor_())
    lit = linear.correlate(distance, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])).clamp_(0, 255)
    return linear.separable(lit, rows, columns).add_(ROUNDING_ERROR).round_()


def _edges(x: Tensor, low: int, high: int) -> Tensor:
    """The edges that Canny's algorithm finds, (n, 1, h, w) bool.

    Edges are where the gradient is largest along its direction. Those above `high` are kept, and extended along
    neighbouring ones above `low`.
    """
    gx, gy = _gradient(x)
    size = gx.abs() + gy.abs()
    before, after, is_straight = _neighbours_along_gradient(size, gx, gy)
    candidate = (size > low) & (size > before) & torch.where(is_straight, size >= after, size > after)
    edge = candidate & (size > high)
    while True:
        grown = (F.max_pool2d(edge.to(x.dtype), 3, stride=1, padding=1) > 0) & candidate
        if bool((grown == edge).all()):
            return edge
        edge = grown


def _shifted(padded: Tensor, dy: int, dx: int) -> Tensor:
    """The neighbour `dy` below and `dx` to the right of each pixel, of images padded by one pixel."""
    h, w = padded.shape[2] - 2, padded.shape[3] - 2
    return padded[..., 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of images (n, 1, h, w) to the right and downwards, by Sobel's filter."""
    padded = linear.pad(x, 1, 1, "nearest")
    down = _shifted(padded, 1, -1) + 2 * _shifted(padded, 1, 0) + _shifted(padded, 1, 1)
    up = _shifted(padded, -1, -1) + 2 * _shifted(padded, -1, 0) + _shifted(padded, -1, 1)
    right = _shifted(padded, -1, 1) + 2 * _shifted(padded, 0, 1) + _shifted(padded, 1, 1)
    left = _shifted(padded, -1, -1) + 2 * _shifted(padded, 0, -1) + _shifted(padded, 1, -1)
    return right - left, down - up


def _neighbours_along_gradient(size: Tensor, gx: Tensor, gy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The size of the gradient at the two neighbours of each pixel in its direction, rounded to one of four.

    Args:
        size: Size of the gradient, (n, 1, h, w).
        gx: Gradient to the right, (n, 1, h, w).
        gy: Gradient downwards, (n, 1, h, w).

    Returns:
        The size before and after each pixel, and whether the direction is horizontal or vertical.
    """
    padded = F.pad(size, (1, 1, 1, 1))
    # The directions are told apart by tan 22.5° and tan 67.5°, in the fixed point of OpenCV.
    steep, flat = gy.abs() * 32768, gx.abs() * 13573
    horizontal, vertical = steep < flat, steep > flat + gx.abs() * 65536
    is_falling = gx * gy < 0

    def neighbour(sign: int) -> Tensor:
        diagonal = torch.where(is_falling, _shifted(padded, sign, -sign), _shifted(padded, sign, sign))
        straight_down = torch.where(vertical, _shifted(padded, sign, 0), diagonal)
        return torch.where(horizontal, _shifted(padded, 0, sign), straight_down)

    return neighbour(-1), neighbour(1), horizontal | vertical


def _distance(edge: Tensor) -> Tensor:
    """The distance of each pixel to the nearest edge, at most 20, (n, 1, h, w).

    It is the length of the shortest way by steps to a neighbour (1), a diagonal neighbour (1.4) or a knight's move
    (2.1969).
    """
    h, w = edge.shape[2:]
    lengths = {1: 1.0, 2: 1.4, 5: 2.1969}  # by the squared Euclidean length of the step
    steps = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    distance = torch.where(edge, 0.0, 20.0)
    while True:
        padded = F.pad(distance, (2, 2, 2, 2), value=20.0)
        shorter = distance
        for squared, length in lengths.items():
            nearest = padded[..., 2 : 2 + h, 2 : 2 + w]
            for dy, dx in steps:
                if dy * dy + dx * dx == squared:
                    nearest = torch.minimum(nearest, padded[..., 2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w])
            shorter = torch.minimum(shorter, nearest + length)
        if bool((shorter == distance).all()):
            return distance
        distance = shorter


def _equalise(x: Tensor) -> Tensor:
    """Equalise the histogram of whole values 0 to 20, (n, 1, h, w), as OpenCV does.

    The lowest value becomes 0, the highest 255. Where all pixels of an image have one value, they keep it.
    """
    count = x[0].numel()
    below = torch.stack([(x <= value).flatten(1).sum(1) for value in range(21)], dim=1).to(x.dtype)
    lowest = x.flatten(1).amin(1, keepdim=True)
    first = below.gather(1, lowest.long())
    scale = 255 / (count - first).clamp(min=1)
    table = torch.where(first == count, lowest, ((below - first) * scale).round_())
    return table.gather(1, x.flatten(1).long()).view(x.shape)

"""Spatter: drops of water, or of mud, on the lens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lottery_pools.data.corruptions import linear
from lottery_pools.data.corruptions.constants import Constants
from lottery_pools.data.corruptions.draws import Draws
from lottery_pools.data.corruptions.weather import grey

WATER = (175.0, 238.0, 238.0)
MUD = (63.0, 42.0, 20.0)


def spatter(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Water or mud where smoothed noise passes a threshold.

    Constants: mean, deviation and σ of the noise; the threshold; the strength of water, or σ of the rim of mud; 0 for
    water, 1 for mud. The shading of water follows OpenCV's Canny, distance transform (5 × 5 mask), histogram
    equalisation and filters, written from their definitions on 8-bit values. Where no drop was drawn the published code
    divides by zero; here the image stays as it is.
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
    liquid = liquid.masked_fill_(liquid < threshold, 0).mul_(255).floor_().remainder_(256)  # wraps, as a cast does
    shade = liquid * _relief(liquid)
    peak = shade.amax((2, 3), keepdim=True)
    return x + colour * (shade * (strength / peak.clamp(min=1)))


def _relief(liquid: Tensor) -> Tensor:
    """The shading of drops, lit from one corner: (n, 1, h, w) whole values → the same."""
    rows, columns = (linear.box(size) for size in liquid.shape[2:])
    distance = _distance(_edges(liquid, 50, 150)).clamp_(max=20)
    distance = _equalise(linear.separable(distance, rows, columns).add_(2**-14).floor_())
    lit = linear.correlate(distance, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])).clamp_(0, 255)
    return linear.separable(lit, rows, columns).add_(2**-14).round_()


def _edges(x: Tensor, low: int, high: int) -> Tensor:
    """Canny's edges, (n, 1, h, w) → bool: Sobel, thinned across the gradient, `high` grown along what passes `low`."""
    padded = linear.pad(x, 1, 1, "nearest")
    h, w = x.shape[2:]

    def at(image: Tensor, dy: int, dx: int) -> Tensor:
        return image[..., 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]

    down = at(padded, 1, -1) + 2 * at(padded, 1, 0) + at(padded, 1, 1)
    up = at(padded, -1, -1) + 2 * at(padded, -1, 0) + at(padded, -1, 1)
    right = at(padded, -1, 1) + 2 * at(padded, 0, 1) + at(padded, 1, 1)
    left = at(padded, -1, -1) + 2 * at(padded, 0, -1) + at(padded, 1, -1)
    gx, gy = right - left, down - up
    size = gx.abs() + gy.abs()
    around = F.pad(size, (1, 1, 1, 1))
    # Along which of four directions the gradient points: tan 22.5° and tan 67.5° in OpenCV's fixed point.
    steep, flat = gy.abs() * 32768, gx.abs() * 13573
    horizontal, vertical = steep < flat, steep > flat + gx.abs() * 65536
    falling = gx * gy < 0
    before = torch.where(
        horizontal,
        at(around, 0, -1),
        torch.where(vertical, at(around, -1, 0), torch.where(falling, at(around, -1, 1), at(around, -1, -1))),
    )
    after = torch.where(
        horizontal,
        at(around, 0, 1),
        torch.where(vertical, at(around, 1, 0), torch.where(falling, at(around, 1, -1), at(around, 1, 1))),
    )
    straight = horizontal | vertical
    candidate = (size > low) & (size > before) & torch.where(straight, size >= after, size > after)
    edge = candidate & (size > high)
    while True:
        grown = (F.max_pool2d(edge.to(x.dtype), 3, stride=1, padding=1) > 0) & candidate
        if bool((grown == edge).all()):
            return edge
        edge = grown


def _distance(edge: Tensor) -> Tensor:
    """The distance to the nearest edge, at most 20, by steps aside (1), diagonal (1.4) or as a knight's (2.1969)."""
    h, w = edge.shape[2:]
    moves = {1: 1.0, 2: 1.4, 5: 2.1969}  # by squared length
    steps = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    distance = torch.where(edge, 0.0, 20.0)
    while True:
        around = F.pad(distance, (2, 2, 2, 2), value=20.0)
        nearer = distance
        for squared, cost in moves.items():
            ends = [(dy, dx) for dy, dx in steps if dy * dy + dx * dx == squared]
            start = around[..., 2 : 2 + h, 2 : 2 + w]
            for dy, dx in ends:
                start = torch.minimum(start, around[..., 2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w])
            nearer = torch.minimum(nearer, start + cost)
        if bool((nearer == distance).all()):
            return distance
        distance = nearer


def _equalise(x: Tensor) -> Tensor:
    """Histogram equalisation of whole values 0 … 20, as OpenCV's: the lowest becomes 0; a single value stays."""
    count = x[0].numel()
    below = torch.stack([(x <= value).flatten(1).sum(1) for value in range(21)], dim=1).to(x.dtype)
    lowest = x.flatten(1).amin(1, keepdim=True)
    first = below.gather(1, lowest.long())
    scale = 255 / (count - first).clamp(min=1)
    table = torch.where(first == count, lowest, ((below - first) * scale).round_())
    return table.gather(1, x.flatten(1).long()).view(x.shape)

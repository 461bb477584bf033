"""Corruptions by weather: snow, frost, fog, brightness.

The package's docstring describes the arguments of all corruptions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.data.corruptions import linear
from lottery_pools.data.corruptions.blur import smear
from lottery_pools.data.corruptions.constants import Constants
from lottery_pools.data.corruptions.draws import Draws


def brightness(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Raise the value of HSV; hue and saturation stay. Constant: by how much, as a share of 255.

    Hue and saturation depend on the ratios of the channels only, so that scaling all channels alike keeps them.
    """
    value = x.amax(1, keepdim=True)
    raised = (value + 255 * constants[0]).clamp_(max=255)
    return torch.where(value > 0, x * (raised / value.clamp(min=1)), raised)


def fog(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Add clouds, then scale the image back to its range. Constants: amount of the clouds, decay of their details."""
    amount, decay = constants
    h, w = x.shape[2:]
    side = 1 << (max(h, w) - 1).bit_length()
    layer = plasma(draws.uniform(side * side - 1), side, decay)[:, None, :h, :w]
    brightest = x.amax((1, 2, 3), keepdim=True) / 255
    return (x + layer * (255 * amount)) * (brightest / (brightest + amount))


def plasma(uniform: Tensor, side: int, decay: float) -> Tensor:
    """Make clouds by the diamond-square algorithm on a torus.

    Each step fills in the points halfway between those of the step before: a point becomes the mean of its four
    neighbours plus a random number from ± wobble², where wobble is divided by `decay` after each step.

    Args:
        uniform: Random numbers in (0, 1), (n, side² - 1).
        side: Height and width of the clouds in pixels, a power of two.
        decay: How fast the details get fainter.

    Returns:
        Clouds (n, side, side), scaled to [0, 1].
    """
    clouds = uniform.new_zeros(len(uniform), side, side)
    used, step, wobble = 0, side, 100.0

    def between(sum_of_neighbours: Tensor) -> Tensor:
        nonlocal used
        count = sum_of_neighbours[0].numel()
        noise = uniform[:, used : used + count].view(sum_of_neighbours.shape) * 2 - 1
        used += count
        return sum_of_neighbours / 4 + noise * wobble**2

    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        clouds[:, half::step, half::step] = between(pairs + pairs.roll(-1, 2))
        centres = clouds[:, half::step, half::step]
        clouds[:, ::step, half::step] = between(centres + centres.roll(1, 1) + corners + corners.roll(-1, 2))
        clouds[:, half::step, ::step] = between(centres + centres.roll(1, 2) + corners + corners.roll(-1, 1))
        step, wobble = half, wobble / decay
    clouds -= clouds.amin((1, 2), keepdim=True)
    return clouds / clouds.amax((1, 2), keepdim=True)


def snow(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Whiten the image, and add flakes and the same flakes turned by 180°.

    Constants: mean and standard deviation of the noise that flakes are made of; its zoom factor; the threshold below
    which there is no flake; radius and σ in pixels of their motion blur, within 45° of the vertical; and the share of
    the image that is not whitened.
    """
    mean, deviation, factor, threshold, radius, sigma, share = constants
    h, w = x.shape[2:]
    flakes = draws.normal(1, h, w) * deviation + mean
    if factor != 1:
        flakes = linear.separable(flakes, linear.zoom(h, factor), linear.zoom(w, factor))
    flakes = flakes.masked_fill_(flakes < threshold, 0).clamp_(0, 1).mul_(255).floor_()
    flakes = smear(flakes, radius, sigma, draws.uniform(1, stream=1)[:, 0] * 90 - 135)
    white = torch.maximum(x, grey(x) * 1.5 + 127.5)
    return x * share + white * (1 - share) + flakes + flakes.flip(2, 3)


def grey(x: Tensor) -> Tensor:
    """Return the luma (ITU-R BT.601) of images with three channels, or the one channel that they have: (n, 1, h, w)."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


@dataclass(frozen=True)
class Ice:
    """Statistics of a photograph of frost, over patches of the size of an image, in pixel values for each channel."""

    mean: tuple[float, float, float]
    """Mean over all patches."""
    deviation: tuple[float, float, float]
    """Standard deviation within a patch."""
    drift: tuple[float, float, float]
    """Standard deviation of the means of the patches."""
    slope: float
    """Slope of the power spectrum of the patches: power ∝ frequency^-slope."""


# The published code draws among five photographs, of which the second and the third are the same.
_FINE = Ice((198, 202, 211), (17.9, 18.2, 18.8), (8.4, 9.2, 9.8), 1.11)
_COARSE = Ice((197, 202, 211), (19.7, 20.3, 21.1), (5.6, 6.3, 6.6), 1.83)
ICE = {
    5: (
        Ice((76, 148, 165), (21.2, 13.0, 12.5), (16.3, 9.0, 7.6), 1.53),
        _FINE,
        _FINE,
        Ice((143, 158, 171), (25.7, 25.8, 26.8), (10.0, 10.0, 10.7), 0.72),
        Ice((102, 114, 125), (34.6, 34.2, 33.6), (16.5, 15.8, 14.9), 1.27),
    ),
    1: (
        Ice((79, 149, 165), (23.7, 14.3, 13.4), (16.3, 8.8, 6.7), 1.85),
        _COARSE,
        _COARSE,
        Ice((146, 161, 174), (25.9, 26.0, 27.2), (5.5, 5.4, 5.8), 1.35),
        Ice((101, 112, 124), (36.1, 35.7, 35.0), (13.6, 13.0, 12.2), 1.83),
    ),
}
"""The photographs, by the factor by which they are reduced."""


def frost(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Add a texture of ice. Constants: weight of the image, weight of the ice, factor by which the ice is reduced.

    The published code adds patches of five photographs. This function adds noise that has the statistics (`Ice`) of one
    of them, all drawn as often as there, with the channels in step. The noise has neither the skewness of the
    photographs nor the shapes of crystals: this is the only corruption that is like the published one in its statistics
    alone.
    """
    weight, ice_weight, reduction = constants
    n, channels, h, w = x.shape
    photographs = ICE[int(reduction)]
    drawn = draws.integers(0, len(photographs), 1, stream=1)[:, 0]
    mean, deviation, drift = (
        x.new_tensor([getattr(photograph, name) for photograph in photographs])[drawn].view(n, 3, 1, 1)
        for name in ("mean", "deviation", "drift")
    )
    slope = x.new_tensor([photograph.slope for photograph in photographs])[drawn].view(n, 1, 1)
    texture = red_noise(draws.normal(h, w), slope)[:, None] * deviation
    ice = (mean + texture + drift * draws.normal(1, 1, 1, stream=2)).clamp_(0, 255).floor_()
    return x * weight + (grey(ice) if channels == 1 else ice) * ice_weight


def red_noise(white: Tensor, slope: Tensor) -> Tensor:
    """Turn white noise into noise of mean 0, expected variance 1, and power ∝ frequency^-slope.

    Args:
        white: Standard normal numbers, (n, h, w).
        slope: Slope of the power spectrum of each image, (n, 1, 1).

    Returns:
        The noise, (n, h, w).
    """
    h, w = white.shape[1:]
    rows, columns = torch.fft.fftfreq(h), torch.fft.rfftfreq(w)
    frequency = torch.hypot(rows[:, None], columns).to(white.device)
    frequency[0, 0] = math.inf  # makes the mean 0
    gain = frequency ** (-slope / 2)
    weight = white.new_full(
        (w // 2 + 1,), 2.0
    )  # a column also stands for its mirror image, except the first and, if w is even, the last
    weight[0] = 1
    if w % 2 == 0:
        weight[-1] = 1
    power = (gain**2 * weight).sum((1, 2), keepdim=True) / (h * w)
    shaped: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * (gain / power.sqrt()), s=(h, w))
    return shaped

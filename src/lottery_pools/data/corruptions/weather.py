"""Weather: snow, frost, fog, brightness."""

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
    """The value of HSV raised, hue and saturation kept; constant: by how much.

    Hue and saturation are ratios of the channels: keeping them is scaling all channels alike.
    """
    value = x.amax(1, keepdim=True)
    raised = (value + 255 * constants[0]).clamp_(max=255)
    return torch.where(value > 0, x * (raised / value.clamp(min=1)), raised)


def fog(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """A plasma fractal added, then the range brought back to the image's own; constants: amount, decay of detail."""
    amount, decay = constants
    h, w = x.shape[2:]
    side = 1 << (max(h, w) - 1).bit_length()
    layer = plasma(draws.uniform(side * side - 1), side, decay)[:, None, :h, :w]
    brightest = x.amax((1, 2, 3), keepdim=True) / 255
    return (x + layer * (255 * amount)) * (brightest / (brightest + amount))


def plasma(u: Tensor, side: int, decay: float) -> Tensor:
    """Clouds by diamond-square on a torus, scaled to [0, 1]: (n, side² - 1) uniform draws → (n, side, side).

    Each finer step takes the mean of four neighbours and adds a draw from ± wobble², the wobble falling by `decay`.
    """
    clouds = u.new_zeros(len(u), side, side)
    drawn, step, wobble = 0, side, 100.0

    def between(total: Tensor) -> Tensor:
        nonlocal drawn
        count = total[0].numel()
        noise = u[:, drawn : drawn + count].view(total.shape) * 2 - 1
        drawn += count
        return total / 4 + noise * wobble**2

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
    """Flakes over a whitened image, and once more turned by half a turn.

    Constants: mean and deviation of the flakes, their zoom, the threshold under which is no flake, radius and σ of
    their fall (within 45° of the vertical), share of the image that is not whitened.
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
    """Luma (ITU-R BT.601) of three channels, or the one channel, (n, 1, h, w)."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


@dataclass(frozen=True)
class Ice:
    """What was measured of a photograph of frost, in pixel values."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    """Within a patch of an image's size."""
    drift: tuple[float, float, float]
    """Of the patches' means."""
    slope: float
    """Of the power spectrum of patches: power ∝ frequency^-slope."""


# The published code draws among five photographs, of which the second and third are one. By how far they are reduced.
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


def frost(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """A texture of ice added; constants: weights of the image and of the ice, and by how much the ice is reduced.

    The published code adds patches of five photographs. Ours adds noise shaped like one of them, drawn as often:
    its mean, deviation and drift in each channel and the slope of its power spectrum, channels in step. It lacks their
    skewness and the shapes of crystals: this corruption alone is like the published one in these statistics only.
    """
    weight, ice_weight, reduction = constants
    n, channels, h, w = x.shape
    kinds = ICE[int(reduction)]
    which = draws.integers(0, len(kinds), 1, stream=1)[:, 0]
    mean, deviation, drift = (
        x.new_tensor([getattr(kind, name) for kind in kinds])[which].view(n, 3, 1, 1)
        for name in ("mean", "deviation", "drift")
    )
    slope = x.new_tensor([kind.slope for kind in kinds])[which].view(n, 1, 1)
    texture = red_noise(draws.normal(h, w), slope)[:, None] * deviation
    ice = (mean + texture + drift * draws.normal(1, 1, 1, stream=2)).clamp_(0, 255).floor_()
    return x * weight + (grey(ice) if channels == 1 else ice) * ice_weight


def red_noise(white: Tensor, slope: Tensor) -> Tensor:
    """White noise (n, h, w) reshaped to mean 0, variance 1 (expected) and power ∝ frequency^-slope (n, 1, 1)."""
    h, w = white.shape[1:]
    rows, columns = torch.fft.fftfreq(h), torch.fft.rfftfreq(w)
    frequency = torch.hypot(rows[:, None], columns).to(white.device)
    frequency[0, 0] = math.inf  # no mean
    gain = frequency ** (-slope / 2)
    weight = white.new_full((w // 2 + 1,), 2.0)  # columns that stand for themselves and their mirror image
    weight[0] = 1
    if w % 2 == 0:
        weight[-1] = 1
    power = (gain**2 * weight).sum((1, 2), keepdim=True) / (h * w)
    shaped: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * (gain / power.sqrt()), s=(h, w))
    return shaped

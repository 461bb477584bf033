"""Corruptions by noise, which changes each value of an image independently of the others.

The package's docstring describes the arguments of all corruptions.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.data.corruptions.constants import Constants
from lottery_pools.data.corruptions.draws import Draws

POISSON_LEVELS = 1 << 14
"""Quantiles in the table of a Poisson distribution. They use 14 of the 16 bits of a draw, so that the tables of all
values together stay in the cache of a CPU."""


def gaussian_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Add normal noise. Constant: its standard deviation, as a share of 255."""
    return x.add_(draws.normal(*x.shape[1:]), alpha=255 * constants[0])


def speckle_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Add normal noise in proportion to the value. Constant: its standard deviation, as a share of the value."""
    return x.addcmul_(x, draws.normal(*x.shape[1:]), value=constants[0])


def impulse_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Set random values of each channel to 0 or 255, equally often. Constant: the share of values that are set."""
    uniform = draws.uniform(*x.shape[1:])
    return x.masked_fill_(uniform < constants[0], 0).masked_fill_(uniform < constants[0] / 2, 255)


def shot_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Replace values by counts of photons, which have Poisson distributions. Constant: mean photons of a white pixel.

    The noisy value is looked up in a table, by value and by a random quantile.
    """
    table = torch.from_numpy(_shot_table(constants[0])).to(x.device)
    quantile = (draws.words(*x.shape[1:]).int() + 32768) >> 2
    index = x.int().mul_(POISSON_LEVELS).add_(quantile)
    return table.index_select(0, index.flatten()).view(x.shape).float()


@functools.lru_cache(maxsize=5)
def _shot_table(photons: float) -> NDArray[np.uint8]:
    """The table of `shot_noise`: the noisy values of each value 0 to 255 at each quantile, (256 · levels,) uint8."""
    counts = np.arange(int(photons + 10 * np.sqrt(photons)) + 20)
    means = np.arange(256)[:, None] * (photons / 255)
    log_factorials = np.log(np.maximum(counts, 1)).cumsum()
    log_pmf = counts * np.log(np.maximum(means, 1e-99)) - means - log_factorials
    # A count takes the quantiles between the cumulative probability of the count before it and its own.
    ends = np.floor(np.exp(log_pmf).cumsum(axis=1) * POISSON_LEVELS + 0.5).clip(max=POISSON_LEVELS).astype(np.int64)
    ends[:, -1] = POISSON_LEVELS
    widths = np.diff(ends, axis=1, prepend=0)
    values = np.floor(np.minimum(counts / photons, 1) * 255 + 1e-9).astype(np.uint8)
    return np.repeat(np.tile(values, 256), widths.ravel())

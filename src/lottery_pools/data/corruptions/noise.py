"""Noise that strikes each value by itself.

Here and in the other families, images are float32 (n, c, h, w) from 0 to 255, which a function may overwrite; results
may pass these bounds, and are truncated to 8 bits by the caller.
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
"""Quantiles kept of each Poisson law: 14 of the 16 bits drawn, so that the table stays in the cache."""


def gaussian_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Normal noise; constant: its standard deviation."""
    return x.add_(draws.normal(*x.shape[1:]), alpha=255 * constants[0])


def speckle_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Normal noise in proportion to the value; constant: its standard deviation."""
    return x.addcmul_(x, draws.normal(*x.shape[1:]), value=constants[0])


def impulse_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Salt and pepper, half each, every channel by itself; constant: the share of values struck."""
    u = draws.uniform(*x.shape[1:])
    return x.masked_fill_(u < constants[0], 0).masked_fill_(u < constants[0] / 2, 255)


def shot_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Poisson noise; constant: the photons of a white pixel. Looked up by value and quantile, the law being exact."""
    table = torch.from_numpy(_shot_table(constants[0])).to(x.device)
    quantile = (draws.words(*x.shape[1:]).int() + 32768) >> 2
    index = x.int().mul_(POISSON_LEVELS).add_(quantile)
    return table.index_select(0, index.flatten()).view(x.shape).float()


@functools.lru_cache(maxsize=5)
def _shot_table(photons: float) -> NDArray[np.uint8]:
    """The noisy value of each of 256 values (rows) at each quantile, flattened, uint8."""
    counts = np.arange(int(photons + 10 * np.sqrt(photons)) + 20)
    means = np.arange(256)[:, None] * (photons / 255)
    log_factorials = np.log(np.maximum(counts, 1)).cumsum()
    log_pmf = counts * np.log(np.maximum(means, 1e-99)) - means - log_factorials
    # A count holds the quantiles from where the cumulative probability of the one before ends to where its own does.
    ends = np.floor(np.exp(log_pmf).cumsum(axis=1) * POISSON_LEVELS + 0.5).clip(max=POISSON_LEVELS).astype(np.int64)
    ends[:, -1] = POISSON_LEVELS
    widths = np.diff(ends, axis=1, prepend=0)
    values = np.floor(np.minimum(counts / photons, 1) * 255 + 1e-9).astype(np.uint8)
    return np.repeat(np.tile(values, 256), widths.ravel())

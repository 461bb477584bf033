"""Random numbers by counter: a draw is a function of its image's key and its position, on every device the same."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.runs.seeds import derive

LEVELS = 65536
"""Values of one draw: 16 bits, far finer than an 8-bit pixel; four are cut from each 64-bit word."""


@dataclass(frozen=True)
class Draws:
    """The draws of a batch: those of image i follow from `keys[i]` alone, so batches may be cut anywhere.

    Each method takes the shape of one image's draws and returns (n, *shape); different streams are independent.
    """

    keys: Tensor
    """(n,) int64."""

    def words(self, *shape: int, stream: int = 0) -> Tensor:
        """Integers in [-32768, 32768), int16, all equally likely."""
        count = math.prod(shape)
        counters = torch.arange(-(-count // 4), device=self.keys.device) + (stream << 40)
        mixed = _mix(self.keys[:, None] + counters * _GOLDEN)
        return mixed.view(torch.int16)[:, :count].reshape(len(self.keys), *shape)

    def uniform(self, *shape: int, stream: int = 0) -> Tensor:
        """Uniform on (0, 1), float32: the middles of 65,536 equal steps."""
        return (self.words(*shape, stream=stream).float() + (LEVELS / 2 + 0.5)) / LEVELS

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Standard normal, float32: the quantiles of `uniform`, which end at ±4.3."""
        words = self.words(*shape, stream=stream)
        index = words.int().add_(LEVELS // 2).flatten()
        return _quantiles(self.keys.device).index_select(0, index).view(words.shape)

    def integers(self, low: int, high: int, *shape: int, stream: int = 0) -> Tensor:
        """Integers in [low, high), int64, equally likely."""
        return (self.uniform(*shape, stream=stream) * (high - low)).long() + low


def draws(count: int, first: int, device: torch.device, seed: int, *name: str | int) -> Draws:
    """The draws of images first … first + count - 1 in the stream called `name`."""
    indices = torch.arange(first, first + count, device=device)
    return Draws(_mix(indices * _GOLDEN + derive(seed, *name)))


_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014), in place; int64 wraps as unsigned does."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= (z >> shift).bitwise_and_((1 << (64 - shift)) - 1)  # >> copies the sign; the shift wanted does not
        z *= factor - (1 << 64)
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z


@functools.cache
def _quantiles(device: torch.device) -> Tensor:
    """The normal quantile at the middle of each of the 65,536 steps."""
    steps = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    quantiles: Tensor = torch.special.ndtri(steps).float().to(device)
    return quantiles

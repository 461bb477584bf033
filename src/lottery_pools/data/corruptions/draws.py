"""Random numbers from a counter: each is a function of its image's key and its position, the same on every device."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.runs.seeds import derive

LEVELS = 65536
"""The number of values that a draw can have: it has 16 bits, which is far finer than a pixel of 8 bits. Four draws are
cut from each 64-bit word."""
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""The increment of SplitMix64, as a signed number: consecutive counters are multiplied by it before they are mixed."""


@dataclass(frozen=True)
class Draws:
    """The random draws of a batch of images. Those of image i depend on `keys[i]` alone, not on the rest of the batch.

    Each method takes the shape of the draws of one image and returns (n, *shape). The draws of different `stream`s are
    independent of each other.
    """

    keys: Tensor
    """One key for each image, (n,) int64."""

    def words(self, *shape: int, stream: int = 0) -> Tensor:
        """Return integers in [-32768, 32768), int16, all equally likely."""
        count = math.prod(shape)
        counters = torch.arange(-(-count // 4), device=self.keys.device) + (stream << 40)
        mixed = _mix(self.keys[:, None] + counters * _GOLDEN)
        return mixed.view(torch.int16)[:, :count].reshape(len(self.keys), *shape)

    def uniform(self, *shape: int, stream: int = 0) -> Tensor:
        """Return numbers uniform on (0, 1), float32: the centres of 65,536 steps of equal width."""
        return (self.words(*shape, stream=stream).float() + (LEVELS / 2 + 0.5)) / LEVELS

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Return standard normal numbers, float32: the quantiles at the values of `uniform`, within ±4.3."""
        words = self.words(*shape, stream=stream)
        index = words.int().add_(LEVELS // 2).flatten()
        return _quantiles(self.keys.device).index_select(0, index).view(words.shape)

    def integers(self, low: int, high: int, *shape: int, stream: int = 0) -> Tensor:
        """Return integers in [low, high), int64, all equally likely."""
        return (self.uniform(*shape, stream=stream) * (high - low)).long() + low


def draws(count: int, first: int, device: torch.device, seed: int, *name: str | int) -> Draws:
    """Return the draws of the images number `first` to `first + count - 1`.

    Args:
        count: Number of images.
        first: Number of the first of them.
        device: Device of the draws.
        seed: Seed of the data.
        name: The parts of the name of the random stream.
    """
    indices = torch.arange(first, first + count, device=device)
    return Draws(_mix(indices * _GOLDEN + derive(seed, *name)))


def _mix(z: Tensor) -> Tensor:
    """Mix the bits of 64-bit words in place, as SplitMix64 does (Steele, Lea & Flood, OOPSLA 2014).

    The algorithm is defined on unsigned integers; products of int64 have the same bits.
    """
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= (z >> shift).bitwise_and_(
            (1 << (64 - shift)) - 1
        )  # >> shifts copies of the sign in; the mask makes them 0
        z *= factor - (1 << 64)
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z


@functools.cache
def _quantiles(device: torch.device) -> Tensor:
    """The quantiles of the normal distribution at the centres of the 65,536 steps, (65536,) float32."""
    steps = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    quantiles: Tensor = torch.special.ndtri(steps).float().to(device)
    return quantiles

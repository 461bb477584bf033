"""MNIST-1D (Greydanus, 2020, arXiv 2011.14439): ten short signals, deformed at random, as many samples as wanted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lottery_pools.config.schema import Difficulty
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator

# The ten digits as the pen's height at twelve moments.
_DIGITS = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
CLASSES = len(_DIGITS)
_POINTS = len(_DIGITS[0])
_CHUNK = 4096  # samples transformed at once: their arrays stay in a core's cache


@dataclass(frozen=True)
class Draws:
    """All that is random in n samples of `points` points each, before any setting scales it."""

    padding: Tensor  # (n,) int64: zeros appended
    roll: Tensor  # (n,) int64: points
    amplitude: Tensor  # (n,) uniform in [0, 1)
    slope: Tensor  # (n,) uniform in [0, 1)
    correlated: Tensor  # (n, points) standard normal
    independent: Tensor  # (n, points) standard normal


def generate(n: int, seed: int, difficulty: Difficulty, split: str = "train") -> tuple[Tensor, Tensor]:
    """`n` signals (n, 1, length) float32 and their digits (n,) int64, shuffled, digits as equally frequent as can be.

    Signals are not standardised. Each `split` is a random stream of its own; the order of points that `shuffle_seq`
    asks for is the same in all of them. Raises UserError where `n` is below 1.
    """
    if n < 1:
        raise UserError(f"mnist1d: {n} samples asked for the {split} split: give 1 or more")
    stream = generator(seed, "mnist1d", split)
    labels = torch.randperm(n, generator=stream) % CLASSES
    digits = templates()
    signals = torch.cat(
        [
            transform(digits[part], draw(len(part), difficulty, stream), difficulty)
            for part in torch.split(labels, _CHUNK)
        ]
    )
    if difficulty.shuffle_seq:
        order = torch.randperm(difficulty.final_seq_length, generator=generator(seed, "mnist1d", "shuffle"))
        signals = signals[:, order]
    return signals[:, None], labels


def templates() -> Tensor:
    """The ten digits (10, 12): standardised each, shifted so that they start and end at 0, divided by 6."""
    heights = torch.tensor(_DIGITS, dtype=torch.float64)
    heights = heights / heights.std(1, correction=0, keepdim=True)
    return ((heights - heights[:, :1]) / 6).float()


def draw(n: int, difficulty: Difficulty, stream: torch.Generator) -> Draws:
    """The random numbers of `n` samples."""
    low, high = difficulty.padding
    points = _POINTS + high
    return Draws(
        padding=torch.randint(low, high + 1, (n,), generator=stream),
        roll=torch.randint(difficulty.max_translation, (n,), generator=stream),
        amplitude=torch.rand(n, generator=stream),
        slope=torch.rand(n, generator=stream),
        correlated=torch.randn(n, points, generator=stream),
        independent=torch.randn(n, points, generator=stream),
    )


def transform(digits: Tensor, draws: Draws, difficulty: Difficulty) -> Tensor:
    """Signals (n, length) from templates `digits` (n, 12): padded, stretched, scaled, rolled, noised, sheared.

    Greydanus (2020) raises templates by 1e-8, so that exactly the points that stretching takes from the padding are 0
    and get correlated noise; here they are told by their place.
    """
    points = _POINTS + difficulty.padding[1]
    index = torch.arange(points)
    # Where each finished point lies on the padded template; of whole numbers below 2^24, so 12 is exact.
    position = (index - draws.roll[:, None]) % points * (_POINTS - 1 + draws.padding[:, None]) / (points - 1)
    position = position.clamp_(max=_POINTS)
    left = position.long()
    padded = functional.pad(digits * (1 + difficulty.scale_coeff * (draws.amplitude[:, None] - 0.5)), (0, 2))
    signal = torch.lerp(padded.gather(1, left), padded.gather(1, left + 1), position - left)

    noise = difficulty.corr_noise_scale * draws.correlated @ _smoothing(points).T
    signal = torch.where(position < _POINTS, signal, noise)
    signal = signal.add_(draws.independent, alpha=difficulty.iid_noise_scale)
    slope = difficulty.shear_scale * (draws.slope[:, None] - 0.5)
    signal = signal.addcmul_(slope, torch.linspace(-0.5, 0.5, points), value=-1)
    return signal @ _resampling(points, difficulty.final_seq_length)


def _resampling(points: int, size: int) -> Tensor:
    """The matrix (points, size) that interpolates a signal linearly, from end to end, at `size` points."""
    identity = torch.eye(points, dtype=torch.float64)[None]  # double: single precision misplaces points by 1e-6
    return functional.interpolate(identity, size, mode="linear", align_corners=True)[0].float()


def _smoothing(points: int, sigma: float = 2.0, radius: int = 8) -> Tensor:
    """The matrix (points, points) of a Gaussian filter cut off at 4 σ, the signal mirrored beyond its ends."""
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    identity = torch.eye(points, dtype=torch.float64)
    mirrored = torch.cat([identity[:radius].flip(0), identity, identity[-radius:].flip(0)])
    return (mirrored.unfold(0, 2 * radius + 1, 1) @ (kernel / kernel.sum())).float()

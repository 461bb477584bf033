"""MNIST-1D (Greydanus, 2020, arXiv 2011.14439): signals in ten classes, generated.

Each class has a template of 12 points in the shape of a digit. A sample is the template of its class: padded with
zeros, stretched, scaled, rolled, with noise added, and sheared, all by random amounts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from lottery_pools.config.schema import Difficulty
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator

# The templates of the digits 0 to 9: the height of the pen at twelve moments.
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
"""Number of classes."""
_POINTS = len(_DIGITS[0])
"""Points of a template."""
_VERSION = 1
"""Part of `identity`. Increase it with every change of the generator that changes samples."""
_SAMPLES_AT_ONCE = 4096
"""Samples transformed in one step, so that the arrays of a step stay in the cache of a core."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of n samples, before the settings scale them.

    `points` is the length of a sample before it is resized: 12, and the most zeros that may be appended.
    """

    padding: Tensor
    """Zeros appended to the template, (n,) int64."""
    roll: Tensor
    """Points by which the signal is rolled, (n,) int64."""
    amplitude: Tensor
    """Uniform in [0, 1), (n,)."""
    slope: Tensor
    """Uniform in [0, 1), (n,)."""
    correlated: Tensor
    """Standard normal, (n, points): noise that is smoothed, for the padding."""
    independent: Tensor
    """Standard normal, (n, points): noise of every point."""


def generate(n: int, seed: int, difficulty: Difficulty, split: str = "train") -> tuple[Tensor, Tensor]:
    """Generate samples in random order, with all classes as equally frequent as possible.

    Args:
        n: Number of samples.
        seed: Seed of the data.
        difficulty: Parameters of the generator.
        split: Name of the random stream: other names give other samples. The order of points that
            `difficulty.shuffle_seq` asks for is the same for all names.

    Returns:
        Signals (n, 1, length) float32, not standardised, and their digits (n,) int64.

    Raises:
        UserError: `n` is below 1.
    """
    if n < 1:
        raise UserError(f"mnist1d: {n} samples asked for the {split} split: give 1 or more")
    stream = generator(seed, "mnist1d", split)
    labels = torch.randperm(n, generator=stream) % CLASSES
    digits = templates()
    signals = torch.cat(
        [
            transform(digits[batch], draw(len(batch), difficulty, stream), difficulty)
            for batch in torch.split(labels, _SAMPLES_AT_ONCE)
        ]
    )
    if difficulty.shuffle_seq:
        order = torch.randperm(difficulty.final_seq_length, generator=generator(seed, "mnist1d", "shuffle"))
        signals = signals[:, order]
    return signals[:, None], labels


def identity(sizes: Mapping[str, int], seed: int, difficulty: Difficulty) -> str:
    """Return what identifies generated samples, 16 hexadecimal digits: they are a function of these arguments.

    Args:
        sizes: Number of samples of each split.
        seed: Seed of the data.
        difficulty: Parameters of the generator.
    """
    parameters = {field.name: getattr(difficulty, field.name) for field in fields(difficulty)}
    # 1 and 1.0 are the same parameter.
    numbers = {name: float(value) if isinstance(value, int) else value for name, value in parameters.items()}
    content = json.dumps(["mnist1d", _VERSION, dict(sizes), seed, numbers], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def templates() -> Tensor:
    """Return the templates of the ten digits, (10, 12): each standardised, with 0 at both ends, divided by 6."""
    heights = torch.tensor(_DIGITS, dtype=torch.float64)
    heights = heights / heights.std(1, correction=0, keepdim=True)
    return ((heights - heights[:, :1]) / 6).float()


def draw(n: int, difficulty: Difficulty, stream: torch.Generator) -> Draws:
    """Draw the random numbers of `n` samples from `stream`, in the order of the fields of `Draws`."""
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
    """Make signals from templates: pad, stretch, scale, roll, add noise, shear, and resize to the final length.

    The points that stretching takes from the padding get correlated noise instead. Greydanus (2020) finds them by their
    value: he raises the templates by 1e-8, so that only these points are exactly 0. Here they are found by their place.

    Args:
        digits: Template of each sample, (n, 12).
        draws: Random numbers of the samples.
        difficulty: Parameters of the generator.

    Returns:
        Signals (n, difficulty.final_seq_length) float32.
    """
    points = _POINTS + difficulty.padding[1]
    index = torch.arange(points)
    # The place of each point on the padded template. All factors are whole numbers below 2^24, so that the first
    # point of the padding, 12, is exact in float32.
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
    """The matrix (points, size) that resizes a signal to `size` points by linear interpolation from end to end."""
    identity = torch.eye(points, dtype=torch.float64)[None]  # float32 would misplace points by 1e-6
    return functional.interpolate(identity, size, mode="linear", align_corners=True)[0].float()


def _smoothing(points: int, sigma: float = 2.0, radius: int = 8) -> Tensor:
    """The matrix (points, points) that smooths a signal with a Gaussian; beyond its ends the signal is mirrored.

    Args:
        points: Points of the signal.
        sigma: Standard deviation of the Gaussian, in points.
        radius: Points on each side after which the Gaussian is cut off.
    """
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    identity = torch.eye(points, dtype=torch.float64)
    mirrored = torch.cat([identity[:radius].flip(0), identity, identity[-radius:].flip(0)])
    return (mirrored.unfold(0, 2 * radius + 1, 1) @ (kernel / kernel.sum())).float()

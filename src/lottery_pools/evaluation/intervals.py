"""Statistics of differences: Student's intervals over seeds, equivalence tests, and Holm's correction.

Student's distribution is computed from its finite sums for whole degrees of freedom (Abramowitz & Stegun, 1964,
26.7.3 and 26.7.4), so that no package of statistics is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import atan, cos, erfc, inf, isinf, nan, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from lottery_pools.runs.rows import Gain

MARGIN = 0.3
"""Percentage points within which two methods are called equivalent (studies/PLAN.md)."""
_FREE = inf
"""Degrees of freedom of the normal distribution."""


def two_sided(t: float, freedom: float) -> float:
    """P(|T| ≥ |t|) of Student's distribution.

    Args:
        t: The statistic: a mean divided by its standard error.
        freedom: Degrees of freedom, a whole number from 1; `math.inf` is the normal distribution.

    Examples:
        >>> round(two_sided(4.3027, 2), 4)
        0.05
    """
    if isinf(t):
        return 0.0
    if isinf(freedom):
        return erfc(abs(t) / sqrt(2))
    angle = atan(abs(t) / sqrt(freedom))
    odd = int(freedom) % 2
    term = total = cos(angle) if odd else 1.0
    for k in range(3 if odd else 2, int(freedom) - 1, 2):
        term *= cos(angle) ** 2 * (k - 1) / k
        total += term
    if freedom == 1:
        return 1 - 2 * angle / pi
    inside = (angle + sin(angle) * total) * 2 / pi if odd else sin(angle) * total
    return max(0.0, 1 - inside)


@cache
def student(freedom: float, coverage: float = 0.95) -> float:
    """The t with P(|T| ≤ t) = `coverage` of Student's distribution, to nine decimals.

    Args:
        freedom: Degrees of freedom, a whole number from 1; `math.inf` is the normal distribution.
        coverage: Between 0 and 1: 0.95 gives the 97.5 % quantile.

    Examples:
        >>> round(student(2), 3), round(student(inf), 3)
        (4.303, 1.96)
    """
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > 1 - coverage:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - coverage else (low, middle)
    return high


def means(differences: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The mean of each comparison, and the standard error of that mean.

    Where there are several seeds, each gives one number, its mean over samples, and the error is that of the mean of
    these numbers. It includes the noise of the samples as far as seeds differ in it. With a single seed the error is
    that of the mean over samples: it says nothing about other seeds.

    Args:
        differences: (comparisons, seeds, n), what sample i of a seed's test set adds.

    Returns (mean, error), each (comparisons,).
    """
    _, seeds, n = differences.shape
    by_seed = differences.mean(2, dtype=np.float64)
    if seeds > 1:
        return by_seed.mean(1), by_seed.std(1, ddof=1) / sqrt(seeds)
    spread = differences[:, 0].std(1, ddof=1, dtype=np.float64) if n > 1 else np.zeros(len(differences))
    return by_seed[:, 0], spread / sqrt(n)


def proportion_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `n` samples, by Wilson's score (Wilson, 1927): it stays within 0 and 1.

    Examples:
        >>> [round(end, 3) for end in proportion_interval(90, 100)]
        [0.826, 0.945]
    """
    z = student(inf)
    centre, width = correct / n + z**2 / (2 * n), z * sqrt(correct * (n - correct) / n + z**2 / 4) / n
    scale = 1 + z**2 / n
    return (centre - width) / scale, (centre + width) / scale


def paired_intervals(
    differences: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Mean and ends of the 95 % interval of each comparison: Student's over seeds; of one seed, normal over samples.

    Args:
        differences: (comparisons, seeds, n), what sample i of a seed's test set adds.

    Returns (mean, low, high), each (comparisons,).
    """
    mean, error = means(differences)
    half = student(freedom(differences.shape[1])) * error
    return mean, mean - half, mean + half


def freedom(seeds: int) -> float:
    """Degrees of freedom of a mean over seeds; of one seed, whose error is that of many samples, infinitely many."""
    return seeds - 1 if seeds > 1 else _FREE


def p_value(gain: Gain) -> float:
    """The two-sided p-value of a gain under the hypothesis that there is none; NaN where its error is not known."""
    if gain.error is None:
        return nan
    if gain.error == 0:
        return 1.0 if gain.gain == 0 else 0.0
    return two_sided(gain.gain / gain.error, freedom(gain.seeds))


def is_equivalent(gain: Gain) -> bool:
    """Whether two one-sided tests, each at 5 %, show that a gain lies within ± `MARGIN` (Schuirmann, 1987).

    That is so where its 90 % interval does. False where its error is not known.
    """
    if gain.error is None:
        return False
    return abs(gain.gain) + student(freedom(gain.seeds), 0.90) * gain.error < MARGIN


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (1979), in their order; NaN stays NaN.

    The chance that any hypothesis is rejected wrongly is at most 5 % where those with corrected values up to 0.05 are.

    Examples:
        >>> holm([0.04, 0.01, 0.5])
        [0.08, 0.03, 0.5]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p == p)
    corrected = [nan] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[place] = highest
    return corrected

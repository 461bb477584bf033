"""Numbers from predictions: calibration error, and gains with paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from lottery_pools.runs.rows import (
    BASELINES,
    Accuracy,
    Bins,
    Gain,
    Row,
    clean,
    common_rows,
    complete,
    corrupted,
    unpack_hits,
)

Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017): mean |accuracy - confidence| over equal bins of confidence.

    `confidence` (n,) in [0, 1] is the probability given to the predicted class; `correct` (n,) whether it was right.
    """
    index = _bin(confidence, bins)
    gap = np.bincount(index, weights=correct.astype(float) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def reliability(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 15) -> Bins:
    """(samples, correct, mean confidence) of each bin of `calibration_error`; means to four decimals."""
    index = _bin(confidence, bins)
    count, right = (np.bincount(index, weights, bins).astype(int) for weights in (None, correct))
    mean = (np.bincount(index, confidence, bins) / np.maximum(count, 1)).round(4)
    return tuple(zip(count.tolist(), right.tolist(), mean.tolist(), strict=True))


def _bin(confidence: NDArray[np.floating], bins: int) -> NDArray[np.int_]:
    """The bin of each confidence, (n,), from 0; bins are open below and closed above."""
    index: NDArray[np.int_] = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return index


def proportion_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `n` samples, by Wilson's score (Wilson, 1927): it stays within 0 and 1.

    >>> [round(end, 3) for end in proportion_interval(90, 100)]
    [0.826, 0.945]
    """
    centre, width = correct / n + Z**2 / (2 * n), Z * sqrt(correct * (n - correct) / n + Z**2 / 4) / n
    scale = 1 + Z**2 / n
    return (centre - width) / scale, (centre + width) / scale


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution: from tables, from 10 degrees of freedom by expansion (± 0.001)."""
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    if freedom <= len(table):
        return table[freedom - 1]
    first, second = (Z**3 + Z) / 4, (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + first / freedom + second / freedom**2 + third / freedom**3


def paired_intervals(
    differences: NDArray[np.floating], resamples: int = 2000, seed: int = 0
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Mean and ends of the 95 % interval of each comparison, over seeds and samples.

    The bootstrap draws samples, the same for both networks, all comparisons and all seeds, since they share the test
    set. Where there are several seeds it draws these too, their means pulled apart by √(S / (S - 1)) · t / z: drawing S
    seeds makes their variance too small by (S - 1) / S, and at few seeds Student's quantile t (S - 1 degrees of
    freedom) belongs in the place of the normal z.

    Args:
        differences: (comparisons, seeds, n), what sample i of a seed's test set adds.
        resamples: how often samples and seeds are drawn.
        seed: of the draws.

    Returns (mean, low, high), each (comparisons,).
    """
    comparisons, seeds, n = differences.shape
    rng = np.random.default_rng(seed)
    by_seed = differences.mean(2, keepdims=True)
    mean = by_seed.mean(1, keepdims=True)
    if seeds > 1:
        stretch = np.sqrt(seeds / (seeds - 1)) * student(seeds - 1) / Z
        differences = differences + (stretch - 1) * (by_seed - mean)
    flat = differences.reshape(-1, n).astype(np.float32)
    drawn = np.empty((comparisons * seeds, resamples), np.float32)
    for start in range(0, resamples, 100):
        counts = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(min(100, resamples - start))])
        drawn[:, start : start + 100] = flat @ counts.T.astype(np.float32) / n
    times = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    replicates = np.einsum("csb,bs->cb", drawn.reshape(comparisons, seeds, resamples), times)
    low, high = np.percentile(replicates, [2.5, 97.5], axis=1)
    return mean[:, 0, 0], low, high


def gains(rows: Sequence[Row], baselines: Sequence[str] = BASELINES) -> list[Gain]:
    """Every method against every baseline, level by level and over all levels, on clean and on corrupted test samples.

    Only what every seed has of both is compared, so that nothing is averaged over different sets: a level, and of
    corrupted samples every (corruption, severity) that any network was measured on, averaged sample by sample.

    Args:
        rows: of one experiment, so that all have the same test samples.
        baselines: each is itself held against those before it, as the best admissible ticket against the recalibrated.
    """
    return [gain for corruption, part in _parts(rows) for gain in _gains(part, corruption, baselines)]


def comparable(rows: Sequence[Row], all_gains: Sequence[Gain]) -> list[Gain]:
    """The gains over all levels that compare with each other and with other means, among `all_gains` of `rows`.

    Where methods were not all measured at the same levels, on the same seeds and on the same corruptions, gains are
    computed anew from what is `common_rows`.
    """
    result = []
    for corruption, part in _parts(rows):
        common = common_rows(part)
        gains_of_common = all_gains if len(common) == len(part) else _gains(common, corruption, BASELINES)
        result += [gain for gain in gains_of_common if gain.level is None and gain.corruption == corruption]
    return result


def accuracies(rows: Sequence[Row]) -> list[Accuracy]:
    """The test accuracy of every method at every level, on clean and on corrupted samples, with 95 % intervals.

    Where it is `complete`. Intervals are Student's, of the mean over seeds: drawn seeds are what they generalise over.
    """
    result = []
    for corruption, part in _parts(rows):
        admissible_first = sorted(part, key=lambda row: row.method != "admissible")
        density = {row.level: row.density for row in admissible_first}
        groups: dict[tuple[str, int], dict[int, list[float]]] = {}
        for row in complete(part):
            groups.setdefault((row.method, row.level), {}).setdefault(row.seed, []).append(100 * row.accuracy)
        for (method, level), by_seed in groups.items():
            seeds = [fmean(measured) for measured in by_seed.values()]
            mean, n = fmean(seeds), len(seeds)
            half = student(n - 1) * stdev(seeds) / sqrt(n) if n > 1 else 0.0
            result.append(Accuracy(method, level, density[level], corruption, mean, mean - half, mean + half, n))
    return result


def _parts(rows: Sequence[Row]) -> tuple[tuple[str, list[Row]], tuple[str, list[Row]]]:
    """The rows on clean and on corrupted test samples, each by what their gains say they are of."""
    return ("none", clean(rows)), ("all", corrupted(rows))


@dataclass(frozen=True)
class _Comparison:
    """What one network adds to another, sample by sample."""

    method: str
    against: str
    level: int | None
    """None: the mean over all levels that both have."""
    differences: NDArray[np.float32]
    """(seeds, n)."""


def _gains(rows: Sequence[Row], corruption: str, baselines: Sequence[str]) -> list[Gain]:
    """The gains in rows that are all on clean samples, or all on corrupted ones."""
    comparisons = _comparisons(rows, baselines)
    if not comparisons:
        return []
    density = {row.level: row.density for row in rows if row.method == "ticket"}
    means, lows, highs = paired_intervals(np.stack([comparison.differences for comparison in comparisons]) * 100)
    result = []
    for i, comparison in enumerate(comparisons):
        gain, low, high = (round(float(values[i]), 4) for values in (means, lows, highs))
        level = comparison.level
        at = None if level is None else density[level]
        seeds, n = comparison.differences.shape
        result.append(Gain(comparison.method, comparison.against, level, at, corruption, gain, low, high, seeds, n))
    return result


def _comparisons(rows: Sequence[Row], baselines: Sequence[str]) -> list[_Comparison]:
    """Every method against every baseline, at each level that all seeds have of both, then over all these levels."""
    seeds = sorted({row.seed for row in rows})
    levels = sorted({row.level for row in rows if row.method == "ticket"})
    hits = _mean_hits(rows)
    comparisons = []
    for method in dict.fromkeys(row.method for row in rows):
        for against in baselines[: baselines.index(method)] if method in baselines else baselines:
            by_level = {
                level: np.stack([hits[method, level, seed] - hits[against, level, seed] for seed in seeds])
                for level in levels
                if all((name, level, seed) in hits for name in (method, against) for seed in seeds)
            }
            comparisons += [_Comparison(method, against, level, values) for level, values in by_level.items()]
            if by_level:
                comparisons.append(_Comparison(method, against, None, np.mean(list(by_level.values()), axis=0)))
    return comparisons


def _mean_hits(rows: Sequence[Row]) -> dict[tuple[str, int, int], NDArray[np.float32]]:
    """Share of the conditions under which each sample was predicted correctly, (n,), by (method, level, seed).

    A network that was not measured under all conditions that any network was measured under is left out.
    """
    conditions = {(row.corruption, row.severity) for row in rows}
    sums: dict[tuple[str, int, int], NDArray[np.float32]] = {}
    counts: dict[tuple[str, int, int], int] = {}
    for row in rows:
        key = (row.method, row.level, row.seed)
        sums[key] = sums.get(key, np.float32(0)) + unpack_hits(row).astype(np.float32)
        counts[key] = counts.get(key, 0) + 1
    return {key: total / np.float32(len(conditions)) for key, total in sums.items() if counts[key] == len(conditions)}

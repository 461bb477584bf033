"""Numbers from predictions: calibration error, and gains with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from lottery_pools.evaluation.intervals import freedom, means, student
from lottery_pools.runs.rows import (
    BASELINES,
    Accuracy,
    AnyRow,
    Bins,
    Gain,
    MetricRow,
    Row,
    clean,
    common_rows,
    complete,
    corrupted,
    merit,
    values_of,
)

BINS = 15
"""Bins of confidence, of equal width."""


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error (Guo et al., 2017): mean |accuracy - confidence| over equal bins of confidence.

    `confidence` (n,) in [0, 1] is the probability given to the predicted class; `correct` (n,) whether it was right.
    """
    index = _bin(confidence, bins)
    gap = np.bincount(index, weights=correct.astype(float) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def reliability(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> Bins:
    """(samples, correct, mean confidence) of each bin of `calibration_error`; means to four decimals."""
    index = _bin(confidence, BINS)
    count, right = (np.bincount(index, weights, BINS).astype(int) for weights in (None, correct))
    mean = (np.bincount(index, confidence, BINS) / np.maximum(count, 1)).round(4)
    return tuple(zip(count.tolist(), right.tolist(), mean.tolist(), strict=True))


def _bin(confidence: NDArray[np.floating], bins: int) -> NDArray[np.int_]:
    """The bin of each confidence, (n,), from 0; bins are open below and closed above."""
    index: NDArray[np.int_] = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return index


def gains(rows: Sequence[AnyRow], baselines: Sequence[str] = BASELINES) -> list[Gain]:
    """Every method against every baseline, level by level and over all levels, on clean and on corrupted test samples.

    Accuracies are compared in percentage points, other metrics in their unit. Only what every seed has of both is
    compared, so that nothing is averaged over different sets: a level, and of corrupted samples every (corruption,
    severity) that any network was measured on, averaged sample by sample.

    Args:
        rows: of one experiment, so that all have the same test samples.
        baselines: each is itself held against those before it, as the best admissible ticket against the recalibrated.
    """
    return [gain for corruption, part in _parts(rows) for gain in _gains(part, corruption, baselines)]


def comparable(rows: Sequence[AnyRow], all_gains: Sequence[Gain]) -> list[Gain]:
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


def accuracies(rows: Sequence[AnyRow]) -> list[Accuracy]:
    """The test accuracy of every method at every level, on clean and on corrupted samples, with 95 % intervals; of rows
    of another metric, that metric.

    Where it is `complete`. Intervals are Student's, of the mean over seeds: drawn seeds are what they generalise over.
    """
    result = []
    for corruption, part in _parts(rows):
        admissible_first = sorted(part, key=lambda row: row.method != "admissible")
        density = {row.level: row.density for row in admissible_first}
        groups: dict[tuple[str, int], dict[int, list[float]]] = {}
        for row in complete(part):
            groups.setdefault((row.method, row.level), {}).setdefault(row.seed, []).append(_scale(rows) * merit(row))
        for (method, level), by_seed in groups.items():
            seeds = [fmean(measured) for measured in by_seed.values()]
            mean, n = fmean(seeds), len(seeds)
            half = student(n - 1) * stdev(seeds) / sqrt(n) if n > 1 else 0.0
            result.append(Accuracy(method, level, density[level], corruption, mean, mean - half, mean + half, n))
    return result


def _parts(rows: Sequence[AnyRow]) -> tuple[tuple[str, list[AnyRow]], tuple[str, list[AnyRow]]]:
    """The rows on clean and on corrupted test samples, each by what their gains say they are of."""
    return ("none", clean(rows)), ("all", corrupted(rows))


def _scale(rows: Sequence[Row | MetricRow]) -> int:
    """Accuracies are reported in percent, other metrics in their unit."""
    return 100 if isinstance(rows[0], Row) else 1


@dataclass(frozen=True)
class _Comparison:
    """What one network adds to another, sample by sample."""

    method: str
    against: str
    level: int | None
    """None: the mean over all levels that both have."""
    differences: NDArray[np.float32]
    """(seeds, n)."""
    cells: NDArray[np.float64]
    """The mean difference of every level and seed that went into it."""


def _gains(rows: Sequence[AnyRow], corruption: str, baselines: Sequence[str]) -> list[Gain]:
    """The gains in rows that are all on clean samples, or all on corrupted ones."""
    comparisons = _comparisons(rows, baselines)
    if not comparisons:
        return []
    density = {row.level: row.density for row in rows if row.method == "ticket"}
    all_means, errors = means(np.stack([comparison.differences for comparison in comparisons]) * _scale(rows))
    return [
        _gain(comparison, corruption, density, float(mean), float(error))
        for comparison, mean, error in zip(comparisons, all_means, errors, strict=True)
    ]


def _gain(comparison: _Comparison, corruption: str, density: Mapping[int, float], mean: float, error: float) -> Gain:
    """The gain of a comparison, with its mean and the standard error of that in its unit."""
    seeds, n = comparison.differences.shape
    half = student(freedom(seeds)) * error
    return Gain(
        method=comparison.method,
        against=comparison.against,
        level=comparison.level,
        density=None if comparison.level is None else density[comparison.level],
        corruption=corruption,
        gain=round(mean, 4),
        low=round(mean - half, 4),
        high=round(mean + half, 4),
        seeds=seeds,
        n=n,
        error=round(error, 6),
        cells=comparison.cells.size,
        losses=int((comparison.cells.round(7) < 0).sum()),  # less than any sample is worth, more than rounding
    )


def _comparisons(rows: Sequence[AnyRow], baselines: Sequence[str]) -> list[_Comparison]:
    """Every method against every baseline, at each level that all seeds have of both, then over all these levels."""
    seeds = sorted({row.seed for row in rows})
    levels = sorted({row.level for row in rows if row.method == "ticket"})
    hits = _mean_values(rows)
    comparisons = []
    for method in dict.fromkeys(row.method for row in rows):
        for against in baselines[: baselines.index(method)] if method in baselines else baselines:
            by_level = {
                level: np.stack([hits[method, level, seed] - hits[against, level, seed] for seed in seeds])
                for level in levels
                if all((name, level, seed) in hits for name in (method, against) for seed in seeds)
            }
            by_cell = {level: values.mean(1, dtype=np.float64) for level, values in by_level.items()}
            comparisons += [
                _Comparison(method, against, level, values, by_cell[level]) for level, values in by_level.items()
            ]
            if by_level:
                over_levels = np.mean(list(by_level.values()), axis=0)
                cells = np.concatenate(list(by_cell.values()))
                comparisons.append(_Comparison(method, against, None, over_levels, cells))
    return comparisons


def _mean_values(rows: Sequence[AnyRow]) -> dict[tuple[str, int, int], NDArray[np.float32]]:
    """Share of the conditions under which each sample was predicted correctly, (n,), by (method, level, seed); of
    another metric, its mean over the conditions.

    A network that was not measured under all conditions that any network was measured under is left out.
    """
    conditions = {(row.corruption, row.severity) for row in rows}
    sums: dict[tuple[str, int, int], NDArray[np.float32]] = {}
    counts: dict[tuple[str, int, int], int] = {}
    for row in rows:
        key = (row.method, row.level, row.seed)
        sums[key] = sums.get(key, np.float32(0)) + values_of(row).astype(np.float32)
        counts[key] = counts.get(key, 0) + 1
    return {key: total / np.float32(len(conditions)) for key, total in sums.items() if counts[key] == len(conditions)}

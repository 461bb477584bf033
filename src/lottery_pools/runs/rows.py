"""The values that measuring produces and reports are made of, and functions that select among them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.bool_] | NDArray[np.float32]
"""What each sample adds to a measure, (n,): whether it was predicted correctly, or a number."""

BASELINES = ("ticket", "recalibrated", "admissible")
"""What pooled networks are compared with, as `Row.method` calls it: the ticket, the same ticket with its BatchNorm
statistics re-estimated, and the best admissible ticket (the best on validation among those at least as sparse)."""
CONTROLS = ("other-seed", "other-run")
"""Pools made with the tickets of another run: that of the experiment's next seed, or one that the user named."""
TUNED = ("tuned-ticket", "tuned-pool")
"""Controls: the ticket, and its trimmed soup, fine-tuned on the held-out samples."""
ENSEMBLE = "ensemble"
"""The naive ensemble: the averaged predictions of all tickets."""

Bins = tuple[tuple[int, int, float], ...]
"""Samples by the confidence of their prediction, in 15 bins of equal width: for each bin the number of samples, how
many of them were predicted correctly, and their mean confidence; (0, 0, 0) for an empty bin."""


@dataclass(frozen=True)
class Row:
    """The measurement of one network on one set of samples: one line of `results.jsonl`."""

    run: str
    """Name of the experiment."""
    seed: int
    """Seed of the run."""
    method: str
    """One of `BASELINES`, a trained baseline, a method of pooling, or both, as `pooled_by` joins them."""
    level: int
    """Level of the ticket: the rounds of pruning before it, 0 for the dense network."""
    density: float
    """Surviving / prunable weights, 0 to 1."""
    split: str
    """`validation` or `test`."""
    corruption: str
    """`none`, or the name of the corruption or shift."""
    severity: int
    """1 to 5, or 0 for samples without corruption."""
    n: int
    """Number of samples."""
    correct: int
    """Samples predicted correctly."""
    loss: float
    """Mean negative log-likelihood, in nats."""
    accuracy: float
    """`correct` / `n`, 0 to 1."""
    ece: float
    """Expected calibration error over 15 bins of equal width, 0 to 1."""
    source: int
    """Level of the network that was measured: `level`, but for `admissible` that of the ticket which replaces it."""
    train_images: int
    """Images forwarded and back-propagated to train this network, the levels before it included."""
    search_images: int
    """Images forwarded in the search for this network, re-estimation of BatchNorm statistics included."""
    flops: int
    """Multiply-adds to predict one sample, pruned weights left out; of an ensemble, those of all its networks."""
    hits: str
    """Which samples were predicted correctly, in the order of the samples (`pack_hits`). With it, two networks are
    compared sample by sample."""
    bins: Bins = ()
    """Calibration on the test samples without corruption; empty in all other rows, and in those of old versions."""
    part: str = "all"
    """Which test samples: `all`, or the half `look` or `final` (the setting `data.test_part`)."""
    nonzero: float | None = None
    """Prunable weights that are not zero / prunable weights: less than `density` where the mask of a pooled network
    keeps weights that all its tickets have at zero. None in rows of old versions, and for ensembles."""
    tensors: str = ""
    """First sixteen hexadecimal digits of the SHA-256 of the tensors of the file that was measured, as the file carries
    it; empty in rows of old versions, and for ensembles."""
    data: str = ""
    """What identifies the data (`Dataset.digest`); empty in rows of old versions."""

    @property
    def key(self) -> tuple[str, int, str, str, int]:
        """What was measured: method, level, split, corruption, severity. No two rows of a run have the same key."""
        return self.method, self.level, self.split, self.corruption, self.severity


@dataclass(frozen=True)
class MetricRow:
    """The measurement of one network by another metric than accuracy; fields that are not described are as in `Row`."""

    run: str
    seed: int
    method: str
    level: int
    density: float
    split: str
    corruption: str
    severity: int
    n: int
    metric: str
    """`r2`, or the user's `package.module:function`."""
    value: float
    """The metric: the mean over the samples, higher is better."""
    loss: float
    """What the network was trained to make small, on these samples, without label smoothing: squared error, nats."""
    source: int
    train_images: int
    search_images: int
    flops: int
    values: str
    """What each sample adds to the metric, in the order of the samples (`pack_values`)."""
    part: str = "all"
    tensors: str = ""
    data: str = ""

    @property
    def key(self) -> tuple[str, int, str, str, int]:
        """As that of `Row`."""
        return self.method, self.level, self.split, self.corruption, self.severity


AnyRow = TypeVar("AnyRow", bound=Row | MetricRow)


@dataclass(frozen=True)
class Gain:
    """The difference in accuracy between a method and a baseline on the same samples, with its 95 % interval.

    Where networks are measured by another metric, it is the difference in that metric, in its unit.
    """

    method: str
    against: str
    """The baseline: a value of `Row.method`."""
    level: int | None
    """None: the mean over all levels that were measured for both."""
    density: float | None
    """Surviving / prunable weights of that level; none for the mean over levels."""
    corruption: str
    """`none`, or `all`: the mean over all corruptions and severities."""
    gain: float
    """Percentage points: the mean over seeds, levels and samples."""
    low: float
    """Lower end of the interval, percentage points."""
    high: float
    """Upper end of the interval, percentage points."""
    seeds: int
    """Number of seeds: of several, the interval is Student's over seeds; of one, it is over its samples alone."""
    n: int
    """Samples for each seed."""
    error: float | None = None
    """Standard error of the gain, percentage points: over seeds, or over the samples of a single seed."""
    cells: int = 0
    """Cells that the mean is over: one cell is one level of one seed."""
    losses: int = 0
    """How many of these cells are below zero."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a method at one level, or another metric, with the 95 % interval of its mean over seeds."""

    method: str
    level: int
    density: float
    """Surviving / prunable weights of the level, even where a sparser ticket replaces its own (`admissible`)."""
    corruption: str
    """`none`, or `all`: the mean over all corruptions and severities."""
    mean: float
    """Percent, of another metric its unit: the mean over seeds."""
    low: float
    """Lower end of the interval, percent; the mean itself if there is only one seed."""
    high: float
    """Upper end of the interval, percent; the mean itself if there is only one seed."""
    seeds: int
    """Number of seeds."""


@dataclass(frozen=True)
class PoolRow:
    """How one pooled network was made."""

    seed: int
    """Seed of the run."""
    method: str
    """Method of pooling."""
    level: int
    """Level of the ticket that was strengthened."""
    density: float
    """Surviving / prunable weights, 0 to 1."""
    steps: tuple[tuple[int, float], ...]
    """The recipe: level of the candidate and coefficient α of each accepted step, in order."""
    search_images: int
    """Images forwarded in the search."""
    scored_by: str = "accuracy"
    """The score that the search compared networks by: accuracy, or log-likelihood in nats."""


def pooled_by(baseline: str, method: str) -> str:
    """What rows call the pools that a method makes of a trained baseline's tickets.

    >>> pooled_by("learning-rate-rewinding", "interpolation")
    'learning-rate-rewinding+interpolation'
    """
    return f"{baseline}+{method}"


def clean(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Return the rows measured on the test samples without corruption."""
    return [row for row in rows if row.split == "test" and row.corruption == "none"]


def corrupted(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Return the rows measured on corrupted or shifted test samples."""
    return [row for row in rows if row.split == "test" and row.corruption != "none"]


def complete(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Drop all rows of a method at a level if any seed, corruption or severity among `rows` is missing for them.

    The mean of an incomplete set would be over other samples or seeds than the means that it is compared with.
    """
    conditions = {_seed_and_condition(row) for row in rows}
    measured: dict[tuple[str, int], set[tuple[int, str, int]]] = {}
    for row in rows:
        measured.setdefault((row.method, row.level), set()).add(_seed_and_condition(row))
    return [row for row in rows if len(measured[row.method, row.level]) == len(conditions)]


def common_rows(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Return the rows at the levels, seeds, corruptions and severities that were measured for every method.

    Of the levels that remain, each has every seed, corruption and severity that remains: means over any of them are
    over the same samples for all methods.
    """
    measured: dict[str, set[tuple[int, tuple[int, str, int]]]] = {}
    for row in rows:
        measured.setdefault(row.method, set()).add((row.level, _seed_and_condition(row)))
    common = set.intersection(*measured.values()) if measured else set()
    conditions = {condition for _, condition in common}
    levels = {level for level, _ in common}
    levels = {level for level in levels if all((level, condition) in common for condition in conditions)}
    return [row for row in rows if row.level in levels and _seed_and_condition(row) in conditions]


def _seed_and_condition(row: Row | MetricRow) -> tuple[int, str, int]:
    """The seed, corruption and severity of a row."""
    return row.seed, row.corruption, row.severity


def pack_hits(correct: NDArray[np.bool_]) -> str:
    """Pack which samples were predicted correctly, (n,) bool, into text: one bit for each, in base64."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack_hits(row: Row) -> NDArray[np.bool_]:
    """Return which samples the network of `row` predicted correctly, (n,) bool."""
    return unpack(row.hits, row.n)


def pack_values(values: NDArray[np.float32]) -> str:
    """Pack a number of each sample, (n,) float32, into text: four bytes each, the lowest first, in base64."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def unpack_values(values: str) -> NDArray[np.float32]:
    """Reverse `pack_values`: (n,) float32. Raises ValueError where the text holds no such numbers."""
    return np.frombuffer(base64.b64decode(values, validate=True), "<f4").astype(np.float32)


def values_of(row: Row | MetricRow) -> Values:
    """Return what each sample adds to the measure of a row, (n,)."""
    return unpack_hits(row) if isinstance(row, Row) else unpack_values(row.values)


def merit(row: Row | MetricRow) -> float:
    """Return what networks are compared by: the accuracy, or the metric."""
    return row.accuracy if isinstance(row, Row) else row.value


def unpack(hits: str, n: int) -> NDArray[np.bool_]:
    """Reverse `pack_hits` for `n` samples: (n,) bool."""
    return np.unpackbits(np.frombuffer(base64.b64decode(hits), np.uint8))[:n].astype(bool)

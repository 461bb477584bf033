"""Whether a row that comes from a file can be true: its values are of their types and agree with each other."""

from __future__ import annotations

import base64
import math
from dataclasses import fields

from lottery_pools.errors import shown
from lottery_pools.runs.rows import Bins, MetricRow, PoolRow, Row, unpack_values

_DECLARED: dict[str, object] = {field.name: field.type for row in (Row, PoolRow, MetricRow) for field in fields(row)}
"""The type of every field, as it is written in the class."""


def check(row: Row | PoolRow | MetricRow) -> None:
    """Raise ValueError, saying why, if a row has values of wrong types, or values that contradict each other."""
    _check_types(row)
    if not 0 <= row.density <= 1:
        raise ValueError(f"its density is {row.density:g}, not between 0 and 1")
    if isinstance(row, Row):
        _check_measures(row)
        _check_bins(row.bins)
    elif isinstance(row, MetricRow):
        _check_values(row)
    else:
        _check_steps(row.steps)


def _check_measures(row: Row) -> None:
    if not 0 <= row.ece <= 1:
        raise ValueError(f"its ece is {row.ece:g}, not between 0 and 1")
    if row.correct > row.n or abs(row.accuracy - row.correct / max(row.n, 1)) > 1e-9:
        raise ValueError(f"it says {row.correct} correct of {row.n} and an accuracy of {row.accuracy:g}")
    if row.nonzero is not None and not 0 <= row.nonzero <= 1:
        raise ValueError(f"its nonzero is {row.nonzero:g}, not between 0 and 1")
    packed = base64.b64decode(row.hits, validate=True)
    hits = int.from_bytes(packed)
    filling = 8 * len(packed) - row.n
    if not 0 <= filling < 8 or hits & (1 << filling) - 1 or hits.bit_count() != row.correct:
        raise ValueError(f"its hits are not {row.correct} of {row.n} samples")


def _check_values(row: MetricRow) -> None:
    values = unpack_values(row.values)
    if len(values) != row.n:
        raise ValueError(f"it has values of {len(values)} samples, not of {row.n}")
    mean = float(values.mean(dtype=float)) if row.n else 0.0
    if not math.isclose(mean, row.value, rel_tol=1e-6, abs_tol=1e-9):
        raise ValueError(f"it says that its metric is {row.value:g}, the mean of its values is {mean:g}")


def _check_bins(bins: Bins) -> None:
    for n, correct, confidence in bins:
        if type(n) is not int or type(correct) is not int or not 0 <= correct <= n:
            raise ValueError(f"a bin has {shown(correct)} correct of {shown(n)} samples")
        if not _is_number(confidence) or not 0 <= confidence <= 1:
            raise ValueError(f"a bin has the confidence {shown(confidence)}")


def _check_steps(steps: tuple[tuple[int, float], ...]) -> None:
    for level, coefficient in steps:
        if type(level) is not int or not _is_number(coefficient):
            raise ValueError(f"a step has level {shown(level)} and coefficient {shown(coefficient)}")


def _check_types(row: Row | PoolRow | MetricRow) -> None:
    """Raise ValueError unless counts are whole numbers, 0 or more, and the other values are what they are declared."""
    for name, value in vars(row).items():
        declared = _DECLARED[name]
        if declared == "int" and (type(value) is not int or value < 0):
            raise ValueError(f"its {name} is {shown(value)}, no whole number from 0")
        if declared == "str" and type(value) is not str:
            raise ValueError(f"its {name} is {shown(value)}, no text")
        if declared == "float" and not _is_number(value):
            raise ValueError(f"its {name} is {shown(value)}, no finite number")
        if declared == "float | None" and value is not None and not _is_number(value):
            raise ValueError(f"its {name} is {shown(value)}, neither a finite number nor null")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

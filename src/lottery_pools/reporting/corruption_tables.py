"""Tables of what was measured under corruption, and the mean corruption error."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from lottery_pools.errors import UserError
from lottery_pools.reporting.grouping import by_method_and_level, in_order, level_densities, what_all_have
from lottery_pools.reporting.names import kind, label
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.tables import methods_by_levels
from lottery_pools.reporting.words import DASH, MINUS, fixed
from lottery_pools.runs.rows import Row, common_rows, complete, corrupted

_Key = TypeVar("_Key", bound=Hashable)


def differences(rows: Iterable[Row], key: Callable[[Row], _Key]) -> dict[tuple[str, _Key], float]:
    """Each method's accuracy less the recalibrated ticket's, percentage points, by method and `key(row)`.

    The mean over the seeds, levels, corruptions and severities at which both were measured.
    """
    rows = list(rows)
    recalibrated = {_place(row): row.accuracy for row in rows if row.method == "recalibrated"}
    groups: dict[tuple[str, _Key], list[float]] = {}
    for row in rows:
        if row.method != "recalibrated" and _place(row) in recalibrated:
            difference = 100 * (row.accuracy - recalibrated[_place(row)])
            groups.setdefault((row.method, key(row)), []).append(difference)
    return {name: fmean(group) for name, group in groups.items()}


def by_corruption(rows: Sequence[Row]) -> Table:
    """One line a corruption: the recalibrated ticket's accuracy, and every method's difference from it."""
    title = "By corruption: recalibrated ticket (%), and differences from it (percentage points)"
    return _compared(title, "Corruption", corrupted(rows), lambda row: kind(row.corruption))


def by_severity(rows: Sequence[Row]) -> Table:
    """One line a severity: the recalibrated ticket's accuracy, and every method's difference from it."""
    title = "By severity: recalibrated ticket (%), and differences from it (percentage points)"
    ordered = sorted(corrupted(rows), key=lambda row: row.severity)
    return _compared(title, "Severity", ordered, lambda row: str(row.severity))


def mce(rows: Sequence[Row], reference_rows: Sequence[Row], method: str, level: int) -> float:
    """The mean corruption error (mCE) of a method at a level, percent.

    For each corruption the method's errors, summed over severities, are divided by those of a reference network; the
    ratios are averaged over corruptions. Errors are means over seeds. `reference_rows` are the rows of one reference
    network on the same corruptions and severities. Raises UserError where they lack one of them, where the reference
    makes no error, or where nothing was measured.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.2.
    """
    errors = _errors(row for row in corrupted(rows) if row.method == method and row.level == level)
    reference = _errors(corrupted(reference_rows))
    if not errors:
        raise UserError(f"{method} at level {level} was not measured under corruption: name another, or evaluate it")
    if missing := sorted(errors.keys() - reference.keys()):
        corruption, severity = missing[0]
        raise UserError(f"the reference network has no row for {corruption} at severity {severity}: evaluate it there")
    names = dict.fromkeys(corruption for corruption, _ in errors)
    return 100 * fmean(_ratio(corruption, errors, reference) for corruption in names)


def mce_by_level(rows: Sequence[Row], reference_rows: Sequence[Row], reference: str) -> Table:
    """One line a method, one column a level: the mean corruption error against the network named `reference`."""
    shifted = corrupted(rows)
    cells = {at: fixed(mce(shifted, reference_rows, *at)) for at in by_method_and_level(complete(shifted))}
    return methods_by_levels(f"mCE by level (%, reference: {reference})", cells, level_densities(shifted))


def _errors(rows: Iterable[Row]) -> dict[tuple[str, int], float]:
    """The share of wrong predictions by corruption and severity, the mean over seeds."""
    groups: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        groups.setdefault((row.corruption, row.severity), []).append(1 - row.accuracy)
    return {at: fmean(group) for at, group in groups.items()}


def _ratio(
    corruption: str, errors: Mapping[tuple[str, int], float], reference: Mapping[tuple[str, int], float]
) -> float:
    """The errors under one corruption, summed over severities, as a share of the reference's."""
    severities = [severity for name, severity in errors if name == corruption]
    total = sum(reference[corruption, severity] for severity in severities)
    if total == 0:
        raise UserError(f"the reference network makes no error under {corruption}: name a weaker reference")
    return sum(errors[corruption, severity] for severity in severities) / total


def _place(row: Row) -> tuple[int, int, str, int]:
    """Where methods are compared: the same seed and level, the same samples."""
    return row.seed, row.level, row.corruption, row.severity


def _compared(title: str, heading: str, rows: Sequence[Row], key: Callable[[Row], str]) -> Table:
    """One line a key, in order of first appearance, one column a method: its `differences` from the recalibrated
    ticket, over what all methods were measured on."""
    common = common_rows(rows)
    difference = differences(common, key)
    methods = in_order(method for method, _ in difference)
    accuracies: dict[str, list[float]] = {}
    for row in common:
        if row.method == "recalibrated":
            accuracies.setdefault(key(row), []).append(100 * row.accuracy)
    lines = tuple(
        (
            name,
            fixed(fmean(values)),
            *(
                f"{difference[method, name]:+z.2f}".replace("-", MINUS) if (method, name) in difference else DASH
                for method in methods
            ),
        )
        for name, values in accuracies.items()
    )
    title = f"{title}; means over {what_all_have(rows)}"
    return Table(title, (heading, label("recalibrated"), *map(label, methods)), lines)

"""The tables of a report: accuracy and gains by level, costs, calibration, recipes, settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from lottery_pools.config.schema import Config
from lottery_pools.config.toml import relevant
from lottery_pools.pooling.methods import OURS
from lottery_pools.reporting import claims
from lottery_pools.reporting.grouping import by_method_and_level, in_order, level_densities, shared, what_all_have
from lottery_pools.reporting.names import HELD_OUT, featured, label, percent, place, with_first
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.verdict import undertrained
from lottery_pools.reporting.words import DASH, JOINED, big, fixed, interval
from lottery_pools.runs.rows import (
    BASELINES,
    AnyRow,
    Gain,
    MetricRow,
    PoolRow,
    Row,
    clean,
    complete,
    corrupted,
)

LOSING, NONZERO = "Cells that lose", "Density of non-zeros"
"""Headings of the summary: cells of one level and one seed; prunable weights that are not zero."""
PURPOSE = (
    "Pooling is for tickets that are there, where training is not wanted: it only chooses by the held-out samples. The "
    "controls show what the same samples give where they train, either from the beginning, in as many steps, or in a "
    "short fine-tuning of the finished network."
)
"""What a table with the controls of `HELD_OUT` says of them."""


def by_level(rows: Sequence[Row], gains: Sequence[Gain]) -> Table:
    """One line a level: the test accuracy of the baselines and of the two featured methods, and the gains of these.

    Accuracy is in percent, the mean over seeds; gains over the recalibrated ticket are in percentage points with their
    95 % interval. The controls that train on the held-out samples stand beside them. The notes say what pooling is for
    where these were measured, and where the tickets look under-trained. A narrow terminal shows the default's gain
    first.
    """
    measured = clean(rows)
    accuracy = _accuracies(measured)
    gain = claims.cells_by_level(gains, "recalibrated", "none")
    baselines = [method for method in in_order(row.method for row in measured) if method in BASELINES]
    methods = featured((row.method for row in measured), 2)
    controls = [method for method in HELD_OUT if any(row.method == method for row in measured)]
    columns = ["Level", "Density", *map(label, baselines)]
    columns += [heading for method in methods for heading in (label(method), f"{label(method)}: gain")]
    columns += map(label, controls)
    lines = []
    for level, density in sorted(level_densities(measured).items()):
        line = [str(level), percent(density), *(accuracy.get((method, level), DASH) for method in baselines)]
        for method in methods:
            line += [accuracy.get((method, level), DASH), gain.get((method, level), DASH)]
        line += [accuracy.get((method, level), DASH) for method in controls]
        lines.append(tuple(line))
    title = "Test accuracy by level (%), and gain over the recalibrated ticket"
    note = " ".join(filter(None, (PURPOSE if controls else "", _note(gain), undertrained(rows))))
    groups = _important(baselines, methods)
    beside = tuple(range(len(columns) - len(controls), len(columns)))
    return Table(title, tuple(columns), tuple(lines), note, (*groups, beside) if controls else groups)


def _note(cells: Mapping[tuple[str, int], str]) -> str:
    """What the sign in some of the cells means; empty where none has it."""
    return claims.NOTE if any(cell.endswith(claims.SIGN) for cell in cells.values()) else ""


def _important(baselines: Sequence[str], methods: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The columns of `by_level` in groups, the most important first: our default's gain, the baselines, the rest."""
    places = {method: 2 + number for number, method in enumerate(baselines)}
    pairs = {method: (2 + len(baselines) + 2 * n, 3 + len(baselines) + 2 * n) for n, method in enumerate(methods)}
    first = next(iter(with_first(OURS, pairs)), None)
    start = (0, 1, *(places[m] for m in baselines if m == "recalibrated"), *(pairs[first] if first else ()))
    rest = tuple(places[method] for method in baselines if method != "recalibrated")
    return (start, *((rest,) if rest else ()), *(pair for method, pair in pairs.items() if method != first))


def summary(rows: Sequence[Row], gains: Sequence[Gain]) -> Table:
    """One line a method: what it gains over the recalibrated and over the best admissible ticket, and what it costs.

    `gains` are over the levels of the other columns, as `metrics.comparable` gives them.
    """
    overall_gain = {(g.method, g.against, g.corruption): interval(g) for g in gains if g.level is None}
    kinds = {"Over recalibrated": ("recalibrated", "none"), "Over best admissible": ("admissible", "none")}
    if corrupted(rows):
        kinds["Over recalibrated, corrupted"] = ("recalibrated", "all")
    losses = {
        g.method: claims.losing_cells(g)
        for g in gains
        if (g.level, g.against, g.corruption) == (None, "recalibrated", "none") and g.cells
    }
    cost = costs(rows)
    methods = in_order(row.method for row in clean(rows))
    lines = tuple(
        (
            label(method),
            *(overall_gain.get((method, *kind), DASH) for kind in kinds.values()),
            *([losses.get(method, DASH)] if losses else []),
            *spent[1:],
        )
        for method, spent in zip(methods, cost.rows, strict=True)
    )
    columns = ("Method", *kinds, *([LOSING] if losses else []), *cost.columns[1:])
    title = (
        f"Gain in percentage points [95 % interval], and cost of one network (means over {what_all_have(clean(rows))})"
    )
    first = ("Method", "Over recalibrated", "Over best admissible")
    then = (
        *("Search images", LOSING, "Training images", "Multiply-adds", "Search / training"),
        *("Over recalibrated, corrupted", "Density", NONZERO),
    )
    groups = (tuple(map(columns.index, first)), *((columns.index(name),) for name in then if name in columns))
    return Table(title, columns, lines, groups=groups)


def costs(rows: Sequence[AnyRow]) -> Table:
    """One line a method: images seen to get one network, multiply-adds to use it on one sample, and its densities.

    The mean over the levels that every method has.
    """
    lines = []
    counted = any(isinstance(row, Row) and row.nonzero is not None for row in rows)
    for method, group in shared(clean(rows)).items():
        training, search = sum(row.train_images for row in group), sum(row.search_images for row in group)
        lines.append(
            (
                label(method),
                big(fmean(row.train_images for row in group)) if group else DASH,
                big(fmean(row.search_images for row in group)) if group else DASH,
                percent(search / training) if training else DASH,
                big(fmean(row.flops for row in group)) if group else DASH,
                *(_densities(group) if counted else ()),
            )
        )
    columns = ["Method", "Training images", "Search images", "Search / training", "Multiply-adds"]
    columns += ["Density", NONZERO] if counted else []
    return Table(f"Cost of one network (mean over {what_all_have(clean(rows))})", tuple(columns), tuple(lines))


def _densities(rows: Sequence[Row | MetricRow]) -> tuple[str, str]:
    """Mean density by the masks, and mean density of the weights that are not zero, where it is known of all rows."""
    nonzero = [row.nonzero for row in rows if isinstance(row, Row) and row.nonzero is not None]
    by_mask = percent(fmean(row.density for row in rows)) if rows else DASH
    return by_mask, percent(fmean(nonzero)) if rows and len(nonzero) == len(rows) else DASH


def calibration(rows: Sequence[Row]) -> Table:
    """One line a method: accuracy, loss and calibration error, the mean over the levels that every method has."""
    shifted = shared(corrupted(rows))
    lines = []
    for method, group in shared(clean(rows)).items():
        line = [label(method), _mean(group, _accuracy), _mean(group, lambda row: row.loss, 4), _mean(group, _error)]
        if shifted:
            line += [_mean(shifted.get(method, []), _accuracy), _mean(shifted.get(method, []), _error)]
        lines.append(tuple(line))
    columns = ["Method", "Accuracy (%)", "NLL (nats)", "Calibration error (%)"]
    if shifted:
        columns += ["Accuracy, corrupted (%)", "Calibration error, corrupted (%)"]
    title = f"Likelihood and calibration on test (mean over {what_all_have(clean(rows))})"
    return Table(title, tuple(columns), tuple(lines))


def overall(gains: Sequence[Gain]) -> Table:
    """One line a comparison: the gain over all levels that both have, in percentage points, and how many those are."""
    levels = Counter((g.method, g.against, g.corruption) for g in gains if g.level is not None)
    samples = {"none": "Clean", "all": "All corruptions"}
    lines = tuple(
        (
            label(g.method),
            label(g.against),
            samples.get(g.corruption, g.corruption),
            interval(g),
            str(levels[g.method, g.against, g.corruption]),
            str(g.seeds),
            f"{g.n:,}",
        )
        for g in sorted(gains, key=lambda g: (g.corruption != "none", place(g.method)))
        if g.level is None
    )
    columns = ("Method", "Against", "Samples", "Gain [95 % interval]", "Levels", "Seeds", "Samples a seed")
    return Table("Gain over all levels (percentage points)", columns, lines)


def accuracy_by_level(title: str, rows: Sequence[Row]) -> Table:
    """One line a method, one column a level: the mean accuracy of `rows` in percent, where they are `complete`."""
    return methods_by_levels(title, _accuracies(rows), level_densities(rows))


def gains_by_level(title: str, gains: Sequence[Gain], corruption: str) -> Table:
    """One line a method, one column a level: the gain over the recalibrated ticket with its 95 % interval."""
    cells = claims.cells_by_level(gains, "recalibrated", corruption)
    shown = {level for _, level in cells}
    density = {gain.level: gain.density or 0.0 for gain in gains if gain.level is not None and gain.level in shown}
    return replace(methods_by_levels(title, cells, density), note=_note(cells))


def recipes(pools: Sequence[PoolRow]) -> Table:
    """One line a pooled network: the tickets mixed in, in order, each with its coefficient in parentheses."""
    lines = tuple(
        (
            label(pool.method),
            str(pool.seed),
            str(pool.level),
            percent(pool.density),
            ", ".join(f"{level} ({coefficient:.2f})" for level, coefficient in pool.steps) or "none taken",
            big(pool.search_images),
        )
        for pool in sorted(pools, key=lambda pool: (pool.seed, place(pool.method), pool.level))
    )
    columns = ("Method", "Seed", "Target", "Density", "Steps: level (coefficient)", "Search images")
    return Table("Recipes", columns, lines)


def settings(config: Config) -> Table:
    """One line a setting that plays a part, by its dotted name."""

    def flat(values: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
        lines: list[tuple[str, str]] = []
        for key, value in values.items():
            if isinstance(value, Mapping):
                lines += flat(value, f"{path}{key}.")
            else:
                text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                lines.append((f"{path}{key}", text or DASH))
        return lines

    return Table("Settings", ("Setting", "Value"), tuple(flat(relevant(config), "")))


def methods_by_levels(title: str, cells: Mapping[tuple[str, int], str], density: Mapping[int, float]) -> Table:
    """One line a method, one column a level, from the cells by method and level."""
    levels = sorted(density)
    names = (f"Level{JOINED}{level}: {percent(density[level]).replace(' ', JOINED)}" for level in levels)
    lines = tuple(
        (label(method), *(cells.get((method, level), DASH) for level in levels))
        for method in in_order(method for method, _ in cells)
    )
    return Table(title, ("Method", *names), lines)


def _accuracies(rows: Sequence[Row]) -> dict[tuple[str, int], str]:
    """The mean accuracy in percent by method and level, where rows are `complete`."""
    groups = by_method_and_level(complete(rows))
    return {at: fixed(100 * fmean(row.accuracy for row in group)) for at, group in groups.items()}


def _accuracy(row: Row) -> float:
    return 100 * row.accuracy


def _error(row: Row) -> float:
    return 100 * row.ece


def _mean(rows: Sequence[Row], read: Callable[[Row], float], digits: int = 2) -> str:
    return fixed(fmean(map(read, rows)), digits) if rows else DASH

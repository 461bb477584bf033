"""Result rows as small tables of text, and tables as Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

from lottery_pools.config.schema import Config
from lottery_pools.config.toml import relevant
from lottery_pools.errors import UserError
from lottery_pools.reporting.names import featured, kind, label, percent, place
from lottery_pools.runs.rows import BASELINES, Gain, PoolRow, Row, clean, common_rows, complete, corrupted

DASH = "–"
"""Stands where nothing was measured."""

_JOINED = "\u00a0"
"""A space at which no line breaks."""

_Key = TypeVar("_Key", bound=Hashable)

_NUMBER = re.compile(r"[+-]?[\d,]+(\.\d+)?( ?%)?( \[.*\])?")


@dataclass(frozen=True)
class Table:
    """Text in columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers only: those are set flush right."""
        cells = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return tuple(bool(column) and all(c == DASH or _NUMBER.fullmatch(c) for c in column) for column in cells)


def differences(rows: Iterable[Row], key: Callable[[Row], _Key]) -> dict[tuple[str, _Key], float]:
    """Each method's accuracy less the recalibrated ticket's, percentage points, by method and `key(row)`.

    The mean over seeds, levels, corruptions and severities where both were measured.
    """
    rows = list(rows)
    recalibrated = {_place(row): row.accuracy for row in rows if row.method == "recalibrated"}
    groups: dict[tuple[str, _Key], list[float]] = {}
    for row in rows:
        if row.method != "recalibrated" and _place(row) in recalibrated:
            difference = 100 * (row.accuracy - recalibrated[_place(row)])
            groups.setdefault((row.method, key(row)), []).append(difference)
    return {name: fmean(group) for name, group in groups.items()}


def interval(gain: Gain) -> str:
    """Percentage points, `gain [low, high]`."""
    return f"{gain.gain:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def by_level(rows: Sequence[Row], gains: Sequence[Gain]) -> Table:
    """One line a level: test accuracy in percent, the mean over seeds, and the gain over the recalibrated ticket of
    the two featured methods, in percentage points with its 95 % interval."""
    measured = _grouped(complete(clean(rows)))
    methods = [m for m in _ordered(row.method for row in clean(rows)) if m in BASELINES]
    methods += featured((row.method for row in clean(rows)), 2)
    found = {(g.method, g.level): g for g in gains if g.against == "recalibrated" and g.corruption == "none"}
    columns = ["Level", "Density"]
    for method in methods:
        columns += [label(method)] if method in BASELINES else [label(method), f"{label(method)}: gain"]
    lines = []
    for level, density in sorted({row.level: row.density for row in clean(rows) if row.method != "admissible"}.items()):
        line = [str(level), percent(density)]
        for method in methods:
            here = measured.get((method, level))
            line.append(f"{100 * fmean(row.accuracy for row in here):.2f}" if here else DASH)
            if method not in BASELINES:
                gain = found.get((method, level))
                line.append(interval(gain) if gain else DASH)
        lines.append(tuple(line))
    return Table("Test accuracy by level (%), and gain over the recalibrated ticket", tuple(columns), tuple(lines))


def overall(gains: Sequence[Gain]) -> Table:
    """One line a comparison: the gain over all levels that both have, how many those are, percentage points."""
    levels = Counter((g.method, g.against, g.corruption) for g in gains if g.level is not None)
    names = {"none": "Clean", "all": "All corruptions"}
    lines = tuple(
        (
            label(g.method),
            label(g.against),
            names.get(g.corruption, g.corruption),
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
    means = {at: fmean(row.accuracy for row in here) for at, here in _grouped(complete(rows)).items()}
    cells = {at: f"{100 * mean:.2f}" for at, mean in means.items()}
    return _grid(title, cells, {row.level: row.density for row in rows if row.method != "admissible"})


def gains_by_level(title: str, gains: Sequence[Gain], corruption: str) -> Table:
    """One line a method, one column a level: the gain over the recalibrated ticket with its 95 % interval."""
    cells, density = {}, {}
    for gain in gains:
        if gain.against == "recalibrated" and gain.corruption == corruption and gain.level is not None:
            cells[gain.method, gain.level] = interval(gain)
            density[gain.level] = gain.density or 0.0
    return _grid(title, cells, density)


def summary(rows: Sequence[Row], gains: Sequence[Gain]) -> Table:
    """One line a method: what it gains over the recalibrated ticket, how well it predicts, and what it costs.

    `gains` are over the levels of the other columns, as `metrics.comparable` gives them.
    """
    quality, cost = calibration(rows), costs(rows)
    found = {(g.method, g.corruption): interval(g) for g in gains if g.level is None and g.against == "recalibrated"}
    kinds = {"none": "Gain [95 % interval]", "all": "Gain, corrupted [95 % interval]"}
    if not corrupted(rows):
        del kinds["all"]
    lines = tuple(
        (label(method), *(found.get((method, samples), DASH) for samples in kinds), *good[1:], *spent[1:])
        for method, good, spent in zip(
            _ordered(row.method for row in clean(rows)), quality.rows, cost.rows, strict=True
        )
    )
    columns = ("Method", *kinds.values(), *quality.columns[1:], *cost.columns[1:])
    levels = _told(clean(rows))
    return Table(f"Methods: gain over the recalibrated ticket, quality, cost (means over {levels})", columns, lines)


def calibration(rows: Sequence[Row]) -> Table:
    """One line a method: accuracy, loss and calibration error, the mean over the levels that every method has."""
    shifted = _shared(corrupted(rows))
    lines = []
    for method, here in _shared(clean(rows)).items():
        line = [label(method), _mean(here, lambda row: 100 * row.accuracy, ".2f")]
        line += [_mean(here, lambda row: row.loss, ".4f"), _mean(here, lambda row: 100 * row.ece, ".2f")]
        if shifted:
            there = shifted.get(method, [])
            line += [
                _mean(there, lambda row: 100 * row.accuracy, ".2f"),
                _mean(there, lambda row: 100 * row.ece, ".2f"),
            ]
        lines.append(tuple(line))
    columns = ["Method", "Accuracy (%)", "NLL (nats)", "Calibration error (%)"]
    if shifted:
        columns += ["Accuracy, corrupted (%)", "Calibration error, corrupted (%)"]
    return Table(f"Likelihood and calibration on test (mean over {_told(clean(rows))})", tuple(columns), tuple(lines))


def costs(rows: Sequence[Row]) -> Table:
    """One line a method: images seen to get one network, and multiply-adds to use it, the mean over the levels that
    every method has."""
    lines = []
    for method, here in _shared(clean(rows)).items():
        training, search = sum(row.train_images for row in here), sum(row.search_images for row in here)
        lines.append(
            (
                label(method),
                _mean(here, lambda row: row.train_images, ",.0f"),
                _mean(here, lambda row: row.search_images, ",.0f"),
                percent(search / training) if training else DASH,
                _mean(here, lambda row: row.flops, ",.0f"),
            )
        )
    columns = ("Method", "Training images", "Search images", "Search / training", "Multiply-adds")
    return Table(f"Cost of one network (mean over {_told(clean(rows))})", columns, tuple(lines))


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
    """The mean corruption error of a method at a level: per corruption, its errors in percent of the reference's.

    Errors are summed over severities, their ratio averaged over corruptions; both are means over seeds.
    `reference_rows` are those of one reference network on the same corruptions and severities. Raises UserError where
    they lack one of them, where the reference makes no error, or where nothing was measured.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.2.
    """

    def errors(found: Iterable[Row]) -> dict[tuple[str, int], float]:
        groups: dict[tuple[str, int], list[float]] = {}
        for row in found:
            groups.setdefault((row.corruption, row.severity), []).append(1 - row.accuracy)
        return {place: fmean(group) for place, group in groups.items()}

    own = errors(row for row in corrupted(rows) if row.method == method and row.level == level)
    reference = errors(corrupted(reference_rows))
    if not own:
        raise UserError(f"{method} at level {level} was not measured under corruption: name another, or evaluate it")
    if missing := sorted(own.keys() - reference.keys()):
        corruption, severity = missing[0]
        raise UserError(f"the reference network has no row for {corruption} at severity {severity}: evaluate it there")
    ratios = []
    for corruption in dict.fromkeys(name for name, _ in own):
        severities = [severity for name, severity in own if name == corruption]
        total = sum(reference[corruption, severity] for severity in severities)
        if total == 0:
            raise UserError(f"the reference network makes no error under {corruption}: name a weaker reference")
        ratios.append(sum(own[corruption, severity] for severity in severities) / total)
    return 100 * fmean(ratios)


def mce_by_level(rows: Sequence[Row], reference_rows: Sequence[Row], reference: str) -> Table:
    """One line a method, one column a level: the mean corruption error against the network named `reference`."""
    found = corrupted(rows)
    cells = {at: f"{mce(found, reference_rows, *at):.2f}" for at in _grouped(complete(found))}
    density = {row.level: row.density for row in found if row.method != "admissible"}
    return _grid(f"mCE by level (%, reference: {reference})", cells, density)


def recipes(pools: Sequence[PoolRow]) -> Table:
    """One line a pooled network: the tickets mixed in, in order, each with α in parentheses."""
    estimated = any(pool.optimism is not None for pool in pools)
    lines = tuple(
        (
            label(pool.method),
            str(pool.seed),
            str(pool.level),
            percent(pool.density),
            ", ".join(f"{level} ({alpha:.2f})" for level, alpha in pool.steps) or "none taken",
            f"{pool.search_images:,}",
            *((_optimism(pool),) if estimated else ()),
        )
        for pool in sorted(pools, key=lambda pool: (pool.seed, place(pool.method), pool.level))
    )
    columns = ("Method", "Seed", "Target", "Density", "Steps: level (coefficient)", "Search images")
    last = ("Selected score too good by",) if estimated else ()
    return Table("Recipes", (*columns, *last), lines)


def _optimism(pool: PoolRow) -> str:
    """The estimated optimism of a selected score: of accuracy in percentage points, of log-likelihood in nats."""
    if pool.optimism is None:
        return ""
    return f"{100 * pool.optimism:.2f} points" if pool.scored_by == "accuracy" else f"{pool.optimism:.4f} nats"


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


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown, under a heading of the third level."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"

    rule = ("---:" if numeric else "---" for numeric in table.numeric)
    return "\n".join([f"### {table.title}", "", line(table.columns), line(rule), *map(line, table.rows)]) + "\n"


def _ordered(methods: Iterable[str]) -> list[str]:
    """The methods, each once, in the order in which they are shown."""
    return sorted(dict.fromkeys(methods), key=place)


def _place(row: Row) -> tuple[int, int, str, int]:
    """Where methods are compared: the same seed and level, the same samples."""
    return row.seed, row.level, row.corruption, row.severity


def _grouped(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.level), []).append(row)
    return groups


def _grid(title: str, cells: Mapping[tuple[str, int], str], density: Mapping[int, float]) -> Table:
    """One line a method, one column a level, from the cells by method and level."""
    levels = sorted(density)
    names = (f"Level{_JOINED}{level}: {percent(density[level]).replace(' ', _JOINED)}" for level in levels)
    lines = tuple(
        (label(method), *(cells.get((method, level), DASH) for level in levels))
        for method in _ordered(method for method, _ in cells)
    )
    return Table(title, ("Method", *names), lines)


def _compared(title: str, heading: str, rows: Sequence[Row], key: Callable[[Row], str]) -> Table:
    """One line a key, in order of first appearance, one column a method, from `differences` where all methods were
    measured."""
    common = common_rows(rows)
    found = differences(common, key)
    methods = _ordered(method for method, _ in found)
    recalibrated = [row for row in common if row.method == "recalibrated"]
    lines = tuple(
        (
            name,
            _mean([row for row in recalibrated if key(row) == name], lambda row: 100 * row.accuracy, ".2f"),
            *(f"{found[method, name]:+z.2f}" if (method, name) in found else DASH for method in methods),
        )
        for name in dict.fromkeys(map(key, recalibrated))
    )
    title = f"{title}; means over {_told(rows)}"
    return Table(title, (heading, label("recalibrated"), *map(label, methods)), lines)


def _mean(rows: Sequence[Row], read: Callable[[Row], float], form: str) -> str:
    return format(fmean(map(read, rows)), form) if rows else DASH


def _shared(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Each method's rows among those `common_rows`, as only those means compare."""
    found: dict[str, list[Row]] = {method: [] for method in _ordered(row.method for row in rows)}
    for row in common_rows(rows):
        found[row.method].append(row)
    return found


def _told(rows: Sequence[Row]) -> str:
    """In words, how many levels are `common_rows`, and how much else where it is not all."""
    reads: tuple[Callable[[Row], Hashable], ...] = (
        lambda row: row.level,
        lambda row: row.seed,
        lambda row: (row.corruption, row.severity),
    )
    (levels, seeds, cells), (_, of_seeds, of_cells) = (
        [len({read(row) for row in some}) for read in reads] for some in (common_rows(rows), rows)
    )
    words = [f"the {levels} level{'' if levels == 1 else 's'}"]
    words += [f"{seeds} of {of_seeds} seeds"] * (seeds < of_seeds)
    words += [f"{cells} of {of_cells} corruptions and severities"] * (cells < of_cells)
    return f"{', '.join(words)} that all have"

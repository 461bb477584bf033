"""Result rows as small tables of text, and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lottery_pools.config import Config, to_dict
from lottery_pools.runs.results import Gain, PoolRow, Row

DASH = "–"
"""Stands where nothing was measured."""

BASELINES = {"ticket": "Ticket", "recalibrated": "Recalibrated", "admissible": "Best admissible"}
"""What pooled networks are held against, in the order of the columns."""

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


def label(method: str) -> str:
    """A method's name for people."""
    return BASELINES.get(method, method[:1].upper() + method[1:])


def pooled(methods: Iterable[str]) -> list[str]:
    """The methods that are no baseline, each once, in order of first appearance."""
    return [method for method in dict.fromkeys(methods) if method not in BASELINES]


def clean(rows: Sequence[Row]) -> list[Row]:
    """The rows measured on the uncorrupted test samples."""
    return [row for row in rows if row.split == "test" and row.corruption == "none"]


def percent(share: float) -> str:
    """A share, such as a density, as a percentage of three significant digits."""
    return f"{100 * share:.0f} %" if share >= 1 else f"{100 * share:#.3g} %"


def interval(gain: Gain) -> str:
    """Percentage points, `gain [low, high]`."""
    return f"{gain.gain:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def by_level(rows: Sequence[Row], gains: Sequence[Gain]) -> Table:
    """One line a level: test accuracy in percent, the mean over seeds, and each method's gain over the recalibrated
    ticket in percentage points with its 95 % interval."""
    measured = _grouped(clean(rows))
    methods = _methods(clean(rows))
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
    """One line a comparison: the gain over all levels, percentage points."""
    names = {"none": "Clean", "all": "All corruptions"}
    lines = tuple(
        (
            label(g.method),
            label(g.against),
            names.get(g.corruption, g.corruption),
            interval(g),
            str(g.seeds),
            f"{g.n:,}",
        )
        for g in gains
        if g.level is None
    )
    columns = ("Method", "Against", "Samples", "Gain [95 % interval]", "Seeds", "Samples a seed")
    return Table("Gain over all levels (percentage points)", columns, lines)


def calibration(rows: Sequence[Row]) -> Table:
    """One line a method: accuracy, loss and calibration error, the mean over the levels that every method has."""
    shared, levels = _shared(clean(rows))
    lines = tuple(
        (
            label(method),
            f"{100 * fmean(row.accuracy for row in here):.2f}" if here else DASH,
            f"{fmean(row.loss for row in here):.4f}" if here else DASH,
            f"{100 * fmean(row.ece for row in here):.2f}" if here else DASH,
        )
        for method, here in shared.items()
    )
    columns = ("Method", "Accuracy (%)", "NLL (nats)", "Calibration error (%)")
    return Table(f"Likelihood and calibration on test (mean over {levels})", columns, lines)


def costs(rows: Sequence[Row]) -> Table:
    """One line a method: images seen to get one network, the mean over the levels that every method has."""
    shared, levels = _shared(clean(rows))
    lines = []
    for method, here in shared.items():
        training = fmean(row.train_images for row in here) if here else None
        search = fmean(row.search_images for row in here) if here else None
        share = percent(search / training) if training and search is not None else DASH
        lines.append((label(method), *(DASH if x is None else f"{x:,.0f}" for x in (training, search)), share))
    columns = ("Method", "Training images", "Search images", "Search / training")
    return Table(f"Cost of one network (mean over {levels})", columns, tuple(lines))


def recipes(pools: Sequence[PoolRow]) -> Table:
    """One line a pooled network: the tickets mixed in, in order, each with α in parentheses."""
    lines = tuple(
        (
            label(pool.method),
            str(pool.seed),
            str(pool.level),
            percent(pool.density),
            ", ".join(f"{level} ({alpha:.2f})" for level, alpha in pool.steps) or "none taken",
            f"{pool.search_images:,}",
        )
        for pool in pools
    )
    columns = ("Method", "Seed", "Target", "Density", "Steps: level (coefficient)", "Search images")
    return Table("Recipes", columns, lines)


def settings(config: Config) -> Table:
    """One line a setting, by its dotted name."""

    def flat(values: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
        lines: list[tuple[str, str]] = []
        for key, value in values.items():
            if isinstance(value, Mapping):
                lines += flat(value, f"{path}{key}.")
            else:
                text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                lines.append((f"{path}{key}", text or DASH))
        return lines

    return Table("Settings", ("Setting", "Value"), tuple(flat(to_dict(config), "")))


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown, under a heading of the third level."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"

    rule = ("---:" if numeric else "---" for numeric in table.numeric)
    return "\n".join([f"### {table.title}", "", line(table.columns), line(rule), *map(line, table.rows)]) + "\n"


def _methods(rows: Sequence[Row]) -> list[str]:
    """The methods of the rows: baselines in their fixed order, then pools in order of first appearance."""
    present = {row.method for row in rows}
    return [method for method in BASELINES if method in present] + pooled(row.method for row in rows)


def _grouped(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.level), []).append(row)
    return groups


def _shared(rows: Sequence[Row]) -> tuple[dict[str, list[Row]], str]:
    """Each method's rows at the seeds and levels that every method has, as only those means compare; and in words,
    how many levels those are."""
    places = {method: {(r.seed, r.level) for r in rows if r.method == method} for method in _methods(rows)}
    common = set.intersection(*places.values()) if places else set()
    kept = {method: [r for r in rows if r.method == method and (r.seed, r.level) in common] for method in places}
    count = len({level for _, level in common})
    return kept, f"the {count} level{'' if count == 1 else 's'} that all have"

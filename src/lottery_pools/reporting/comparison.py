"""Several experiments side by side: tables, and one figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

from lottery_pools.reporting import tables as single
from lottery_pools.reporting.content import Report
from lottery_pools.reporting.names import drawn, label, percent, pooled, series
from lottery_pools.reporting.style import INK, Figure, canvas, legend, look, style, svg
from lottery_pools.reporting.tables import DASH, Table, interval
from lottery_pools.runs.rows import Gain, clean, corrupted

Reports = Mapping[str, Report]
"""Experiments by what they are called here."""


def tables(reports: Reports) -> list[Table]:
    """The comparison as tables: what every method gains and costs in each run; what the runs are."""
    return [methods(reports), runs(reports)]


def plain(name: str, report: Report) -> dict[str, Any]:
    """One run of a comparison as plain values, ready for JSON."""
    measured = clean(report.rows)
    return {
        "name": name,
        "data": report.config.data.name,
        "model": report.config.model.name,
        "seeds": len({row.seed for row in measured}),
        "levels": len({row.level for row in measured}),
        "dense_accuracy": dense(report),
        "gains": [asdict(gain) for gain in report.gains if gain.level is None],
    }


def dense(report: Report) -> float | None:
    """Clean test accuracy of the dense ticket, 0 to 1, mean over seeds; none where it was not measured."""
    found = [row.accuracy for row in clean(report.rows) if row.method == "ticket" and row.level == 0]
    return fmean(found) if found else None


def runs(reports: Reports) -> Table:
    """One line a run: its setting, and the accuracy of its dense ticket."""
    lines = []
    for name, report in reports.items():
        measured = clean(report.rows)
        levels = {row.level for row in measured}
        sparsest = min((row.density for row in measured if row.method != "admissible"), default=None)
        accuracy = dense(report)
        lines.append(
            (
                name,
                report.config.data.name,
                report.config.model.name,
                str(len({row.seed for row in measured})),
                str(len(levels)),
                DASH if sparsest is None else percent(sparsest),
                f"{max((row.n for row in measured), default=0):,}",
                DASH if accuracy is None else f"{100 * accuracy:.2f}",
            )
        )
    columns = ("Run", "Data", "Model", "Seeds", "Levels", "Sparsest", "Test samples", "Dense ticket (%)")
    return Table("Runs", columns, tuple(lines))


def methods(reports: Reports) -> Table:
    """One line a run and method: its gains, and what one network costs, over the levels that all methods of the run
    have."""
    shifted = any(corrupted(report.rows) for report in reports.values())
    lines = []
    for name, report in reports.items():
        cost = {line[0]: line[1:] for line in single.costs(report.rows).rows}
        gain = {(g.method, g.against, g.corruption): interval(g) for g in report.comparable}
        for method in pooled(row.method for row in clean(report.rows)):
            places = [("recalibrated", "none"), ("admissible", "none"), *[("recalibrated", "all")] * shifted]
            shown = (gain.get((method, *place), DASH) for place in places)
            lines.append((name, label(method), *shown, *cost[label(method)]))
    against = ("Over recalibrated", "Over best admissible", *["Over recalibrated, corrupted"] * shifted)
    columns = ("Run", "Method", *against, *single.costs([]).columns[1:])
    title = "Gain over the levels that all methods of a run have (percentage points, 95 % interval), and cost"
    return Table(title, columns, tuple(lines))


def gains(reports: Reports) -> Figure | None:
    """Clean gains over the recalibrated ticket with their intervals, a line a run: of the best admissible ticket and of
    the methods `drawn`."""
    found: dict[str, dict[str, Gain]] = {}
    for name, report in reports.items():
        for gain in report.comparable:
            if (gain.against, gain.corruption) == ("recalibrated", "none"):
                found.setdefault(name, {})[gain.method] = gain
    names = list(reports)
    measured = {method for here in found.values() for method in here}
    if not drawn(measured):
        return None
    chosen = series(measured)
    shown = []
    with style("comparison"):
        drawing, axes = canvas("", height=1.1 + 0.16 * len(names) * (len(chosen) + 1))
        axes.axvline(0, color=INK, linewidth=0.9)
        own = {name: [method for method in chosen if method in some] for name, some in found.items()}
        for method in chosen:
            here = [(name, some[method]) for name, some in found.items() if method in some]
            shown += [(name, label(method), g.gain, g.low, g.high, g.seeds, g.n) for name, g in here]
            places = [
                names.index(name) + (own[name].index(method) - (len(own[name]) - 1) / 2) / (len(chosen) + 1)
                for name, _ in here
            ]
            colour, marker = look(method)
            axes.errorbar(
                [gain.gain for _, gain in here],
                places,
                xerr=[[gain.gain - gain.low for _, gain in here], [gain.high - gain.gain for _, gain in here]],
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=1.4,
                label=label(method),
            )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Gain (points of test accuracy)")
        legend(drawing, axes)
        described = f"Gain over the recalibrated ticket, with intervals, for each run: {', '.join(map(label, chosen))}"
        columns = ("run", "method", "gain_points", "low_95", "high_95", "seeds", "samples_a_seed")
        return Figure("comparison", svg(drawing, described), columns, tuple(shown))

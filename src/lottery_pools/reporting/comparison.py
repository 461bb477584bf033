"""Several experiments side by side: tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.drawing import colours, legend
from lottery_pools.reporting.measure import ACCURACY, Measure
from lottery_pools.reporting.metric_report import MetricReport
from lottery_pools.reporting.names import drawn, instead, label, percent, pooled, series, trained
from lottery_pools.reporting.style import INK, Figure, canvas, look, style, svg
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.tables import costs
from lottery_pools.reporting.verdict import undertrained
from lottery_pools.reporting.words import DASH, fixed, interval
from lottery_pools.runs.rows import Gain, MetricRow, Row, clean, corrupted, merit

Reports = Mapping[str, ReportContent] | Mapping[str, MetricReport]
"""Experiments of one measure, by what they are called in the comparison."""
Report = ReportContent | MetricReport


def measure_of(reports: Reports) -> Measure:
    """What the networks of all these experiments are compared by."""
    first = next(iter(reports.values()), None)
    return first.measure if isinstance(first, MetricReport) else ACCURACY


def tables(reports: Reports) -> list[Table]:
    """The comparison as tables: what every method gains and costs in each run; what the runs are."""
    return [methods(reports), runs(reports)]


def plain(name: str, report: Report) -> dict[str, Any]:
    """One run of a comparison as plain values, ready for JSON."""
    measured = _clean(report)
    return {
        "name": name,
        "data": report.config.data.name,
        "model": report.config.model.name,
        "seeds": len({row.seed for row in measured}),
        "levels": len({row.level for row in measured}),
        ("dense_accuracy" if isinstance(report, ReportContent) else "dense_metric"): dense(report),
        "gains": [asdict(gain) for gain in report.gains if gain.level is None],
    }


def dense(report: Report) -> float | None:
    """Clean test accuracy of the dense ticket, 0 to 1, or another metric, mean over seeds; None where it was not
    measured."""
    accuracies = [merit(row) for row in _clean(report) if row.method == "ticket" and row.level == 0]
    return fmean(accuracies) if accuracies else None


def runs(reports: Reports) -> Table:
    """One line a run: its setting, and the accuracy of its dense ticket."""
    lines, measure = [], measure_of(reports)
    for name, report in reports.items():
        measured = _clean(report)
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
                DASH if accuracy is None else _dense_cell(accuracy, measure),
            )
        )
    columns = (
        "Run",
        "Data",
        "Model",
        "Seeds",
        "Levels",
        "Sparsest",
        "Test samples",
        "Dense ticket (%)" if measure.is_accuracy else f"Dense ticket ({measure.name})",
    )
    return Table("Runs", columns, tuple(lines))


def _dense_cell(value: float, measure: Measure) -> str:
    return fixed(100 * value) if measure.is_accuracy else fixed(value, measure.digits)


def _clean(report: Report) -> Sequence[Row | MetricRow]:
    """The rows on test samples without corruption."""
    return clean(report.rows)


def methods(reports: Reports) -> Table:
    """One line a run and method: its gains, and what one network costs.

    All are over the levels that all methods of the run have. The note names the runs that look under-trained.
    """
    shifted = any(isinstance(report, ReportContent) and corrupted(report.rows) for report in reports.values())
    kinds = [("recalibrated", "none"), ("admissible", "none"), *[("recalibrated", "all")] * shifted]
    lines = []
    measure = measure_of(reports)
    cost_tables = {name: costs(report.rows) for name, report in reports.items()}
    widest = max((table.columns[1:] for table in cost_tables.values()), key=len, default=())
    for name, report in reports.items():
        # Rows of old versions do not say how many weights are not zero: their last columns stay empty.
        missing = [DASH] * (len(widest) + 1 - len(cost_tables[name].columns))
        cost = {line[0]: (*line[1:], *missing) for line in cost_tables[name].rows}
        gain = {(g.method, g.against, g.corruption): interval(g, measure.digits) for g in report.comparable}
        for method in pooled(row.method for row in _clean(report)):
            shown = (gain.get((method, *kind), DASH) for kind in kinds)
            lines.append((name, label(method), *shown, *cost[label(method)]))
    over = ("Over recalibrated", "Over best admissible", *["Over recalibrated, corrupted"] * shifted)
    columns = ("Run", "Method", *over, *widest)
    unit = "percentage points" if measure.is_accuracy else measure.name
    title = f"Gain over the levels that all methods of a run have ({unit}, 95 % interval), and cost"
    warnings = {
        name: undertrained(report.rows) for name, report in reports.items() if isinstance(report, ReportContent)
    }
    note = " ".join(f"{name}: {warning}" for name, warning in warnings.items() if warning)
    return Table(title, columns, tuple(lines), note, ((0, 1, 2), *((n,) for n in range(3, len(columns)))))


def figures(reports: Reports) -> list[Figure]:
    """Clean gains over the recalibrated ticket with their intervals, a line a run.

    One figure of the best admissible ticket and of the methods `drawn`, and one with an axis of its own of what was
    trained instead; only those of which there is something to show.
    """
    over: dict[str, dict[str, Gain]] = {}
    for name, report in reports.items():
        for gain in report.comparable:
            if (gain.against, gain.corruption) == ("recalibrated", "none"):
                over.setdefault(name, {})[gain.method] = gain
    measure = measure_of(reports)
    measured = [method for by_method in over.values() for method in by_method]
    lines = trained(measured)
    pooling = [method for method in measured if not instead(method)]
    made = [_figure("comparison", over, series(pooling), list(reports), measure)] if drawn(pooling) else []
    with_instead = [run for run, by_method in over.items() if set(lines) & set(by_method)]
    return made + ([_figure("comparison-trained", over, lines, with_instead, measure)] if lines else [])


def _figure(
    name: str, over: Mapping[str, Mapping[str, Gain]], chosen: Sequence[str], runs: Sequence[str], measure: Measure
) -> Figure:
    """One figure of the gains `over` the ticket, by run and method."""
    with style(name):
        drawing, axes = canvas("", height=1.1 + 0.16 * len(runs) * (len(chosen) + 1))
        axes.axvline(0, color=INK, linewidth=0.9)
        colour = colours(("recalibrated", *chosen))
        shown = []
        for method in chosen:
            gains = {run: over[run][method] for run in runs if method in over.get(run, {})}
            shown += [(run, label(method), g.gain, g.low, g.high, g.seeds, g.n) for run, g in gains.items()]
            heights = []
            for run in gains:
                beside = [name for name in chosen if name in over[run]]
                heights.append(runs.index(run) + (beside.index(method) - (len(beside) - 1) / 2) / (len(chosen) + 1))
            _whiskers(axes, method, list(gains.values()), heights, colour[method])
        axes.set_yticks(range(len(runs)), runs)
        axes.set_ylim(len(runs) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Gain (points of test accuracy)" if measure.is_accuracy else f"Gain in {measure.name} on test")
        legend(drawing, axes)
        described = f"Gain over the recalibrated ticket, with intervals, for each run: {', '.join(map(label, chosen))}"
        columns = ("run", "method", measure.gain_column, "low_95", "high_95", "seeds", "samples_a_seed")
        return Figure(name, svg(drawing, described), columns, tuple(shown))


def _whiskers(axes: Axes, method: str, gains: Sequence[Gain], heights: Sequence[float], colour: str) -> None:
    """The gains of one method, a point with its interval for each run."""
    axes.errorbar(
        [gain.gain for gain in gains],
        heights,
        xerr=[[gain.gain - gain.low for gain in gains], [gain.high - gain.gain for gain in gains]],
        color=colour,
        marker=look(method)[1],
        linestyle="none",
        elinewidth=1.4,
        label=label(method),
    )

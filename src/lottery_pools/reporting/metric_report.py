"""The report of networks that are measured by another metric than accuracy: what it holds, its tables, its Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lottery_pools.config.schema import Config
from lottery_pools.config.toml import to_toml
from lottery_pools.reporting import measure
from lottery_pools.reporting.measure import Measure
from lottery_pools.reporting.names import label, percent, place
from lottery_pools.reporting.table import Table, markdown
from lottery_pools.reporting.tables import recipes
from lottery_pools.reporting.verdict import headline, verdict
from lottery_pools.reporting.words import DASH, big, fixed, interval, plural
from lottery_pools.runs.rows import BASELINES, Accuracy, Gain, MetricRow, PoolRow, clean

DIGITS = 4
"""Decimals of metrics and of their gains."""


@dataclass(frozen=True)
class MetricReport:
    """One experiment as read from its folder: rows of all its seeds, and what follows from them."""

    title: str
    rows: Sequence[MetricRow]
    gains: Sequence[Gain]
    """As `metrics.gains`, in the unit of the metric."""
    config: Config
    pools: Sequence[PoolRow] = ()
    comparable: Sequence[Gain] = ()
    """As `metrics.comparable`."""
    values: Sequence[Accuracy] = ()
    """The metric of every method at every level, as `metrics.accuracies`."""

    @property
    def measure(self) -> Measure:
        """The metric."""
        return measure.other(self.rows[0].metric)

    @property
    def metric(self) -> str:
        """What the metric is called."""
        return self.measure.name


def tables(report: MetricReport) -> tuple[Table, Table]:
    """The metric by level, and what each method gains over all levels."""
    return by_level(report), summary(report)


def by_level(report: MetricReport) -> Table:
    """One line a level, one column a method: the metric on test samples, the mean over seeds."""
    rows = clean(report.rows)
    methods = _methods(rows)
    density = {row.level: row.density for row in rows if row.method == "ticket"}
    lines = []
    for level in sorted(density):
        cells = [_mean([row.value for row in rows if (row.method, row.level) == (name, level)]) for name in methods]
        lines.append((str(level), percent(density[level]), *cells))
    return Table(f"{report.metric} on test samples by level", ("Level", "Density", *map(label, methods)), tuple(lines))


def summary(report: MetricReport) -> Table:
    """One line a method: gains over all levels with their intervals, loss, and images seen to get one network."""
    rows = clean(report.rows)
    gains = {(g.method, g.against): interval(g, DIGITS) for g in report.gains if g.level is None}
    lines = []
    for method in _methods(rows):
        group = [row for row in rows if row.method == method]
        over = (gains.get((method, against), DASH) for against in ("recalibrated", "admissible"))
        images = (big(fmean(row.train_images for row in group)), big(fmean(row.search_images for row in group)))
        lines.append((label(method), *over, _mean([row.loss for row in group]), *images))
    title = f"Gain in {report.metric} over all levels [95 % interval], test loss, and cost of one network"
    columns = ("Method", "Over recalibrated", "Over best admissible", "Loss", "Training images", "Search images")
    seeds = plural(len({row.seed for row in rows}), "seed")
    note = f"{seeds}, {rows[0].n:,} test samples each. A gain counts as shown only where its interval lies above zero."
    return Table(title, columns, tuple(lines), note)


def page(report: MetricReport) -> str:
    """The whole report as Markdown."""
    sections = [
        f"# {report.title}",
        verdict(headline(report.gains), report.gains, report.measure),
        *map(markdown, tables(report)),
        *([markdown(recipes(report.pools))] if report.pools else []),
        "### Settings",
        f"```toml\n{to_toml(report.config)}```",
    ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


def _methods(rows: Sequence[MetricRow]) -> list[str]:
    """The methods that were measured, baselines first, in the order in which they are shown."""
    names = dict.fromkeys(row.method for row in rows)
    return sorted(names, key=lambda name: (name not in BASELINES, place(name)))


def _mean(values: Sequence[float]) -> str:
    return fixed(fmean(values), DIGITS) if values else DASH

"""The sections of the page of networks that are measured by another metric than accuracy, as `sections.py` has them."""

from __future__ import annotations

from functools import partial

from lottery_pools.reporting import diagrams, figures, metric_report, tables
from lottery_pools.reporting.metric_report import MetricReport
from lottery_pools.reporting.names import featured, label, main_lines, trained_lines
from lottery_pools.reporting.sections import Captioned, Section
from lottery_pools.reporting.words import plural
from lottery_pools.runs.rows import clean


def sections(report: MetricReport) -> list[Section]:
    """What there is to show: gains by density, the metric by level, costs, and what was mixed."""
    by_level, summary = metric_report.tables(report)
    mixed = [tables.recipes(report.pools)] if report.pools else []
    made = [
        Section("Gains by density", partial(_by_density, report), folded=False),
        Section("Main table", tables=[by_level], folded=False),
        Section("Gains and costs", tables=[summary], folded=False),
        Section("What was mixed into what", partial(_recipes, report), mixed),
    ]
    return [section for section in made if not section.is_empty]


def _by_density(report: MetricReport) -> list[Captioned]:
    """Gains and the metric itself against density, and beside them what was trained instead."""
    measured = [row.method for row in clean(report.rows)]
    over_ticket = {gain.method for gain in report.gains if gain.against == "recalibrated" and gain.density is not None}
    name, seeds = report.metric, plural(len({row.seed for row in report.rows}), "seed")
    drawn: list[Captioned] = []
    for gaining, lines in ((main_lines(over_ticket), main_lines(measured)), (trained_lines(over_ticket), ())):
        if gaining:
            caption = (
                f"{name} on test samples less that of the recalibrated ticket of the same density, on the same "
                f"samples; mean of {seeds}, with 95 % intervals. Above the line at zero, the network is better."
            )
            drawn.append((figures.gains(report.gains, gaining, report.measure), caption))
        if lines:
            caption = f"{name} on {clean(report.rows)[0].n:,} test samples; lines: mean of {seeds}."
            drawn.append((figures.accuracy(report.values, lines, measure=report.measure), caption))
    return drawn


def _recipes(report: MetricReport) -> list[Captioned]:
    return [
        (
            diagrams.recipes(report.pools, method),
            f"{label(method)}, the first seed: each row is a pooled network. Number and shade of a cell are the share "
            "of that ticket in it, before it is pruned back. The outlined cell is the target itself.",
        )
        for method in featured((pool.method for pool in report.pools), 2)
    ]

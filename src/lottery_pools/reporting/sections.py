"""The sections of a report, in their order: each a heading, figures with captions, and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lottery_pools.reporting import corruption_tables, diagnosis, diagrams, figures, speed_table, tables
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.names import featured, label, main_lines, pooled, trained_lines
from lottery_pools.reporting.style import Figure
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.verdict import headline
from lottery_pools.reporting.words import plural
from lottery_pools.runs.rows import Row, clean, corrupted

Captioned = tuple[Figure, str]
"""A figure and its caption."""


@dataclass(frozen=True)
class Section:
    """Figures and tables under one heading."""

    title: str
    figures: Sequence[Captioned] = ()
    tables: Sequence[Table] = ()
    folded: bool = True
    """Whether the page shows the heading alone until a reader opens the section."""

    @property
    def anchor(self) -> str:
        """What a link to the section names."""
        return "-".join(word for word in self.title.lower().replace(",", "").split() if word.isalnum())


def sections(report: ReportContent) -> list[Section]:
    """The sections that have something to show: gains by density, the main table and costs first, the rest folded."""
    return [section for build in _BUILDERS if (section := _kept(build(report))).figures or section.tables]


def _kept(section: Section) -> Section:
    """The section without tables that have no line."""
    kept = [table for table in section.tables if table.rows]
    return Section(section.title, section.figures, kept, section.folded)


def _gains_by_density(report: ReportContent) -> Section:
    """The main figure, gain and accuracy of four networks, and beside it what was trained instead."""
    over_ticket = [gain for gain in report.gains if (gain.against, gain.corruption) == ("recalibrated", "none")]
    measured = {gain.method for gain in over_ticket if gain.density is not None}
    drawn: list[Captioned] = []
    if lines := main_lines(measured):
        caption = (
            "Test accuracy less that of the recalibrated ticket of the same density, on the same samples; "
            f"{_mean(report)}, with 95 % intervals. Above the line at zero, pooling helps; above the best admissible "
            "ticket, it does more than a sparser ticket would."
        )
        drawn.append((figures.gains(report.gains, lines), caption))
    drawn += _accuracy(report, main_lines(row.method for row in clean(report.rows)))
    if trained := trained_lines(measured):
        caption = "The gains of networks that were trained instead of pooled, on an axis of their own."
        drawn.append((figures.gains(report.gains, trained), caption))
    drawn += _accuracy(report, trained_lines(row.method for row in clean(report.rows)))
    return Section("Gains by density", drawn, folded=False)


def _accuracy(report: ReportContent, methods: Sequence[str]) -> list[Captioned]:
    """Accuracy against density, where it was measured."""
    if not methods:
        return []
    samples = max(row.n for row in clean(report.rows))
    several = len({row.seed for row in clean(report.rows)}) > 1
    spread = (
        f"Lines: {_mean(report)}; bands: 95 % intervals of that mean over seeds, cut off where they are too wide."
        if several
        else "One seed, so no interval is shown."
    )
    return [(figures.accuracy(report.accuracies, methods), f"Test accuracy, {samples:,} samples. {spread}")]


def _main_table(report: ReportContent) -> Section:
    return Section("Main table", tables=[tables.by_level(report.rows, report.gains)], folded=False)


def _costs(report: ReportContent) -> Section:
    return Section("Gains and costs", tables=[tables.summary(report.rows, report.comparable)], folded=False)


def _speed(report: ReportContent) -> Section:
    return Section("Speed", tables=[speed_table.speeds(report.speeds)], folded=False)


def _all_methods(report: ReportContent) -> Section:
    """Accuracy and gain of every method, where the main table has not all of them."""
    measured = clean(report.rows)
    methods = pooled(row.method for row in measured)
    made = [tables.overall(report.gains)]
    if methods != featured(methods, 2):
        made = [
            tables.accuracy_by_level("All methods: clean test accuracy by level (%)", measured),
            tables.gains_by_level("All methods: clean gain by level (percentage points)", report.gains, "none"),
            *made,
        ]
    return Section("All methods and comparisons", tables=made)


def _corruption(report: ReportContent) -> Section:
    """What was measured on corrupted samples, and the tables of mean corruption errors."""
    shifted, gain = corrupted(report.rows), headline(report.gains)
    over = shift(shifted) if shifted else ""
    drawn: list[Captioned] = []
    if shifted:
        methods = main_lines(row.method for row in shifted)
        caption = f"Test accuracy under corruption: the mean over {over}."
        drawn.append((figures.accuracy(report.accuracies, methods, "all"), caption))
    if gain and any(name == gain.method for name, _ in corruption_tables.differences(shifted, lambda row: row.method)):
        caption = (
            f"{label(gain.method)}: accuracy less that of the recalibrated ticket, in percentage points, the mean over "
            "levels and seeds. Blue is better, orange worse."
        )
        drawn.append((figures.heat_map(report.rows, gain.method), caption))
    made = [
        tables.accuracy_by_level(f"Accuracy under corruption by level (%, mean over {over})", shifted),
        tables.gains_by_level("Gain under corruption by level (percentage points)", report.gains, "all"),
        corruption_tables.by_corruption(report.rows),
        corruption_tables.by_severity(report.rows),
    ]
    return Section("Under corruption", drawn, [*made, *report.extra])


def _calibration(report: ReportContent) -> Section:
    drawing = figures.calibration(report.rows)
    caption = (
        "How often predictions of a given confidence are right, in 15 bins, all levels and seeds together. Below the "
        "dashed line, networks are surer than they should be."
    )
    return Section("Calibration", [(drawing, caption)] if drawing else [], [tables.calibration(report.rows)])


def _attribution(report: ReportContent) -> Section:
    """Where gains come from, of the methods that are featured."""
    diagnosed = [part["method"] for seed in report.diagnoses for part in seed["attribution"]]
    drawn = [
        (
            diagrams.attribution(report.diagnoses, method),
            f"{label(method)}: its gain over the ticket as training left it, in parts that add up; the mean of "
            f"{plural(len(report.diagnoses), 'seed')}. Averaging is what pooling adds to the takeover.",
        )
        for method in featured(diagnosed, 2)
    ]
    made = [diagnosis.attribution(report.diagnoses), diagnosis.classes(report.diagnoses)] if report.diagnoses else []
    return Section("Where the gain comes from", drawn, made)


def _recipes(report: ReportContent) -> Section:
    drawn = [
        (
            diagrams.recipes(report.pools, method),
            f"{label(method)}, the first seed: each row is a pooled network. Number and shade of a cell are the share "
            "of that ticket in it, before it is pruned back. The outlined cell is the target itself.",
        )
        for method in featured((pool.method for pool in report.pools), 2)
    ]
    return Section("What was mixed into what", drawn, [tables.recipes(report.pools)])


def _between_tickets(report: ReportContent) -> Section:
    """Paths, barriers and overlap between tickets, and their ensemble."""
    diagnoses = report.diagnoses
    drawn: list[Captioned] = []
    if (path := diagrams.paths(diagnoses)) is not None:
        caption = (
            "Validation accuracy on the straight lines between neighbouring tickets, unpruned. Where the line does not "
            "sag, they lie in one basin. Thin lines: single seeds."
        )
        drawn.append((path, caption))
    if any(seed["pairs"] for seed in diagnoses):
        caption = (
            "Barrier: how far validation accuracy falls below the line between two tickets, in points; the mean of "
            f"{plural(len(diagnoses), 'seed')}."
        )
        drawn.append((diagrams.barriers(diagnoses), caption))
        caption = "Overlap of masks: weights that survive in both tickets, of those that survive in either."
        drawn.append((diagrams.overlap(diagnoses), caption))
    made = (
        [diagnosis.barriers(diagnoses), diagnosis.overlap(diagnoses), diagnosis.ensemble(diagnoses)]
        if diagnoses
        else []
    )
    return Section("From ticket to ticket", drawn, made)


_BUILDERS: tuple[Callable[[ReportContent], Section], ...] = (
    _gains_by_density,
    _main_table,
    _costs,
    _speed,
    _all_methods,
    _corruption,
    _calibration,
    _attribution,
    _recipes,
    _between_tickets,
)
"""In the order of the page."""


def shift(rows: Sequence[Row]) -> str:
    """The corruptions of the rows in words: `19 corruptions at 3 severities`."""
    corruptions, severities = len({row.corruption for row in rows}), len({row.severity for row in rows})
    return f"{plural(corruptions, 'corruption')} at {severities} severit{'y' if severities == 1 else 'ies'}"


def _mean(report: ReportContent) -> str:
    return f"mean of {plural(len({row.seed for row in clean(report.rows)}), 'seed')}"

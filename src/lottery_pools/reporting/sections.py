"""The sections of a report, in their order: each a heading, figures with captions, and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from lottery_pools.reporting import corruption_tables, diagnosis, diagrams, figures, speed_table, tables
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.diagnosis import Diagnoses
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
    draw: Callable[[], Sequence[Captioned]] = list
    """Draws the figures, which takes longer than all else of a report: Markdown has none."""
    tables: Sequence[Table] = ()
    folded: bool = True
    """Whether the page shows the heading alone until a reader opens the section."""

    @cached_property
    def figures(self) -> Sequence[Captioned]:
        """The figures, drawn once."""
        return self.draw()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.tables and not self.figures

    @property
    def anchor(self) -> str:
        """What a link to the section names."""
        return "-".join(word for word in self.title.lower().replace(",", "").split() if word.isalnum())


def sections(report: ReportContent) -> list[Section]:
    """The sections that have something to show: gains by density, the main table and costs first, the rest folded."""
    return [section for section in _with_lines(report) if not section.is_empty]


def all_tables(report: ReportContent) -> list[Table]:
    """The tables of all sections, in their order."""
    return [table for section in _with_lines(report) for table in section.tables]


def _with_lines(report: ReportContent) -> list[Section]:
    """All sections, without tables that have no line."""
    made = [build(report) for build in _BUILDERS]
    return [replace(section, tables=[table for table in section.tables if table.rows]) for section in made]


def _gains_by_density(report: ReportContent) -> Section:
    return Section("Gains by density", partial(_draw_gains_by_density, report), folded=False)


def _draw_gains_by_density(report: ReportContent) -> list[Captioned]:
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
    return drawn


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
    shifted = corrupted(report.rows)
    over = shift(shifted) if shifted else ""
    made = [
        tables.accuracy_by_level(f"Accuracy under corruption by level (%, mean over {over})", shifted),
        tables.gains_by_level("Gain under corruption by level (percentage points)", report.gains, "all"),
        corruption_tables.by_corruption(report.rows),
        corruption_tables.by_severity(report.rows),
    ]
    return Section("Under corruption", partial(_draw_corruption, report), [*made, *report.extra])


def _draw_corruption(report: ReportContent) -> list[Captioned]:
    shifted, gain = corrupted(report.rows), headline(report.gains)
    drawn: list[Captioned] = []
    if shifted:
        methods = main_lines(row.method for row in shifted)
        caption = f"Test accuracy under corruption: the mean over {shift(shifted)}."
        drawn.append((figures.accuracy(report.accuracies, methods, "all"), caption))
    if gain and any(name == gain.method for name, _ in corruption_tables.differences(shifted, lambda row: row.method)):
        caption = (
            f"{label(gain.method)}: accuracy less that of the recalibrated ticket, in percentage points, the mean over "
            "levels and seeds. Blue is better, orange worse."
        )
        drawn.append((figures.heat_map(report.rows, gain.method), caption))
    return drawn


def _calibration(report: ReportContent) -> Section:
    return Section("Calibration", partial(_draw_calibration, report), [tables.calibration(report.rows)])


def _draw_calibration(report: ReportContent) -> list[Captioned]:
    drawing = figures.calibration(report.rows)
    caption = (
        "How often predictions of a given confidence are right, in 15 bins, all levels and seeds together. Below the "
        "dashed line, networks are surer than they should be."
    )
    return [(drawing, caption)] if drawing else []


def _attribution(report: ReportContent) -> Section:
    made = [diagnosis.attribution(report.diagnoses), diagnosis.classes(report.diagnoses)] if report.diagnoses else []
    return Section("Where the gain comes from", partial(_draw_attribution, report), made)


def _draw_attribution(report: ReportContent) -> list[Captioned]:
    """Where gains come from, of the methods that are featured."""
    diagnosed = [part["method"] for seed in report.diagnoses for part in seed["attribution"]]
    return [
        (
            diagrams.attribution(report.diagnoses, method),
            f"{label(method)}: its gain over the ticket as training left it, in parts that add up; the mean of "
            f"{plural(len(report.diagnoses), 'seed')}. Averaging is what pooling adds to the takeover.",
        )
        for method in featured(diagnosed, 2)
    ]


def _recipes(report: ReportContent) -> Section:
    return Section("What was mixed into what", partial(_draw_recipes, report), [tables.recipes(report.pools)])


def _draw_recipes(report: ReportContent) -> list[Captioned]:
    return [
        (
            diagrams.recipes(report.pools, method),
            f"{label(method)}, the first seed: each row is a pooled network. Number and shade of a cell are the share "
            "of that ticket in it, before it is pruned back. The outlined cell is the target itself.",
        )
        for method in featured((pool.method for pool in report.pools), 2)
    ]


def _between_tickets(report: ReportContent) -> Section:
    """Paths, barriers and overlap between tickets, and their ensemble."""
    diagnoses = report.diagnoses
    made = (
        [diagnosis.barriers(diagnoses), diagnosis.overlap(diagnoses), diagnosis.ensemble(diagnoses)]
        if diagnoses
        else []
    )
    return Section("From ticket to ticket", partial(_draw_between_tickets, diagnoses), made)


def _draw_between_tickets(diagnoses: Diagnoses) -> list[Captioned]:
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
    return drawn


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

"""A whole report as one HTML page that needs nothing else, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from lottery_pools.config.toml import relevant, to_toml
from lottery_pools.reporting import comparison, diagnosis, diagrams, figures, tables
from lottery_pools.reporting.content import Report
from lottery_pools.reporting.names import featured, label, mixes_in_turn, pooled
from lottery_pools.reporting.style import Figure
from lottery_pools.reporting.tables import Table
from lottery_pools.runs.rows import Gain, Row, clean, corrupted


@dataclass(frozen=True)
class Section:
    """Figures under one heading, each with its caption; those that could not be drawn are None."""

    title: str
    figures: Sequence[tuple[Figure | None, str]]


def headlines(gains: Sequence[Gain]) -> list[Gain]:
    """The gains of the two featured methods over the recalibrated ticket, over all levels, on clean test samples.

    The first is the headline: the paper's Interpolation where it was measured.
    """
    found = {g.method: g for g in gains if (g.level, g.corruption, g.against) == (None, "none", "recalibrated")}
    first = featured(found, 1)
    return [found[method] for method in dict.fromkeys((*first, *featured(found, 2)))]


def headline(gains: Sequence[Gain]) -> Gain | None:
    """The first of `headlines`; none where no method was compared."""
    return next(iter(headlines(gains)), None)


def verdict(gain: Gain | None, gains: Sequence[Gain]) -> str:
    """What a headline gain, one of all `gains`, means, in one plain sentence that claims no more than its interval
    allows."""
    if gain is None:
        return "No pooling method has been compared with the recalibrated ticket yet."
    name = label(gain.method)
    if gain.low <= 0 <= gain.high:
        return (
            f"No gain shown: the 95 % interval includes zero, so {name} may be no better than the recalibrated ticket "
            "of the same density."
        )
    direction = "more" if gain.gain > 0 else "fewer"
    of = (gain.method, gain.against, gain.corruption)
    levels = {g.level for g in gains if (g.method, g.against, g.corruption) == of and g.level is not None}
    averaged = ["levels"] * (len(levels) > 1) + ["seeds"] * (gain.seeds > 1)
    return (
        f"Of 100 test samples, {name} predicts {abs(gain.gain):.2f} {direction} correctly than the recalibrated ticket "
        f"of the same density{', averaged over ' * bool(averaged)}{' and '.join(averaged)}."
    )


def render(report: Report) -> str:
    """The report as a page of HTML: no request leaves it, and equal input gives equal bytes."""
    measured = clean(report.rows)
    gain = headline(report.gains)
    methods = pooled(row.method for row in measured)
    levels, seeds = len({row.level for row in measured}), len({row.seed for row in measured})
    model, data = report.config.model.name, report.config.data.name
    return _page(
        title=report.title,
        setting=f"{model} on {data} · {_count(levels, 'level')} · {_count(seeds, 'seed')}",
        headline=gain,
        verdict=verdict(gain, report.gains),
        basis=_basis(gain) if gain else "",
        sections=_sections(report),
        tables=_tables(report),
        settings=to_toml(relevant(report.config)),
        methods=methods,
        shift=_shift(shifted) if (shifted := corrupted(report.rows)) else "",
        diagnosed=bool(report.diagnosis),
        chosen=_chosen([report]),
    )


def markdown(report: Report) -> str:
    """The report as Markdown: its headline and its tables."""
    gain = headline(report.gains)
    number = (
        f"**{tables.interval(gain)}** percentage points of test accuracy (95 % interval; {_basis(gain)}). "
        if gain
        else ""
    )
    parts = [*_tables(report), tables.settings(report.config)]
    return "\n".join([f"# {report.title}\n", f"{number}{verdict(gain, report.gains)}\n", *map(tables.markdown, parts)])


def compare(reports: Mapping[str, Report]) -> str:
    """Several experiments, by what they are called here, as one page of HTML, as `render` makes it."""
    caption = (
        "Test accuracy less that of the recalibrated ticket of the same density, the mean over seeds and over the "
        "levels that all methods of the run have, with 95 % intervals. Right of the line, pooling helps. Runs differ "
        "in data, network and levels: the gains of one run compare with each other, those of two runs only where "
        "these are the same."
    )
    return _page(
        title=f"Comparison of {_count(len(reports), 'run')}",
        setting=" · ".join(reports),
        headline=None,
        verdict="",
        basis="",
        sections=_drawn([Section("Gain over the recalibrated ticket", [(comparison.gains(reports), caption)])]),
        tables=comparison.tables(reports),
        settings="",
        methods=list(dict.fromkeys(row.method for report in reports.values() for row in report.rows)),
        shift="",
        diagnosed=False,
        chosen=_chosen(list(reports.values())),
    )


def _page(**content: object) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["quote"] = quote
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(label=label, **content)


def _sections(report: Report) -> list[Section]:
    """The figures of a report whose data exist."""
    measured, shifted, found = clean(report.rows), corrupted(report.rows), report.diagnosis
    gain, gains = headline(report.gains), report.gains
    seeds = len({row.seed for row in measured})
    mean = f"mean of {_count(seeds, 'seed')}"
    spread = (
        f"Lines: {mean}; bands: 95 % intervals of that mean over seeds, cut off where they are too wide."
        if seeds > 1
        else "One seed, so no interval is shown."
    )
    samples = max((row.n for row in measured), default=0)
    by_level = any(g.density is not None and (g.against, g.corruption) == ("recalibrated", "none") for g in gains)
    mapped = gain.method if gain and tables.differences(shifted, lambda row: row.method) else None
    explained = featured((part["method"] for one in found for part in one["attribution"]), 2)
    paired = any(one["pairs"] for one in found)
    mixed = featured((pool.method for pool in report.pools), 2)
    return _drawn(
        [
            Section(
                "Accuracy against density",
                [
                    (
                        figures.accuracy(report.accuracies) if measured else None,
                        f"Test accuracy, {samples:,} samples. {spread} The dashed line is the dense network that the "
                        "tickets were pruned from.",
                    ),
                    (
                        figures.accuracy(report.accuracies, "all") if shifted else None,
                        f"The same under corruption: the mean over {_shift(shifted)}.",
                    ),
                ],
            ),
            Section(
                "Gain by density",
                [
                    (
                        figures.gains(gains) if by_level else None,
                        "Test accuracy less that of the recalibrated ticket of the same density, on the same samples; "
                        f"{mean}, with 95 % intervals. Above the line, pooling helps.",
                    )
                ],
            ),
            Section(
                "Gain by corruption and severity",
                [
                    (
                        figures.heat_map(report.rows, mapped) if mapped else None,
                        f"{label(mapped or '')}: accuracy less that of the recalibrated ticket, in percentage points, "
                        "the mean over levels and seeds. Blue is better, orange worse.",
                    )
                ],
            ),
            Section(
                "Where the gain comes from",
                [
                    (
                        diagrams.attribution(found, method),
                        f"{label(method)}: its gain over the ticket as training left it, in parts that add up; the "
                        f"mean of {_count(len(found), 'seed')}. Averaging is what pooling adds to taking over a better "
                        "ticket.",
                    )
                    for method in explained
                ],
            ),
            Section(
                "What was mixed into what",
                [
                    (
                        diagrams.recipes(report.pools, method),
                        f"{label(method)}, the first seed: each row is a target. The deeper a cell, the larger that "
                        f"ticket's share in it{_numbered(method)}. The dot is the target itself.",
                    )
                    for method in mixed
                ],
            ),
            Section(
                "Calibration",
                [
                    (
                        figures.calibration(report.rows),
                        "How often predictions of a given confidence are right, in 15 bins, all levels and seeds "
                        "together. Below the dashed line, networks are surer than they should be.",
                    )
                ],
            ),
            Section(
                "From ticket to ticket",
                [
                    (
                        diagrams.paths(found),
                        "Validation accuracy on the straight lines between neighbouring tickets, unpruned. Where the "
                        "line does not sag, they lie in one basin. Thin lines: single seeds.",
                    ),
                    (
                        diagrams.barriers(found) if paired else None,
                        "Barrier: how far validation accuracy falls below the line between two tickets, in points; "
                        f"the mean of {_count(len(found), 'seed')}.",
                    ),
                    (
                        diagrams.overlap(found) if paired else None,
                        "Overlap of masks: weights that survive in both tickets, of those that survive in either.",
                    ),
                ],
            ),
        ]
    )


def _drawn(sections: Sequence[Section]) -> list[Section]:
    """The sections without the figures that could not be drawn, and without those that are then empty."""
    kept = [Section(one.title, [drawn for drawn in one.figures if drawn[0] is not None]) for one in sections]
    return [section for section in kept if section.figures]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _numbered(method: str) -> str:
    """What the numbers of a recipe are, where they are not the shares themselves."""
    return "; the number is α, the weight of what was there before that ticket came in" if mixes_in_turn(method) else ""


def _chosen(reports: Sequence[Report]) -> str:
    """What validation samples choose."""
    return "epochs and pools" if any(one.config.training.keep == "best" for one in reports) else "pools"


def _basis(gain: Gain) -> str:
    return f"{_count(gain.seeds, 'seed')}, {gain.n:,} test samples each"


def _shift(rows: Sequence[Row]) -> str:
    """The corruptions of the rows in words."""
    corruptions, severities = len({row.corruption for row in rows}), len({row.severity for row in rows})
    return f"{_count(corruptions, 'corruption')} at {severities} severit{'y' if severities == 1 else 'ies'}"


def _tables(report: Report) -> list[Table]:
    """The tables of a report that have a line, in order."""
    rows, gains = report.rows, report.gains
    methods = pooled(row.method for row in clean(rows))
    every = [tables.by_level(rows, gains), tables.summary(rows, report.comparable)]
    if methods != featured(methods, 2):  # otherwise the first table has them all
        every += [
            tables.accuracy_by_level("All methods: clean test accuracy by level (%)", clean(rows)),
            tables.gains_by_level("All methods: clean gain by level (percentage points)", gains, "none"),
        ]
    shifted = corrupted(rows)
    every += [
        tables.accuracy_by_level(f"Accuracy under corruption by level (%, mean over {_shift(shifted)})", shifted),
        tables.gains_by_level("Gain under corruption by level (percentage points)", gains, "all"),
        tables.by_corruption(rows),
        tables.by_severity(rows),
        tables.overall(gains),
        tables.recipes(report.pools),
    ]
    return [table for table in (*every, *diagnosis.tables(report.diagnosis), *report.extra) if table.rows]

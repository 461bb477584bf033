"""A whole report as one HTML page that needs nothing else, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from importlib import resources
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from lottery_pools.config.toml import relevant, to_toml
from lottery_pools.errors import inert
from lottery_pools.pooling.methods import RETIRED_METHODS
from lottery_pools.reporting import comparison, metric_sections, tables
from lottery_pools.reporting.comparison import Reports
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.measure import ACCURACY, Measure
from lottery_pools.reporting.metric_report import MetricReport
from lottery_pools.reporting.names import instead, label, pooled
from lottery_pools.reporting.sections import Captioned, Section, all_tables, sections, shift
from lottery_pools.reporting.table import markdown as table_as_markdown
from lottery_pools.reporting.verdict import averaged_over, headline, headlines, judge, over_admissible, undertrained
from lottery_pools.reporting.words import interval, meaning_of_accuracy, plural, signed, unbroken
from lottery_pools.runs.rows import Gain, clean, corrupted


def render(report: ReportContent) -> str:
    """The report as a page of HTML: no request leaves it, and equal content gives equal bytes."""
    measured = clean(report.rows)
    gain = headline(report.gains)
    levels, seeds = len({row.level for row in measured}), len({row.seed for row in measured})
    model, data = report.config.model.name, report.config.data.name
    shifted = corrupted(report.rows)
    return _page(
        title=report.title,
        setting=f"{model} on {data} · {plural(levels, 'level')} · {plural(seeds, 'seed')}",
        verdict=judge(gain, report.gains),
        numbers=_numbers(gain, report.gains),
        basis=f"{label(gain.method)}: {_basis(gain, report.gains)}" if gain else "",
        also=" ".join(filter(None, (_also(report.gains), meaning_of_accuracy(report.config.data.task)))),
        warning=undertrained(report.rows),
        sections=sections(report),
        settings=to_toml(relevant(report.config)),
        methods=pooled(row.method for row in measured),
        shift=shift(shifted) if shifted else "",
        diagnosed=bool(report.diagnoses),
        chosen=_chosen([report]),
        measure=ACCURACY,
    )


def render_metric(report: MetricReport) -> str:
    """As `render`, of networks that are measured by another metric."""
    measured = clean(report.rows)
    gain = headline(report.gains)
    levels, seeds = len({row.level for row in measured}), len({row.seed for row in measured})
    return _page(
        title=report.title,
        setting=f"{report.config.model.name} on {report.config.data.name} · {plural(levels, 'level')} · "
        f"{plural(seeds, 'seed')} · {report.metric}",
        verdict=judge(gain, report.gains, report.measure),
        numbers=_numbers(gain, report.gains),
        basis=f"{label(gain.method)}: {_basis(gain, report.gains)}" if gain else "",
        also=_also(report.gains, report.measure),
        warning="",
        sections=metric_sections.sections(report),
        settings=to_toml(relevant(report.config)),
        methods=pooled(row.method for row in measured),
        shift="",
        diagnosed=False,
        chosen=_chosen([report]),
        measure=report.measure,
    )


def markdown(report: ReportContent) -> str:
    """The report as Markdown: its verdict, the gains that it is about, and all tables in the order of the page."""
    gain = headline(report.gains)
    parts = [f"# {inert(report.title)}\n", f"{' '.join(judge(gain, report.gains).sentences)}\n"]
    if gain:
        beside = over_admissible(gain, report.gains)
        numbers = f"**{interval(gain)}** over the recalibrated ticket"
        if beside:
            numbers += f", **{interval(beside)}** over the best admissible ticket"
        parts.append(
            f"{label(gain.method)}: {numbers}; percentage points of test accuracy with 95 % intervals, "
            f"{_basis(gain, report.gains)}.\n"
        )
        parts += [f"{also}\n"] if (also := _also(report.gains)) else []
    if meaning := meaning_of_accuracy(report.config.data.task):
        parts.append(f"{meaning}\n")
    shown = [*all_tables(report), tables.settings(report.config)]
    return "\n".join([*parts, *map(table_as_markdown, shown)])


def compare(reports: Reports) -> str:
    """Several experiments, by what they are called here, as one page of HTML, as `render` makes it."""
    measure = comparison.measure_of(reports)
    gains, runs = comparison.tables(reports)
    made = [
        Section("Gain over the recalibrated ticket", partial(_draw_comparison, reports, measure), folded=False),
        Section("Gains and costs", tables=[gains], folded=False),
        Section("What the runs are", tables=[runs], folded=False),
    ]
    return _page(
        title=f"Comparison of {plural(len(reports), 'run')}",
        setting=" · ".join(reports),
        verdict=None,
        numbers=[],
        basis="",
        also="",
        warning="",
        sections=[section for section in made if not section.is_empty],
        settings="",
        methods=list(dict.fromkeys(row.method for report in reports.values() for row in report.rows)),
        shift="",
        diagnosed=False,
        chosen=_chosen(list(reports.values())),
        measure=measure,
    )


def _draw_comparison(reports: Reports, measure: Measure) -> list[Captioned]:
    captions = {
        "comparison": f"Test {measure.name} less that of the recalibrated ticket of the same density, the mean over "
        "seeds and over the levels that all methods of the run have, with 95 % intervals. Right of the line, pooling "
        "helps. Runs differ in data, network and levels: the gains of one run compare with each other, those of two "
        "runs only where these are the same.",
        "comparison-trained": "The gains of networks that were trained instead of pooled, on an axis of their own.",
    }
    return [(figure, captions[figure.name]) for figure in comparison.figures(reports)]


def _page(**content: object) -> str:
    """The template with its style sheet and script, filled in."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"quote": quote, "signed": signed, "unbroken": unbroken, "cell": _cell, "instead": instead}
    template = environment.from_string(_read("page.html"))
    files = {"style": Markup(_read("page.css")), "script": Markup(_read("page.js"))}
    return template.render(retired=RETIRED_METHODS, **files, **content)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").rstrip("\n")


def _cell(text: str) -> Markup:
    """A cell of words: numbers keep their unit, and a name in parentheses or brackets its line."""
    return escape(unbroken(re.sub(r"(\d) \(", "\\1\u00a0(", text)))


def _numbers(gain: Gain | None, gains: Sequence[Gain]) -> list[tuple[str, Gain]]:
    """What the headline is over, and how much: the recalibrated ticket, and the best admissible one if measured."""
    if gain is None:
        return []
    beside = over_admissible(gain, gains)
    return [("recalibrated ticket", gain), *([("best admissible ticket", beside)] if beside else [])]


def _also(gains: Sequence[Gain], measure: Measure = ACCURACY) -> str:
    """The verdict on the second of the gains that come first, without what the first verdict has said already."""
    first, *second = (judge(gain, gains, measure) for gain in headlines(gains) or (None,))
    return " ".join(sentence for judged in second for sentence in judged.sentences if sentence not in first.cautions)


def _basis(gain: Gain, gains: Sequence[Gain]) -> str:
    """Over what a headline gain is the mean."""
    levels, seeds = averaged_over(gain, gains)
    over = [plural(levels, "level")] * (levels > 0) + [plural(seeds, "seed")]
    return f"mean over {' and '.join(over)}, {gain.n:,} test samples each"


def _chosen(reports: Sequence[ReportContent | MetricReport]) -> str:
    """What validation samples choose."""
    return "epochs and pools" if any(report.config.training.keep == "best" for report in reports) else "pools"

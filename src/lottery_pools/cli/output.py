"""What the commands print when they are done: tables and sentences for people, one JSON object for machines.

Modules that draw tables and figures are imported by the functions that need them, so that commands start at once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lottery_pools.errors import plain

if TYPE_CHECKING:
    from lottery_pools.experiment.estimate import Plan, Step
    from lottery_pools.experiment.sweep import SweepRun
    from lottery_pools.reporting.comparison import Reports
    from lottery_pools.reporting.content import ReportContent
    from lottery_pools.reporting.diagnosis import Diagnoses
    from lottery_pools.reporting.metric_report import MetricReport
    from lottery_pools.reporting.table import Table
    from lottery_pools.tickets.ticket import Ticket


def show_paths(kind: str, paths: Iterable[Path], as_json: bool) -> None:
    """Print paths in alphabetical order, one a line, or as a JSON object with the key `kind`."""
    names = sorted(map(str, paths))
    print(json.dumps({kind: names}) if as_json else "\n".join(map(plain, names)))


def show_plan(plan: Plan, as_json: bool) -> None:
    """Print what a command would do and cost, as `--dry-run` asks."""
    if as_json:
        print(json.dumps(dataclasses.asdict(plan)))
        return
    from lottery_pools.reporting import terminal, words

    print(plain(f"{plan.folder} ({'there already' if plan.exists else 'new'}): {plan.about}; {plan.machine}"))
    columns = ("part", "what", "in all", "done", "to do", "images", "about")
    terminal.table("Plan", columns, [_plan_row(step) for step in plan.steps])
    print(
        f"To do: {plan.operations:.2g} floating-point operations, {words.size(plan.written)} on disk, about "
        f"{words.duration(plan.seconds)}: an estimate from trying steps of this network on this machine just now."
    )
    print("Nothing was done.")


def _plan_row(step: Step) -> tuple[str, ...]:
    """One part of a plan as a line of its table."""
    from lottery_pools.reporting import words

    cost = step.cost
    counts = {
        "trained": cost.trained,
        "forwarded": cost.recalibrated + cost.forwarded,
        "corrupted": cost.corrupted,
    }
    images = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    items = map(str, (step.items, step.done, step.items - step.done))
    return (step.stage, step.detail, *items, images or "–", words.duration(step.seconds))


def show_report(folder: Path, page: Path | None, report: ReportContent | MetricReport, as_json: bool) -> None:
    """Print the outcome of the run in `folder`: its main tables, its gains, and where the page of its report is.

    `page` is None where the page could not be written.
    """
    from lottery_pools.reporting import metric_report, tables, terminal
    from lottery_pools.reporting.verdict import headline, headlines, verdict
    from lottery_pools.reporting.words import meaning_of_accuracy

    if isinstance(report, metric_report.MetricReport):
        gains = [dataclasses.asdict(gain) for gain in report.gains]
        if as_json:
            print(
                json.dumps(
                    {"folder": str(folder), "report": page and str(page), "metric": report.metric, "gains": gains}
                )
            )
            return
        _show_tables(metric_report.tables(report))
        terminal.say(verdict(headline(report.gains), report.gains, report.measure))
        _show_page(page)
        return
    if as_json:
        best = headline(report.gains)
        outcome = {
            "folder": str(folder),
            "report": page and str(page),
            "headline": None if best is None else dataclasses.asdict(best),
            "gains": [dataclasses.asdict(gain) for gain in report.gains],
        }
        print(json.dumps(outcome))
        return
    _show_tables((tables.by_level(report.rows, report.gains), tables.summary(report.rows, report.comparable)))
    terminal.say(*(verdict(gain, report.gains) for gain in headlines(report.gains) or (None,)))
    if meaning := meaning_of_accuracy(report.config.data.task):
        terminal.say(meaning)
    _show_page(page)


def _show_page(page: Path | None) -> None:
    """Print where the page of a report is."""
    if page is not None:
        print(f"Report: {page}")


def show_sweep(runs: Sequence[SweepRun], as_json: bool) -> None:
    """Print the runs of a sweep, their numbers, and how far each is."""
    if as_json:
        print(json.dumps([{**dataclasses.asdict(run), "folder": str(run.folder)} for run in runs]))
        return
    from lottery_pools.reporting import terminal

    lines = [
        (str(run.number), run.variant, str(run.seed), f"{run.tickets} of {run.levels}", f"{run.rows:,}") for run in runs
    ]
    terminal.table("Runs", ("number", "variant", "seed", "tickets", "rows"), lines)
    print("Nothing was done.")


def show_comparison(page: Path, reports: Reports, as_json: bool) -> None:
    """Print the tables of a comparison of several runs, and where its page is."""
    from lottery_pools.reporting import comparison

    if as_json:
        runs = [comparison.plain(name, report) for name, report in reports.items()]
        print(json.dumps({"report": str(page), "runs": runs}))
        return
    _show_tables(comparison.tables(reports))
    print(f"Comparison: {page}")


def show_diagnosis(diagnoses: Diagnoses, as_json: bool) -> None:
    """Print the tables of a diagnosis; as JSON a list, with one object a seed."""
    from lottery_pools.reporting import diagnosis

    if as_json:
        print(json.dumps(diagnoses))
        return
    makers = (
        diagnosis.barriers,
        diagnosis.overlap,
        diagnosis.attribution,
        diagnosis.ensemble,
        diagnosis.classes,
    )
    _show_tables(table_of(diagnoses) for table_of in makers)


def _show_tables(tables: Iterable[Table]) -> None:
    from lottery_pools.reporting import terminal

    for table in tables:
        terminal.show(table)


def show_ticket(file: Path, ticket: Ticket, metadata: Mapping[str, Any], as_json: bool) -> None:
    """Print what a ticket file holds: how many weights, how dense each layer is, and where the ticket came from."""
    from lottery_pools.reporting import terminal, words
    from lottery_pools.reporting.lineage import lineage
    from lottery_pools.tickets import masks

    layers = {name: masks.count({name: mask}) for name, mask in ticket.mask.items()}
    nonzero = sum(int((ticket.weights[name] != 0).sum()) for name in ticket.mask)
    if as_json:
        print(json.dumps({**metadata, "density": ticket.density, "nonzero": nonzero, "layers": layers}))
        return
    counts = f"{ticket.kept:,} of {ticket.prunable:,} prunable weights ({ticket.density:.1%})"
    print(plain(f"{file}: level {ticket.level}, {_made_by(ticket.origin)}, {counts}"))
    rows = [
        (name, f"{kept:,}", f"{prunable:,}", f"{kept / prunable:.1%}", words.bar(kept / prunable))
        for name, (kept, prunable) in layers.items()
    ]
    terminal.table("Density by layer", ("tensor", "kept", "prunable", "density", ""), rows)
    lines = list(lineage({"target": ticket.level, **ticket.origin}))
    if nonzero < ticket.kept:
        lines.insert(0, ("non-zero", f"{nonzero:,} of the {ticket.kept:,} that survive"))
    for name, text in lines:
        print(plain(f"{name and name + ':':<15} {text}"))


def _made_by(origin: Mapping[str, Any]) -> str:
    """How a ticket was made, in words, by what its file says of its origin."""
    if method := origin.get("method"):
        return f"pooled by {method}"
    step = origin.get("step")
    return "trained" if step is None else f"the rewind point, before step {step}"

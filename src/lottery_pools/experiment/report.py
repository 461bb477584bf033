"""What a folder holds, and what is made of it: the report, the comparison of several, the part worth sharing."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lottery_pools.config import toml
from lottery_pools.config.schema import Config
from lottery_pools.config.trust import NOT_RUN
from lottery_pools.errors import UserError
from lottery_pools.evaluation.metrics import accuracies, comparable, gains
from lottery_pools.experiment import placement, reading
from lottery_pools.reporting import corruption_tables, metric_report, page
from lottery_pools.reporting.comparison import Reports
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.diagnosis import Diagnoses
from lottery_pools.reporting.metric_report import MetricReport
from lottery_pools.runs import results, speeds
from lottery_pools.runs.disk import remove, write
from lottery_pools.runs.folder import remove_unfinished, run_folder
from lottery_pools.runs.rows import PoolRow, Row
from lottery_pools.runs.speeds import SpeedRow

Content = TypeVar("Content", ReportContent, MetricReport)

OTHER_FILE = "give another file with --out"
"""The advice if a report cannot be written where it belongs."""


class UnwrittenError(UserError):
    """A report that was made, but could not be written."""

    def __init__(self, reason: object, content: ReportContent | MetricReport) -> None:
        super().__init__(reason)
        self.content = content


def make(
    folder: Path, reference: Path | None = None, out: Path | None = None
) -> tuple[Path, ReportContent | MetricReport]:
    """Write the report of a folder's runs as `report.html` and `report.md` there, or `out`; returns path and report.

    Of runs that are measured by another metric than accuracy, `reference` is refused.

    With `reference`, another run's folder, there is a table of mean corruption errors (mCE) relative to its dense
    network, which the table names: raises UserError where either was not measured under corruption.

    Raises UnwrittenError, which has the report, where it cannot be written.
    """
    if reference is None and not toml.of_folder(folder, NOT_RUN).measures_accuracy:
        return _make_metric_report(folder, out or folder / "report.html")
    content, page_path = report_of(folder), out or folder / "report.html"
    if reference is not None:
        of, others, _ = read(reference)
        for name, rows in ((folder, content.rows), (reference, others)):
            if not any(row.severity for row in rows):
                raise UserError(
                    f"{name} has no rows under corruption, of which --reference is: measure them with "
                    f"`lottery-pools evaluate {name} --corruptions common`"
                )
        dense = [row for row in others if row.method == "ticket" and row.level == 0]
        table = corruption_tables.mce_by_level(content.rows, dense, f"the dense {of.model.name} of {of.name}")
        content = replace(content, extra=(table,))
    with _unwritten(content):
        write(page_path.with_suffix(".md"), page.markdown(content), OTHER_FILE)
        write(page_path, page.render(content), OTHER_FILE)
    return page_path, content


@contextmanager
def _unwritten(content: ReportContent | MetricReport) -> Iterator[None]:
    """Let an error of what is written while the context is open have the report."""
    try:
        yield
    except UserError as error:
        raise UnwrittenError(error, content) from error


def _make_metric_report(folder: Path, page_path: Path) -> tuple[Path, MetricReport]:
    """As `make`, of networks that are measured by another metric than accuracy."""
    content = metric_report_of(folder)
    with _unwritten(content):
        write(page_path.with_suffix(".md"), metric_report.page(content), OTHER_FILE)
        write(page_path, page.render_metric(content), OTHER_FILE)
    return page_path, content


def metric_report_of(folder: Path) -> MetricReport:
    """All that a report shows on a folder whose networks are measured by another metric than accuracy."""
    config = toml.of_folder(folder, NOT_RUN)
    rows, pools = reading.rows_and_pools(config, folder, results.read_metrics)
    config, compared = reading.inert(config), gains(rows)
    return MetricReport(
        config.name, rows, compared, config, pools, comparable=comparable(rows, compared), values=accuracies(rows)
    )


def compare(folders: Sequence[Path], out: Path) -> tuple[Path, Reports]:
    """Write a page that compares several runs; returns its path, and the runs by what they are called there.

    That is their settings' name, with the folder where two have the same. Raises UserError where a folder is named
    twice, or runs are measured by different metrics.
    """
    check_named_once(folders, "to compare them")
    by_accuracy = {folder: toml.of_folder(folder, NOT_RUN).measures_accuracy for folder in folders}
    reports = (
        _by_title({folder: report_of(folder) for folder in folders if by_accuracy[folder]}),
        _by_title({folder: metric_report_of(folder) for folder in folders if not by_accuracy[folder]}),
    )
    metrics = {"accuracy": next(iter(reports[0]), None), **{report.metric: name for name, report in reports[1].items()}}
    several = [f"{name} by {metric}" for metric, name in metrics.items() if name is not None]
    if len(several) > 1:
        raise UserError(f"the runs are measured by different metrics ({', '.join(several)}): compare those of one")
    chosen: Reports = reports[0] or reports[1]
    write(out, page.compare(chosen))
    return out, chosen


def check_named_once(folders: Sequence[Path], purpose: str) -> None:
    """Raise UserError where a folder is named twice; `purpose` says what they are named for."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"a folder is named twice: name each run once {purpose}")


def _by_title(read: Mapping[Path, Content]) -> dict[str, Content]:
    """Experiments by their settings' name, with the folder where two have the same."""
    titles = [content.title for content in read.values()]
    return {
        content.title if titles.count(content.title) == 1 else f"{content.title} ({folder})": content
        for folder, content in read.items()
    }


def publish(folder: Path, to: Path) -> None:
    """Write what is worth sharing of a run into the folder `to`: tables, settings, rows, recipes, speeds and the
    diagnosis, but no weights.

    `report` works there as in the run's own folder, and makes the same tables and page to the byte. Raises UserError
    where `to` holds a run: there the rows that were published would stand for all that it finds later.
    """
    if to.resolve() == folder.resolve():
        raise UserError(f"{to} holds a run: publish into a folder of its own")
    write_published(report_of(folder), to)


def write_published(content: ReportContent, to: Path) -> None:
    """Write what is worth sharing of an experiment into a folder, as `publish` does of a run."""
    if (to / "config.toml").exists() and not (to / "results.jsonl.xz").exists():
        raise UserError(f"{to} holds a run: publish into a folder of its own")
    remove_unfinished(to)
    # The rows come first: settings without them would be those of a run, into which nothing is published.
    write(to / "results.jsonl.xz", lzma.compress(results.to_lines(content.rows).encode()))
    write(to / "config.toml", toml.to_toml(content.config))
    write(to / "pools.jsonl", results.to_lines(content.pools))
    if content.speeds:
        write(to / "speeds.jsonl", speeds.to_lines(content.speeds))
    else:
        remove(to / "speeds.jsonl")
    if content.diagnoses:
        write(to / "diagnosis.json", "[\n" + ",\n".join(map(json.dumps, content.diagnoses)) + "\n]\n")
    else:
        remove(to / "diagnosis.json")
    write(to / "report.md", page.markdown(content))


@dataclass(frozen=True)
class Held:
    """What a folder holds of an experiment, from which all that its report shows follows."""

    config: Config
    rows: Sequence[Row]
    pools: Sequence[PoolRow]
    diagnoses: Diagnoses
    """One a seed; none where the experiment was not diagnosed."""
    speeds: Sequence[SpeedRow]


def report_of(folder: Path) -> ReportContent:
    """All that a report on a folder shows."""
    return content_of(held(folder))


def held(folder: Path) -> Held:
    """What a folder holds; of its diagnoses the one of most points that every seed has."""
    config, rows, pools = read(folder)
    if (folder / "results.jsonl.xz").exists():
        path = folder / "diagnosis.json"
        diagnoses = reading.read_json(path) if path.exists() else []
        if not (isinstance(diagnoses, list) and all(isinstance(seed, dict) and "pairs" in seed for seed in diagnoses)):
            raise UserError(f"{path} is no diagnosis: restore or delete it")
    else:
        paths = [run_folder(config, folder, seed).path for seed in config.seeds]
        names = set.intersection(*({path.name for path in run.glob("diagnosis_*.json")} for run in paths))
        best = sorted(names, key=lambda name: int(name.removeprefix("diagnosis_").removesuffix(".json")))[-1:]
        diagnoses = [reading.read_json(run / name) for name in best for run in paths]
    return Held(config, rows, pools, reading.inert(diagnoses), reading.speeds_of(config, folder))


def content_of(experiment: Held) -> ReportContent:
    """All that a report shows on what a folder holds."""
    compared = gains(experiment.rows)
    return ReportContent(
        experiment.config.name,
        experiment.rows,
        compared,
        experiment.pools,
        experiment.config,
        experiment.diagnoses,
        comparable=comparable(experiment.rows, compared),
        accuracies=accuracies(experiment.rows),
        speeds=experiment.speeds,
    )


def read(folder: Path) -> tuple[Config, list[Row], list[PoolRow]]:
    """The settings of an experiment's folder, the rows of its runs, and how its pools came about."""
    config = toml.of_folder(folder, NOT_RUN)
    if not config.measures_accuracy:
        raise UserError(
            f"{folder} is not measured by accuracy: `report` refers to and publishes accuracies only; "
            f"`lottery-pools report {folder}` makes its report"
        )
    published = folder / "results.jsonl.xz"
    if published.exists():
        rows, pools = results.read(published), results.read_pools(folder / "pools.jsonl")
        placement.check_rows(published, rows, config.seeds)
        return reading.inert(config), list(map(reading.inert_row, rows)), list(map(reading.inert, pools))
    return reading.inert(config), *reading.rows_and_pools(config, folder, results.read)

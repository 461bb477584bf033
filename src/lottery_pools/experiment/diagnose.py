"""Why the gains came about: the command `diagnose`, and what a worker does for one seed.

From tickets, pools and result rows follow the paths between tickets, the parts of the gains, why candidates were taken
or refused, the ensemble, and the gains by class.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError
from lottery_pools.evaluation import attribution, ensemble, paths
from lottery_pools.evaluation.evaluate import evaluate
from lottery_pools.experiment import conditions, networks, opening
from lottery_pools.experiment.conditions import CLEAN
from lottery_pools.experiment.execution import IN_A_TERMINAL, Watching, do, progress
from lottery_pools.experiment.opening import THIS_MACHINE
from lottery_pools.experiment.plan import Part, Task
from lottery_pools.experiment.reading import read_json
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.selection import logits
from lottery_pools.pooling.methods import defaults
from lottery_pools.pooling.recipe import Recipe
from lottery_pools.pooling.result import Trial
from lottery_pools.runs import results
from lottery_pools.runs.disk import digest, write
from lottery_pools.runs.engine import Machine, Workers
from lottery_pools.runs.rows import BASELINES, Row, unpack_hits
from lottery_pools.tickets.ticket import Ticket

EXPLAINED = defaults("single-label")
"""The methods whose gains are explained."""

Key = tuple[str, int, str, str, int]
"""What a row measures, as `Row.key`."""


def diagnose(
    config: Config,
    out: Path,
    machine: Machine = THIS_MACHINE,
    points: int = 5,
    watching: Watching = IN_A_TERMINAL,
) -> list[dict[str, Any]]:
    """Say why the gains of an experiment came about; each seed's diagnosis is kept in its run's folder.

    Args:
        config: the settings of the experiment.
        out: its folder, with the rows of `evaluate`.
        machine: where the work is done.
        points: how many places of the line between two tickets are measured, both ends included.
        watching: where progress is shown.

    Returns what `diagnosis_of_run` says of each seed. Raises UserError where the rows of a ticket are missing, and as
    `opening.resolve`.
    """
    if not config.measures_accuracy:
        metric = config.evaluation.metric or "R²"
        raise UserError(
            f"diagnose splits accuracies into their parts, {out} is measured by {metric}: see its gains and "
            f"recipes with `lottery-pools report {out}`, and its paths with lottery_pools.evaluation.paths.pairs"
        )
    experiment = opening.resolve(config, out, machine)
    for run in experiment.runs:
        _check_rows(run, out)
    made_anew = [Task((run, points), 1, int(_is_up_to_date(run, points))) for run in experiment.runs]
    part = Part("diagnosis", diagnosis_of_run, made_anew)

    def keep(task: Task, diagnosis: dict[str, Any]) -> None:
        write(_path(task.arguments[0], points), json.dumps(diagnosis, indent=1) + "\n")

    watched = progress(experiment.runs, lambda: ([part], _logged(part)), watching)
    with opening.hold(experiment), watched, Workers(machine) as workers:
        do(part, workers, keep)
    return [read_json(_path(run, points)) for run in experiment.runs]


def _check_rows(run: Run, out: Path) -> None:
    """Raise UserError where a run lacks rows of a ticket."""
    there = {row.key for row in run.rows()}
    needed = product(BASELINES, run.levels, CLEAN)
    if any((method, level, *condition) not in there for method, level, condition in needed):
        raise UserError(
            f"{run.folder.path} has no results of all tickets yet: run `lottery-pools evaluate {out}` first"
        )


def _path(run: Run, points: int) -> Path:
    return run.folder.path / f"diagnosis_{points}.json"


def _is_up_to_date(run: Run, points: int) -> bool:
    """Whether a run has a diagnosis of the rows that it has now."""
    path = _path(run, points)
    return path.exists() and bool(read_json(path).get("rows") == digest(run.folder.results))


def _logged(part: Part) -> dict[str, float]:
    """What the logs will count as done: pairs of tickets, and pools that are explained."""
    runs = [task.arguments[0] for task in part.left]
    pairs = sum(len(run.levels) * (len(run.levels) - 1) // 2 for run in runs)
    pools = sum(run.folder.pool(method, level).exists() for run in runs for method in EXPLAINED for level in run.levels)
    return {"diagnosis": pairs + pools}


def diagnosis_of_run(run: Run, points: int) -> dict[str, Any]:
    """Barriers, overlap, attribution, decisions, ensemble and classes of one seed's run, as plain values.

    Paths are measured on validation samples, so that nobody is tempted to choose by test; attribution, the ensemble
    and the classes are report, on test samples. `rows` is the digest of the rows that were there.
    """
    model = run.network()
    tickets = run.tickets(model)
    rows = {row.key: row for row in results.read(run.folder.results)}
    pairs = list(_pairs(run, model, tickets, points))
    explained = list(_explained(run, model, tickets, rows))

    def predict(network: nn.Module) -> Tensor:
        return logits(network, run.config, run.dataset, run.dataset.test)

    labels = run.dataset.test.labels.cpu()
    together = ensemble.ensemble(model, tickets, predict, labels, run.recalibrate, run.dataset.task)
    return {
        "seed": run.seed,
        "rows": digest(run.folder.results),
        "pairs": pairs,
        "attribution": [parts for parts, _ in explained],
        "decisions": [decision for _, decisions in explained for decision in decisions],
        "ensemble": {key: value for key, value in dataclasses.asdict(together).items() if key != "hits"},
        "classes": _classes(run, list(rows.values())),
    }


def _pairs(run: Run, model: nn.Module, tickets: Sequence[Ticket], points: int) -> Iterator[dict[str, Any]]:
    """How every two tickets relate."""
    for pair in paths.pairs(model, tickets, run.score, run.recalibrate, points):
        run.folder.event(stage="diagnosis", level=pair.second, done=1)
        yield dataclasses.asdict(pair)


def _explained(
    run: Run, model: nn.Module, tickets: Sequence[Ticket], rows: Mapping[Key, Row]
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(parts of the gain, what became of each candidate) of every pool that is explained and was measured."""
    for method, level in product(EXPLAINED, run.levels):
        path = run.folder.pool(method, level)
        if not path.exists() or (method, level, "test", "none", 0) not in rows:
            continue
        pooled = networks.load(run, method, level, model)
        where = {"method": method, "level": level}
        attribution.unpruned(model, tickets, Recipe.of(pooled), run.recalibrate)
        mixture = evaluate(model, run.dataset, run.dataset.test, run.config.training, run.config.evaluation.batch)
        parts = _parts(rows, method, level, mixture.accuracy)
        decisions = attribution.decisions(map(Trial.from_file, pooled.origin["trials"]))
        run.folder.event(stage="diagnosis", method=method, level=level, done=1)
        yield {**where, **parts}, [{**where, **dataclasses.asdict(decision)} for decision in decisions]


def _parts(rows: Mapping[Key, Row], method: str, level: int, mixture: float) -> dict[str, Any]:
    """The parts of one pool's gain; only the accuracy of the mixture before its last pruning is not among the rows."""

    def accuracy(name: str, split: str = "test") -> float:
        return rows[name, level, split, "none", 0].accuracy

    ticket, recalibrated, admissible = map(accuracy, BASELINES)
    measures = attribution.Measures(ticket, recalibrated, admissible, mixture, accuracy(method))
    on_validation = accuracy("recalibrated", "validation"), accuracy(method, "validation")
    return dataclasses.asdict(attribution.split_gain(measures, on_validation))


def _classes(run: Run, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each method, clean and corrupted, what every class gains on the ticket: share of its samples, all levels.

    With several labels a sample, the samples of a label are those that have it.
    """
    names = run.dataset.classes
    labels = {condition: conditions.samples_of(run, condition).labels.cpu().numpy() for condition in conditions.of(run)}
    by_key = {row.key: row for row in rows}
    tables = []
    methods = dict.fromkeys(row.method for row in rows if row.method != "ticket")
    for method, corrupted in product(methods, (False, True)):
        changed, measured = np.zeros(len(names)), np.zeros(len(names))
        for row in rows:
            condition = (row.split, row.corruption, row.severity)
            ticket = by_key.get(("ticket", row.level, *condition))
            if row.method != method or row.split != "test" or bool(row.severity) != corrupted or ticket is None:
                continue
            change = unpack_hits(row).astype(float) - unpack_hits(ticket)
            changed += _by_class(change, labels[condition], len(names))
            measured += _by_class(np.ones_like(change), labels[condition], len(names))
        if measured.any():
            gains = (changed / np.maximum(measured, 1)).round(6).tolist()
            tables.append({"method": method, "corrupted": corrupted, "gains": dict(zip(names, gains, strict=True))})
    return tables


def _by_class(values: NDArray[np.floating], labels: NDArray[Any], classes: int) -> NDArray[np.floating]:
    """The sum of the values of each class's samples, (classes,); labels are (n,) or, several a sample, (n, classes)."""
    if labels.ndim == 2:
        sums: NDArray[np.floating] = values @ labels
        return sums
    counted: NDArray[Any] = np.bincount(labels, values, classes)
    return counted

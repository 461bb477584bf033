"""Why one seed's gains came about, a piece of work like those of `work`: from tickets, pools and result rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from lottery_pools.evaluation import attribution, ensemble, paths
from lottery_pools.evaluation.evaluate import evaluate
from lottery_pools.experiment.selection import logits
from lottery_pools.experiment.tasks import Run, samples
from lottery_pools.pooling.pool import Recipe
from lottery_pools.pooling.result import Trial
from lottery_pools.runs import results
from lottery_pools.runs.folder import digest
from lottery_pools.runs.rows import Row, unpack_hits
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket

EXPLAINED = ("average", "interpolation", "trimmed-soup", "best")
"""The methods whose gains are attributed."""


def diagnose(run: Run, points: int) -> dict[str, Any]:
    """Barriers, overlap, attribution, decisions, ensemble and classes of one seed's run, as plain values.

    Paths are measured on validation samples, so that nobody is tempted to choose by test; attribution, the ensemble
    and the classes are report, on test samples. `rows` is the digest of the rows that were there.
    """
    model = run.network()
    tickets = run.tickets(model)
    rows = {row.key: row for row in results.read(run.folder.results)}
    pairs = []
    for pair in paths.pairs(model, tickets, run.score, run.recalibrate, points):
        pairs.append(dataclasses.asdict(pair))
        run.folder.event(stage="diagnosis", level=pair.second, done=1)
    parts: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    for method in EXPLAINED:
        for target in run.levels:
            if run.folder.pool(method, target).exists() and (method, target, "test", "none", 0) in rows:
                where = {"method": method, "level": target}
                origin = files.read_metadata(run.folder.pool(method, target))["origin"]
                recipe = Recipe.of(files.load(run.folder.pool(method, target), model))
                parts.append({**where, **_attribution(run, model, tickets, method, recipe, rows)})
                made = attribution.decisions(Trial.from_file(trial) for trial in origin["trials"])
                decisions += [{**where, **dataclasses.asdict(decision)} for decision in made]
                run.folder.event(stage="diagnosis", method=method, level=target, done=1)

    def predicted(model: nn.Module) -> Tensor:
        return logits(model, run.config, run.dataset, run.dataset.test)

    together = ensemble.ensemble(model, tickets, predicted, run.dataset.test.labels.cpu(), run.recalibrate)
    return {
        "seed": run.seed,
        "rows": digest(run.folder.results),
        "pairs": pairs,
        "attribution": parts,
        "decisions": decisions,
        "ensemble": {key: value for key, value in dataclasses.asdict(together).items() if key != "hits"},
        "classes": _classes(run, list(rows.values())),
    }


def _attribution(
    run: Run,
    model: nn.Module,
    tickets: Sequence[Ticket],
    method: str,
    recipe: Recipe,
    rows: Mapping[tuple[str, int, str, str, int], Row],
) -> dict[str, Any]:
    """The parts of one pool's gain: only the mixture before its last pruning is not among the rows."""
    attribution.unpruned(model, tickets, recipe, run.recalibrate)
    mixture = evaluate(model, run.dataset, run.dataset.test, run.config.training, run.config.evaluation.batch)

    def accuracy(name: str, split: str = "test") -> float:
        return rows[name, recipe.target, split, "none", 0].accuracy

    return dataclasses.asdict(
        attribution.split_gain(
            accuracy("ticket"),
            accuracy("recalibrated"),
            accuracy("admissible"),
            mixture.accuracy,
            accuracy(method),
            (accuracy("recalibrated", "validation"), accuracy(method, "validation")),
        )
    )


def _classes(run: Run, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each method, clean and corrupted, what every class gains on the ticket: share of its samples, all levels."""
    names, labels = (
        run.dataset.classes,
        {condition: samples(run, condition).labels.cpu().numpy() for condition in run.conditions},
    )
    by_key = {row.key: row for row in rows}
    found = []
    for method in dict.fromkeys(row.method for row in rows if row.method != "ticket"):
        for corrupted in (False, True):
            right, seen = np.zeros(len(names)), np.zeros(len(names))
            for row in rows:
                condition = (row.split, row.corruption, row.severity)
                ticket = by_key.get(("ticket", row.level, *condition))
                if row.method != method or row.split != "test" or bool(row.severity) != corrupted or ticket is None:
                    continue
                change = unpack_hits(row).astype(float) - unpack_hits(ticket)
                right += np.bincount(labels[condition], change, len(names))
                seen += np.bincount(labels[condition], minlength=len(names))
            if seen.any():
                gains = (right / np.maximum(seen, 1)).round(6).tolist()
                found.append({"method": method, "corrupted": corrupted, "gains": dict(zip(names, gains, strict=True))})
    return found

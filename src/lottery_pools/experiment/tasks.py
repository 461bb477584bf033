"""One seed's work, in pieces that a worker process does by itself: train, pool one target, measure one network."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config, Data
from lottery_pools.data import shifts, sources
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.errors import UserError
from lottery_pools.evaluation import cost
from lottery_pools.evaluation.evaluate import Measured, evaluate, measured
from lottery_pools.experiment.selection import Selection, hits, logits, recalibrate
from lottery_pools.pooling.methods import METHODS, PAPERS_RULE, find
from lottery_pools.runs import results
from lottery_pools.runs.folder import RunFolder, digest
from lottery_pools.runs.results import CONTROLS, ENSEMBLE, Row
from lottery_pools.tickets import files, imp
from lottery_pools.tickets.ticket import Ticket, load_into
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES
from lottery_pools.tickets.training import Epoch

OTHER_SEED, OTHER_RUN = CONTROLS
"""Controls: `interpolation` with the candidates of the experiment's next seed, or of a run that is named."""
Condition = tuple[str, str, int]
"""What a network is measured on: (split, corruption, severity)."""
CLEAN: tuple[Condition, ...] = (("validation", "none", 0), ("test", "none", 0))


@dataclass(frozen=True)
class Run:
    """One seed of an experiment: what a worker needs to know."""

    config: Config
    seed: int
    folder: RunFolder
    device: str
    sibling: RunFolder | None = None
    """Another seed's run, for the control that pools with its tickets."""
    other: RunFolder | None = None
    """A run that was named, for the control that pools with its tickets."""
    allow_other_run: bool = False

    @property
    def levels(self) -> range:
        return range(len(self.config.pruning.schedule()))

    @property
    def targets(self) -> tuple[int, ...]:
        return self.config.pooling.targets or tuple(self.levels)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Everything that a network is measured on: the clean splits, then every corruption at every severity."""
        evaluation = self.config.evaluation
        names = shifts.names(self.config.data, evaluation.corruptions)
        return (*CLEAN, *(("test", name, severity) for name in names for severity in evaluation.severities))

    @property
    def dataset(self) -> Dataset:
        return dataset(self.config.data, self.device)

    def network(self) -> nn.Module:
        return imp.network(self.config, self.dataset, self.seed)

    def tickets(self, model: nn.Module) -> list[Ticket]:
        return [files.load(self.folder.ticket(level), model) for level in self.levels]

    def base(self, model: nn.Module) -> Mapping[str, Tensor] | None:
        """The weights at the rewind point; None where the run has none, as one of imported checkpoints may."""
        return files.load(self.folder.rewind, model).weights if self.folder.rewind.exists() else None

    def candidates(self, method: str) -> RunFolder:
        """The run whose tickets are offered to a target."""
        if method not in CONTROLS:
            return self.folder
        found = self.sibling if method == OTHER_SEED else self.other
        if found is None:
            missing = "a second seed: give two or more with --seeds"
            raise UserError(
                f"method {method} needs {missing if method == OTHER_SEED else 'pool --candidates-from RUN'}"
            )
        return found

    def pool_of(self, method: str, target: int) -> dict[int, Path]:
        """The files of the tickets of a pool by level: the target's own, and all others of the candidates' run."""
        others = self.candidates(method)
        return {level: (self.folder if level == target else others).ticket(level) for level in self.levels}

    def selection(self, method: str, target: int = 0) -> Selection:
        """What a method's search is scored on; a control's, what that of the paper's rule is, by which it pools."""
        entry = find(PAPERS_RULE if method in CONTROLS else method)
        return Selection(self.config, self.dataset, self.seed, entry, target)

    def score(self, model: nn.Module) -> Tensor:
        """Which validation samples are predicted correctly, (n,) bool."""
        split = self.dataset.validation
        return hits(logits(model, self.config, self.dataset, split), split)

    def recalibrate(self, model: nn.Module) -> int:
        """Re-estimate BatchNorm as in every final network; returns how many images were forwarded."""
        return recalibrate(model, self.config, self.dataset, self.seed)


@cache
def dataset(data: Data, device: str) -> Dataset:
    """The data, once a process."""
    return sources.load(data).to(torch.device(device))


def train(run: Run) -> None:
    """The tickets of one seed."""
    epochs, images = run.config.training.epochs, len(run.dataset.train)

    def log(level: int, epoch: Epoch) -> None:
        run.folder.event(stage="training", level=level, epochs=epochs, done=3 * images, **dataclasses.asdict(epoch))

    for ticket in imp.tickets(run.config, run.dataset, run.folder, run.seed, log):
        run.folder.event(stage="ticket", level=ticket.level, density=ticket.density)


def pool(run: Run, method: str, target: int) -> None:
    """One pooled ticket with its recipe, saved."""
    path = run.folder.pool(method, target)
    run.folder.event(stage="pooling", method=method, level=target)
    model, selection = run.network(), run.selection(method, target)
    offered = run.pool_of(method, target)
    pooled, images = selection.pool(
        model,
        [files.load(file, model) for file in offered.values()],
        base=run.base(model),
        allow_other_run=method == OTHER_SEED or run.allow_other_run,
    )
    own = files.read_metadata(run.folder.ticket(target))["origin"]
    last = files.read_metadata(offered[run.levels[-1]])["origin"]
    origin = {
        **own,
        **pooled.ticket.origin,
        "target": target,
        "parents": {str(level): digest(file) for level, file in offered.items()},
        "candidates": os.path.relpath(run.candidates(method).path, run.folder.path),
        "scored_by": selection.method.scored_by,
        "score": pooled.score,
        "target_score": pooled.target_score,
        "optimism": pooled.optimism,
        "trials": [trial.to_file() for trial in pooled.trials],
        "search_images": images,
        "train_images": max(own["train_images"], last["train_images"]),
        "threads": torch.get_num_threads(),
        "device": run.device,
    }
    files.save(replace(pooled.ticket, origin=origin), path)
    run.folder.event(stage="pooling", method=method, level=target, accuracy=pooled.score, done=images)


def trained_baselines(run: Run) -> list[Run]:
    """The runs that train what the pools compete with, in folders below the run's own."""
    found = []
    for name in run.config.evaluation.trained_baselines:
        levels = run.targets if TRAINED_BASELINES[name].per_level else run.levels[-1:]
        found += [trained_baseline(run, name, level) for level in levels]
    return found


def trained_baseline(run: Run, name: str, level: int) -> Run:
    """The run that trains trained baseline `name`'s ticket of `level`."""
    entry = TRAINED_BASELINES[name]
    derived = entry.settings(run.config, len(run.dataset.train), level)
    path = run.folder.path / "trained_baselines" / name
    path = path / f"level_{level:02d}" if entry.per_level else path
    return replace(run, config=replace(derived, name=name), folder=RunFolder(path), sibling=None)


def networks(run: Run) -> list[tuple[str, int]]:
    """Every network of a run that is measured, (method, level): tickets, ensemble, pools, trained baselines."""
    found = [(method, level) for method in ("ticket", "recalibrated") for level in run.levels]
    found.append((ENSEMBLE, 0))
    for method in (*METHODS, *CONTROLS):
        found += [(method, level) for level in run.levels if run.folder.pool(method, level).exists()]
    for name in run.config.evaluation.trained_baselines:
        found += [(name, level) for level in (run.targets if TRAINED_BASELINES[name].per_level else run.levels)]
    return found


def ready(run: Run, condition: Condition) -> bool:
    """Whether the samples of a condition need no work that is worth sharing out."""
    path = shifts.cached(run.dataset, run.config.data, run.config.evaluation, *condition[1:]) if condition[2] else None
    return path is None or path.exists()


def corrupt(run: Run, condition: Condition) -> None:
    """One corruption of the test samples, made once and cached, before networks are measured on it."""
    samples(run, condition)


def samples(run: Run, condition: Condition) -> Split:
    split, corruption, severity = condition
    if severity:
        return shifts.shifted(run.dataset, run.config.data, run.config.evaluation, corruption, severity)
    return run.dataset.validation if split == "validation" else run.dataset.test


def measure(run: Run, method: str, level: int, conditions: tuple[Condition, ...]) -> list[Row]:
    """The rows of one network, one a condition; of the ensemble, the same for every level."""
    if method == ENSEMBLE:
        rows = _measure_ensemble(run, conditions)
    else:
        model = run.network()
        if method in ("ticket", "recalibrated"):
            path = run.folder.ticket(level)
        elif method in TRAINED_BASELINES:
            path = trained_baseline(run, method, level).folder.ticket(level)
        else:
            path = run.folder.pool(method, level)
        ticket = files.load(path, model)
        load_into(model, ticket.weights)
        search_images = ticket.origin.get("search_images", 0)
        if method == "recalibrated" or method in TRAINED_BASELINES:
            search_images = run.recalibrate(model)
        flops = cost.flops(model, run.dataset.input_shape, ticket.mask)
        spent = ticket.origin["train_images"], search_images, flops
        batch = run.config.evaluation.batch
        rows = []
        for condition in conditions:
            found = evaluate(model, run.dataset, samples(run, condition), run.config.training, batch)
            rows.append(_row(run, method, level, ticket.density, condition, spent, found))
    done = sum(row.n for row in rows)
    run.folder.event(stage="evaluation", method=method, level=level, accuracy=rows[-1].accuracy, done=done)
    return rows


def _measure_ensemble(run: Run, conditions: tuple[Condition, ...]) -> list[Row]:
    """The naive ensemble: the mean of the predicted probabilities of all recalibrated tickets, as many passes."""
    model = run.network()
    totals: dict[Condition, Tensor] = {}  # logs, for a probability may underflow
    images = flops = 0
    tickets = run.tickets(model)
    for ticket in tickets:
        load_into(model, ticket.weights)
        images += run.recalibrate(model)
        flops += cost.flops(model, run.dataset.input_shape, ticket.mask)
        for condition in conditions:
            found = logits(model, run.config, run.dataset, samples(run, condition)).cpu().log_softmax(1)
            totals[condition] = torch.logaddexp(totals[condition], found) if condition in totals else found
    spent = tickets[-1].origin["train_images"], images, flops
    measures = {
        condition: measured(total - math.log(len(tickets)), samples(run, condition).labels)
        for condition, total in totals.items()
    }
    return [
        _row(run, ENSEMBLE, ticket.level, ticket.density, condition, spent, measures[condition])
        for ticket in tickets
        for condition in conditions
    ]


def _row(
    run: Run,
    method: str,
    level: int,
    density: float,
    condition: Condition,
    spent: tuple[int, int, int],
    found: Measured,
) -> Row:
    train_images, search_images, flops = spent
    split, corruption, severity = condition
    return Row(
        run=run.config.name,
        seed=run.seed,
        method=method,
        level=level,
        density=density,
        split=split,
        corruption=corruption,
        severity=severity,
        n=len(found.hits),
        correct=int(found.hits.sum()),
        loss=found.loss,
        accuracy=found.accuracy,
        ece=found.ece,
        source=level,
        train_images=train_images,
        search_images=search_images,
        flops=flops,
        hits=results.pack_hits(found.hits),
        bins=found.bins if condition == CLEAN[-1] else (),
    )


def admissible(rows: list[Row]) -> list[Row]:
    """The rows of the best admissible ticket of every level that `rows` lack: those of the ticket taken over.

    It is the ticket at least as sparse as the target that is best on validation, recalibrated; the denser of equals.
    """
    done = {row.key for row in rows}
    own = [row for row in rows if row.method == "recalibrated"]
    added = []
    for level in sorted({row.level for row in own}):
        eligible = [row for row in own if row.split == "validation" and row.level >= level]
        best = max(eligible, key=lambda row: (row.accuracy, -row.level)).level
        taken = [replace(row, method="admissible", level=level, source=best) for row in own if row.level == best]
        added += [row for row in taken if row.key not in done]
    return added

"""One seed of an experiment: its settings, folder, data and network, and the ways in which it pools its tickets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config, Data
from lottery_pools.data import shifts, sources
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.data.record import DataRecord
from lottery_pools.errors import UserError
from lottery_pools.evaluation import cost
from lottery_pools.experiment import placement, ticket_cache
from lottery_pools.experiment.selection import Selection, logits, metric, recalibrate
from lottery_pools.models import registry
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.methods import (
    BY_SCORE,
    DEFAULT,
    METHODS,
    NOTHING_HELD_OUT,
    PAPERS_RULE,
    WITHOUT_LABELS,
    find,
)
from lottery_pools.runs import results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.ranks import of_this_process
from lottery_pools.runs.rows import CONTROLS, TUNED, MetricRow, Row, pooled_by
from lottery_pools.tickets import files, imp
from lottery_pools.tickets.ticket import Ticket
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

OTHER_SEED, OTHER_RUN = CONTROLS
"""Controls: the paper's rule with the candidates of the experiment's next seed, or of a run that is named."""
Condition = tuple[str, str, int]
"""What a network is measured on: (split, corruption, severity)."""
CLEAN: tuple[Condition, ...] = (("validation", "none", 0), ("test", "none", 0))


POOLED_BY = {
    "learning-rate-rewinding": (PAPERS_RULE, BY_SCORE, WITHOUT_LABELS, DEFAULT),
    # methods that choose by held-out samples would choose by what these tickets were trained on
    "held-out-training": (NOTHING_HELD_OUT,),
}
"""Trained baselines whose tickets are pooled too → the methods that pool them."""
TICKET_BYTES, TENSOR_BYTES = 1000, 80
"""Of a ticket file without its tensors, and of the name and shape of a tensor in it, about."""


@dataclass(frozen=True)
class OtherRun:
    """The run that a user names for the control `other-run`, which pools with that run's tickets."""

    candidates_from: Path | None = None
    """The folder of one seed's run; none: no run is named."""
    allow_other_run: bool = False
    """Whether its tickets may be of other data, settings or seed than the targets."""


@dataclass(frozen=True)
class Search:
    """One way to pool the targets of a run: a method, and the run whose tickets are its candidates."""

    name: str
    """What result rows and the folder of the pools call it: the method's name, or the name of a control."""
    method: Method
    candidates: RunFolder
    allow_other_run: bool = False
    """Whether the candidates may be of other data, settings or seed than the target."""


@dataclass(frozen=True)
class NetworkFacts:
    """What costs depend on of a network, which is the same in all runs of an experiment."""

    has_batchnorm: bool
    """Whether it is recalibrated."""
    ticket_bytes: int
    """Size of a ticket's file, about."""
    multiply_adds: int
    """Of one forward pass of one sample, dense."""


@dataclass(frozen=True)
class Run:
    """One seed of an experiment: all that a worker process needs to know to do a piece of its work."""

    config: Config
    seed: int
    folder: RunFolder
    device: str
    """Device that computes; `auto` is the best of the process that does the work."""
    sibling: RunFolder | None = None
    """The run of the experiment's next seed, for the control `other-seed`; none where there is one seed only."""
    other_run: OtherRun = OtherRun()
    """The run for the control `other-run`."""
    data: DataRecord | None = None
    """Where the data are and what identifies them; none: where the settings say, and the run is new."""

    @property
    def levels(self) -> range:
        """The levels of pruning that have a ticket: of RigL the last alone, else all, the dense network's, 0, first."""
        last = len(self.config.pruning.schedule()) - 1
        return range(last if self.config.pruning.criterion == "rigl" else 0, last + 1)

    @property
    def targets(self) -> tuple[int, ...]:
        """The levels that are pooled."""
        return self.config.pooling.targets or tuple(self.levels)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Everything that a network is measured on: the clean splits, then every corruption at every severity."""
        evaluation = self.config.evaluation
        names = shifts.names(self.config.data, evaluation.corruptions)
        return (*CLEAN, *(("test", name, severity) for name in names for severity in evaluation.severities))

    @property
    def dataset(self) -> Dataset:
        """The data, on the device of the run; loaded once a process. Raises UserError if they changed."""
        if self.data is None:
            return _dataset(self.config.data, self.device_here)
        dataset = _dataset(replace(self.config.data, name=self.data.place), self.device_here)
        self.data.check(dataset, self.folder.path)
        return dataset

    @property
    def device_here(self) -> str:
        """The device that computes in this process."""
        return str(Machine(self.device).torch_device())

    def network(self) -> nn.Module:
        """The dense network at its initialisation."""
        return imp.network(self.config, self.dataset, self.seed)

    def tickets(self, model: nn.Module) -> list[Ticket]:
        """The tickets of all levels, checked against their network `model`."""
        paths = {level: self.folder.ticket(level) for level in self.levels}
        tickets = ticket_cache.of_this_process().load(paths.values(), model)
        for (level, path), ticket in zip(paths.items(), tickets, strict=True):
            self.check_place(path, ticket, level)
        return tickets

    def check_place(self, path: Path, ticket: Ticket, level: int, method: str = placement.TRAINED) -> None:
        """Raise UserError unless a ticket is the one that its file's place in this run says."""
        placement.check(placement.place(path, level, self.config, self.seed, method), ticket.level, ticket.origin)

    def measured(self, method: str, level: int, model: nn.Module) -> Ticket:
        """The network that is measured, checked against `model` and its place; its file is `path`."""
        path = self.path(method, level)
        ticket = files.load(path, model)
        if method in TRAINED_BASELINES:
            self.trained_baseline(method, level).check_place(path, ticket, level)
        elif method in self.pools_of_baselines:
            baseline, pooled = self.pools_of_baselines[method]
            self.trained_baseline(baseline, level).check_place(path, ticket, level, pooled)
        else:
            is_trained = method in ("ticket", "recalibrated", *TUNED)
            self.check_place(path, ticket, level, placement.TRAINED if is_trained else method)
        return ticket

    def network_facts(self) -> NetworkFacts:
        """What costs depend on of the network, which is built for that."""
        model = self.network()
        tensors = model.state_dict()
        size = sum(int(tensor.numel()) * int(tensor.element_size()) for tensor in tensors.values())
        mask_bits = sum(int(tensors[name].numel()) for name in registry.prunable(model, self.config.model.prunable))
        return NetworkFacts(
            has_batchnorm=bool(tracked(model)),
            ticket_bytes=TICKET_BYTES + TENSOR_BYTES * len(tensors) + mask_bits // 8 + size,
            multiply_adds=cost.flops(model, self.dataset.input_shape),
        )

    # Pooling.

    def search(self, name: str) -> Search:
        """The way to pool that a name stands for: that of a method, or of a control.

        Raises UserError where no method has that name, and where a control lacks the other run.
        """
        if name == OTHER_SEED:
            if self.sibling is None:
                raise UserError(f"method {name} needs a second seed: give two or more with --seeds")
            return Search(name, METHODS[PAPERS_RULE], self.sibling, allow_other_run=True)
        if name == OTHER_RUN:
            if self.other_run.candidates_from is None:
                raise UserError(f"method {name} needs pool --candidates-from RUN")
            candidates = RunFolder(self.other_run.candidates_from)
            return Search(name, METHODS[PAPERS_RULE], candidates, self.other_run.allow_other_run)
        return Search(name, find(name), self.folder)

    def pool_of(self, search: Search, target: int) -> dict[int, Path]:
        """The files of the tickets that are pooled, by level: the target's own, and all others of the candidates."""
        folders = {level: self.folder if level == target else search.candidates for level in self.levels}
        return {level: folder.ticket(level) for level, folder in folders.items()}

    def selection(self, search: Search, target: int) -> Selection:
        """What the search for a target is scored on."""
        return Selection(self.config, self.dataset, self.seed, search.method, target)

    # Measuring.

    def rows(self) -> Sequence[Row] | Sequence[MetricRow]:
        """The rows that there are: of accuracies, or of the other metric that the settings name.

        Raises UserError where they are of another seed, or of several runs or sets of data.
        """
        path = self.folder.results
        rows: Sequence[Row] | Sequence[MetricRow]
        rows = results.read(path) if self.config.measures_accuracy else results.read_metrics(path)
        placement.check_rows(path, rows, (self.seed,))
        return rows

    def samples(self, condition: Condition) -> Split:
        """The samples of a condition."""
        split, corruption, severity = condition
        if severity:
            return shifts.shifted(self.dataset, self.config.data, self.config.evaluation, corruption, severity)
        return self.dataset.validation if split == "validation" else self.dataset.test

    def size(self, condition: Condition) -> int:
        """How many samples a condition has; makes none of them."""
        split, _, severity = condition
        if split == "validation":
            return len(self.dataset.validation)
        everything = len(self.dataset.test)
        return min(self.config.evaluation.corrupted or everything, everything) if severity else everything

    def is_ready(self, condition: Condition) -> bool:
        """Whether the samples of a condition need no work that is worth sharing out over workers."""
        _, corruption, severity = condition
        if not severity:
            return True
        cached = shifts.cached(self.dataset, self.config.data, self.config.evaluation, corruption, severity)
        return cached is None or cached.exists()

    def score(self, model: nn.Module) -> Tensor:
        """The metric of each validation sample, (n,): whether it is predicted correctly, as bool."""
        split = self.dataset.validation
        return metric(self.config)(logits(model, self.config, self.dataset, split), split.labels)

    def recalibrate(self, model: nn.Module) -> int:
        """Re-estimate BatchNorm as in every final network; returns how many images were forwarded."""
        return recalibrate(model, self.config, self.dataset, self.seed)

    def untuned(self, name: str, level: int) -> Path:
        """The file of the network that a control of `TUNED` fine-tunes."""
        return self.folder.ticket(level) if name == "tuned-ticket" else self.folder.pool(BY_SCORE, level)

    def path(self, method: str, level: int) -> Path:
        """The file of a network that is measured: a ticket, a pool, a tuned network, or a trained baseline's."""
        if method in ("ticket", "recalibrated"):
            return self.folder.ticket(level)
        if method in TUNED:
            return self.folder.tuned(method, level)
        if method in TRAINED_BASELINES:
            return self.trained_baseline(method, level).folder.ticket(level)
        if method in self.pools_of_baselines:
            baseline, pooled = self.pools_of_baselines[method]
            return self.trained_baseline(baseline, level).folder.pool(pooled, level)
        return self.folder.pool(method, level)

    # What is trained beside the tickets.

    def trained_baselines(self) -> list[Run]:
        """The runs that train what the pools are compared with, in folders below this run's own."""
        return [
            self.trained_baseline(name, level)
            for name in self.baseline_names
            for level in (self.targets if TRAINED_BASELINES[name].per_level else self.levels[-1:])
        ]

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """The trained baselines that are asked for, without retired ones, which only old folders name."""
        return tuple(name for name in self.config.evaluation.trained_baselines if name in TRAINED_BASELINES)

    @property
    def tuned_names(self) -> tuple[str, ...]:
        """The controls that are asked for in which networks are fine-tuned on the held-out samples."""
        return tuple(name for name in self.config.evaluation.trained_baselines if name in TUNED)

    @property
    def pools_of_baselines(self) -> dict[str, tuple[str, str]]:
        """What rows call the pools of a trained baseline's tickets → the baseline and the method."""
        return {
            pooled_by(name, method): (name, method) for name in self.baseline_names for method in self._pooling_of(name)
        }

    @property
    def own_methods(self) -> tuple[str, ...]:
        """The methods by which the tickets are pooled if this is the run of a trained baseline; none: they are not."""
        return self._pooling_of(self.config.name)

    def _pooling_of(self, baseline: str) -> tuple[str, ...]:
        """The methods that pool the tickets of a trained baseline; none that needs classes where there are none."""
        is_classifier = self.config.data.task == "single-label"
        return tuple(name for name in POOLED_BY.get(baseline, ()) if is_classifier or not METHODS[name].classifies)

    def trained_baseline(self, name: str, level: int) -> Run:
        """The run that trains the ticket of `level` of the trained baseline `name`."""
        baseline = TRAINED_BASELINES[name]
        settings = baseline.settings(self.config, self.dataset.epoch_size, level)
        path = self.folder.path / "trained_baselines" / name
        former = self.folder.path / "competitors" / name  # its name in folders of earlier versions
        if former.exists() and not path.exists():
            path = former
        path = path / f"level_{level:02d}" if baseline.per_level else path
        return replace(self, config=replace(settings, name=name), folder=RunFolder(path), sibling=None)


def recalibrates(method: str) -> bool:
    """Whether a network is recalibrated before it is measured: pools are already, and tickets are measured as saved."""
    return method == "recalibrated" or method in TUNED or method in TRAINED_BASELINES


@cache
def _dataset(data: Data, device: str) -> Dataset:
    """The data on a device, loaded once a process."""
    with of_this_process().first_on_machine():
        loaded = sources.load(data)
    return loaded.to(torch.device(device))

"""One seed of an experiment: its settings, folder, data, network, tickets and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config, Data
from lottery_pools.data import sources
from lottery_pools.data.dataset import Dataset
from lottery_pools.data.record import DataRecord
from lottery_pools.evaluation import cost
from lottery_pools.experiment import placement, ticket_cache
from lottery_pools.experiment.selection import logits, metric, recalibrate
from lottery_pools.models import registry
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.runs import results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.ranks import of_this_process
from lottery_pools.runs.rows import MetricRow, Row
from lottery_pools.tickets import imp
from lottery_pools.tickets.ticket import Ticket

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

    def rows(self) -> Sequence[Row] | Sequence[MetricRow]:
        """The rows that there are: of accuracies, or of the other metric that the settings name.

        Raises UserError where they are of another seed, or of several runs or sets of data.
        """
        path = self.folder.results
        rows: Sequence[Row] | Sequence[MetricRow]
        rows = results.read(path) if self.config.measures_accuracy else results.read_metrics(path)
        placement.check_rows(path, rows, (self.seed,))
        return rows

    def score(self, model: nn.Module) -> Tensor:
        """The metric of each validation sample, (n,): whether it is predicted correctly, as bool."""
        split = self.dataset.validation
        return metric(self.config)(logits(model, self.config, self.dataset, split), split.labels)

    def recalibrate(self, model: nn.Module) -> int:
        """Re-estimate BatchNorm as in every final network; returns how many images were forwarded."""
        return recalibrate(model, self.config, self.dataset, self.seed)


@cache
def _dataset(data: Data, device: str) -> Dataset:
    """The data on a device, loaded once a process."""
    with of_this_process().first_on_machine():
        loaded = sources.load(data)
    return loaded.to(torch.device(device))

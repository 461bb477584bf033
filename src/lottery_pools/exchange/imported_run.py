"""Checkpoints of other software as a run's folder, which the experiments pool, measure, diagnose and report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lottery_pools.config.schema import Config
from lottery_pools.config.toml import to_toml
from lottery_pools.data import record
from lottery_pools.data.dataset import Dataset
from lottery_pools.data.record import DataRecord
from lottery_pools.errors import UserError
from lottery_pools.exchange import checkpoint, normalisation
from lottery_pools.exchange.checkpoint import Place, Reading
from lottery_pools.exchange.read import checkpoints_in, read_several
from lottery_pools.models import registry
from lottery_pools.runs.disk import write
from lottery_pools.runs.folder import RunFolder, lock
from lottery_pools.tickets import checks, files, imp, masks
from lottery_pools.tickets.schedule import steps_per_epoch
from lottery_pools.tickets.ticket import Ticket, check_fit, shapes


@dataclass(frozen=True)
class Import:
    """What a run of imported tickets is to be like."""

    config: Config
    """Settings of the experiment, with the densities of the tickets."""
    dataset: Dataset
    """The data of these settings."""
    model: nn.Module
    """Their network."""

    @property
    def origin(self) -> dict[str, Any]:
        """What every ticket of the run says of itself."""
        seed = self.config.seeds[0]
        return imp.origin(self.config.of_seed(seed), self.dataset, seed)


def import_run(
    tickets: Iterable[Ticket] | Iterable[Place] | Place,
    out: str | Path,
    config: Config,
    dataset: Dataset,
    *,
    rewind: Ticket | Mapping[str, Tensor] | Place | None = None,
    train_images: Sequence[int] | None = None,
) -> Config:
    """Write a run's folder of checkpoints that other software trained.

    A network that has the mean and deviation of images as buffers normalises them itself. It is then given images from
    0 to 1 (`data.mean` and `data.std` become 0 and 1), unless the settings say otherwise; a notice says so.

    Args:
        tickets: What `lp.read` returned; or checkpoints, or their folder, which are read with the settings' network.
        out: The folder. There must be no run in it.
        config: The experiment's settings, of one seed: data, model, which tensors are prunable, pooling, evaluation.
            Its training should be that of the checkpoints, as far as known. Its densities are set to theirs.
        dataset: The data of these settings: `data.sources.load(config.data)`.
        rewind: The weights at the rewind point, which the methods `ties` and `model-stock` need.
        train_images: Training images that each ticket cost, those of the tickets before it included, the densest first;
            none: 0, which stands for unknown.

    Returns:
        The settings as they were written, with which `experiment.stages` goes on.

    Raises:
        UserError: As `lp.read`; if the settings, the data and the network do not go together, the network is not that
            of the checkpoints, other tensors are pruned than `model.prunable` says, or the folder holds a run.

    Example:
        ```python
        config = toml.preset("mine.toml")
        config = import_run("checkpoints", "runs/theirs", config, sources.load(config.data))
        stages.pool(config, Path("runs/theirs"))
        stages.evaluate(config, Path("runs/theirs"))
        ```
    """
    check_new(Path(out))
    if len(config.seeds) != 1:
        raise UserError(f"an imported run has one seed, these settings have {len(config.seeds)}: give one with seeds")
    if config.evaluation.trained_baselines:
        raise UserError("trained baselines need the training of the tickets, which was elsewhere: leave them out")
    model = imp.network(config, dataset, config.seeds[0])
    ordered = _ordered(_tickets(tickets, model, config), model)
    config, dataset = normalisation.as_the_network_does(config, dataset, model, ordered[0].weights)
    checks.check_settings(config, dataset)
    _check_prunable(ordered[0], registry.prunable(model, config.model.prunable))
    if train_images is not None and len(train_images) != len(ordered):
        raise UserError(f"{len(ordered)} tickets and {len(train_images)} counts of training images: give one for each")
    densities = tuple(ticket.density for ticket in ordered[1:])
    config = replace(config, pruning=replace(config.pruning, levels=len(densities), densities=densities))
    _write(Import(config, dataset, model), RunFolder(Path(out)), ordered, train_images, rewind)
    return config


def check_new(folder: Path) -> None:
    """Raise UserError if there is a run in the folder."""
    if RunFolder(folder).config.exists():
        raise UserError(f"{folder} holds a run already: choose another folder")


def _tickets(given: Iterable[Ticket] | Iterable[Place] | Place, model: nn.Module, config: Config) -> Sequence[Ticket]:
    """The tickets that were given, or those of the checkpoints that were."""
    if isinstance(given, str | os.PathLike):
        place = Path(given)
        given = checkpoints_in(place) if place.is_dir() else [place]
    items = list(given)
    tickets = [item for item in items if isinstance(item, Ticket)]
    paths = [Path(item) for item in items if not isinstance(item, Ticket)]
    if tickets and paths:
        raise UserError("tickets and checkpoints together: read the checkpoints first, with lp.read")
    return tickets or read_several(paths, Reading(model=model, prunable=config.model.prunable))


def _ordered(tickets: Sequence[Ticket], model: nn.Module) -> list[Ticket]:
    """The tickets, the densest first; raises UserError if one is of another network, or two have one density."""
    for ticket in tickets:
        check_fit(model, shapes(ticket.weights), f"the weights of the ticket of level {ticket.level}")
    ordered = sorted(tickets, key=lambda ticket: -ticket.density)
    for dense, sparse in pairwise(ordered):
        if set(dense.mask) != set(sparse.mask):
            raise UserError("the tickets have masks of different tensors: read them together, with one lp.read")
        if dense.kept == sparse.kept:
            raise UserError(f"two tickets have density {dense.density:.4f}: give one of them")
    return ordered


def _check_prunable(ticket: Ticket, prunable: Sequence[str]) -> None:
    """Raise UserError unless the tensors with masks are those that the settings call prunable."""
    if differing := sorted(set(ticket.mask) ^ set(prunable)):
        where = (
            "the checkpoints, not in the settings"
            if differing[0] in ticket.mask
            else "the settings, not in the checkpoints"
        )
        raise UserError(f'{differing[0]!r} is prunable in {where}: set model.prunable = "{", ".join(ticket.mask)}"')


def _write(
    run: Import,
    folder: RunFolder,
    tickets: Sequence[Ticket],
    train_images: Sequence[int] | None,
    rewind: Ticket | Mapping[str, Tensor] | Place | None,
) -> None:
    """Write the run's files, its settings last: without them the folder is no run."""
    start = None if rewind is None else _rewind_point(rewind, run, tickets[0])
    with lock(folder.path):
        if start is not None:
            files.save(start, folder.rewind)
        for level, ticket in enumerate(tickets):
            spent = 0 if train_images is None else train_images[level]
            origin = {**ticket.origin, **run.origin, "train_images": spent, "density": ticket.density}
            files.save(replace(ticket, level=level, origin=origin), folder.ticket(level))
        record.save(DataRecord.of(run.dataset, run.config.data.name), folder.data)
        write(folder.config, to_toml(run.config))


def _rewind_point(rewind: Ticket | Mapping[str, Tensor] | Place, run: Import, densest: Ticket) -> Ticket:
    """The dense network at the rewind point, as a ticket."""
    if isinstance(rewind, str | os.PathLike):
        weights = checkpoint.network(Path(rewind), Reading(model=run.model)).weights
    else:
        weights = rewind.weights if isinstance(rewind, Ticket) else rewind
    check_fit(run.model, shapes(weights), "the weights of the rewind point")
    pruning, training = run.config.pruning, run.config.training
    per_epoch = steps_per_epoch(len(run.dataset.train), training.batch) if pruning.rewind_unit == "epochs" else 1
    origin = {**run.origin, "step": pruning.rewind * per_epoch}
    return Ticket(weights, masks.dense(weights, densest.mask), 0, origin)

"""Iterative magnitude pruning: train, prune, rewind, again (Frankle & Carbin, ICLR 2019; Frankle et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config
from lottery_pools.config.toml import identity
from lottery_pools.data.dataset import Dataset
from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.models import registry
from lottery_pools.runs.folder import RunFolder, checkpoint_of, remove_unfinished_level
from lottery_pools.runs.ranks import of_this_process
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets import files, masks, measures, retraining
from lottery_pools.tickets.averaging import blend, refit_batchnorm
from lottery_pools.tickets.schedule import rewind_step
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot
from lottery_pools.tickets.training import Epoch, TrainingRun, train

OnEpoch = Callable[[int, Epoch], None]
"""What is called after each epoch of training, with the level and the epoch."""


@dataclass(frozen=True, eq=False)
class PruningRun:
    """Everything that is the same for all levels of one seed."""

    config: Config
    dataset: Dataset
    folder: RunFolder
    seed: int
    model: nn.Module
    """The network, at its initialisation until level 0 is trained; all levels are trained in it, one after another."""
    prunable: tuple[str, ...]
    """The names of the prunable tensors."""
    rewind_step: int
    """The step of the rewind point."""
    origin: Mapping[str, Any]
    """The entries that the origins of all tickets have in common."""


@dataclass(frozen=True, eq=False)
class Level:
    """One level, whose ticket is to be made."""

    number: int
    density: float
    mask: Mapping[str, Tensor]
    previous: Ticket | None
    """The ticket of the level before; None for the dense level."""

    @property
    def images_before(self) -> int:
        """The training images that all levels before this one cost together."""
        return self.previous.origin["train_images"] if self.previous is not None else 0


def tickets(
    config: Config, dataset: Dataset, folder: RunFolder, seed: int, on_epoch: OnEpoch = lambda level, epoch: None
) -> Iterator[Ticket]:
    """Yield the ticket of every level, the dense one first. A ticket without a file is trained and saved first.

    Level k prunes the weights of ticket k - 1 to the k-th density of `config.pruning`, then trains the survivors from
    where `config.pruning.after` says. With `config.pruning.copies` = m > 1, every level but the dense one trains m
    networks with the same mask from there, each on batches of its own. Their mean, with BatchNorm refitted, is the
    ticket. If they start from the survivors of the last mean, this is Sparse Model Soups (Zimmer et al., ICLR 2024,
    arXiv 2306.16788); if from the rewind point, the particles of SWAMP (Choi et al., ICLR 2024, arXiv 2305.14852). A
    finished copy is kept on disk until its level is done.

    Args:
        config: The settings.
        dataset: The data set that the settings name.
        folder: The folder in which the tickets are kept.
        seed: The seed of all random numbers.
        on_epoch: Called after each epoch of training.

    Raises:
        UserError: If a density would keep no weight, or the loss is no longer finite; finished levels stay on disk.
    """
    run = pruning_run(config, dataset, folder, seed)
    ticket: Ticket | None = None
    for number, density in enumerate(config.pruning.schedule()):
        path, copy_paths = folder.ticket(number), _copy_paths(run, number)
        if not path.exists():
            level = Level(number, density, _mask(run, ticket, density), ticket)
            for copy, copy_path in enumerate(copy_paths):
                if not copy_path.exists():
                    _load_starting_point(run, level)
                    _train_copy(run, level, copy, on_epoch)
            if len(copy_paths) > 1:
                _save_mean_of_copies(run, level)
        remove_unfinished_level(path)
        ticket = files.load(path, run.model)
        yield ticket


def network(config: Config, dataset: Dataset, seed: int) -> nn.Module:
    """The dense network that the settings name, at the initialisation of a seed, on the device of the data."""
    model = registry.build(config.model.name, config.model.arguments, len(dataset.classes), dataset.input_shape, seed)
    return model.to(dataset.device)


def origin(config: Config, dataset: Dataset, seed: int) -> dict[str, Any]:
    """What every ticket of a run says of itself: settings, seed, data, network, and how samples become its inputs."""
    return {
        "config": identity(tickets_config(config)),
        "seed": seed,
        "data": config.data.name,
        **data_origin(dataset),
        "model": {
            "name": config.model.name,
            "arguments": dict(config.model.arguments),
            "classes": len(dataset.classes),
            "input_shape": list(dataset.input_shape),
        },
        **({} if dataset.task == "single-label" else {"task": dataset.task}),
    }


def data_origin(dataset: Dataset) -> dict[str, Any]:
    """What a ticket says of its data: what identifies them, if it is known, and how samples become inputs."""
    identified = {"data_digest": dataset.digest} if dataset.digest else {}
    return {**identified, "preprocessing": Preprocessing.of(dataset).to_json()}


def tickets_config(config: Config) -> tuple[Any, ...]:
    """The settings that tickets depend on: if these and the seed are equal, the tickets are the same to the byte."""
    return config.data, config.model, config.training, config.pruning


def next_mask(previous: Ticket, density: float, scope: Any, criterion: str, seed: int) -> dict[str, Tensor]:
    """The mask of the next level: exactly round(density × prunable) of the weights that survive in `previous`.

    Args:
        previous: The ticket of the level before.
        density: Surviving / prunable weights of the next level.
        scope: `global` or `layer`, as in `masks.prune`.
        criterion: `magnitude` or `random`.
        seed: Of the run: random scores follow from it and the level.

    Raises:
        UserError: If no weight would survive.
    """
    level = previous.level + 1
    keep = masks.surviving(density, previous.prunable, level)
    if criterion == "random":
        scores = masks.random_scores(previous.mask, generator(seed, "prune", level))
    else:
        scores = masks.magnitude(previous.weights, previous.mask)
    return masks.prune(scores, dict(previous.mask), keep, scope)


def pruning_run(config: Config, dataset: Dataset, folder: RunFolder, seed: int) -> PruningRun:
    """What is the same for all levels of one seed, with the network at its initialisation."""
    model = network(config, dataset, seed)
    prunable = registry.prunable(model, config.model.prunable)
    step = rewind_step(config, dataset.epoch_size)
    return PruningRun(config, dataset, folder, seed, model, prunable, step, origin(config, dataset, seed))


def _mask(run: PruningRun, previous: Ticket | None, density: float) -> dict[str, Tensor]:
    """The mask of the level after `previous`; of the dense level if there is none."""
    if previous is None:
        return masks.dense(run.model.state_dict(), run.prunable)
    return next_mask(previous, density, run.config.pruning.scope, run.config.pruning.criterion, run.seed)


def _load_starting_point(run: PruningRun, level: Level) -> None:
    """Give the model the weights that the training of a level begins with. For the dense level it has them already."""
    if level.previous is None:
        return
    match run.config.pruning.after:
        case "rewind":
            weights = files.load(run.folder.rewind, run.model).weights
        case "reinitialise":
            fresh = network(run.config, run.dataset, derive(run.seed, "reinitialise", level.number))
            weights = fresh.state_dict()
        case "learning-rate" | "fine-tune":
            weights = level.previous.weights
    load_into(run.model, masks.apply(weights, level.mask))


def _train_copy(run: PruningRun, level: Level, copy: int, on_epoch: OnEpoch) -> None:
    """Train one network of a level from the weights that the model has, and save it."""
    path = _copy_paths(run, level.number)[copy]
    training = replace(
        _training_run(run, level),
        seed=derive(run.seed, "copy", copy) if copy else run.seed,
        checkpoint=checkpoint_of(path),
    )
    trained = train(run.model, level.mask, training, lambda epoch: on_epoch(level.number, replace(epoch, copy=copy)))
    origin = {
        **run.origin,
        "epoch": trained.epoch,
        measures.NAMES[run.dataset.task]: trained.accuracy,
        "train_images": level.images_before + trained.images,
        "density": level.density,
        **_kernels(run.dataset.device),
    }
    files.save(Ticket(trained.weights, level.mask, level.number, origin), path)
    of_this_process().wait()


def _kernels(device: torch.device) -> dict[str, Any]:
    """What the origin of a ticket says of a GPU: whether another run gives the same bytes. Of other devices nothing."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    return {} if device.type != "cuda" else {"gpu": torch.cuda.get_device_name(device), "deterministic": deterministic}


def _training_run(run: PruningRun, level: Level) -> TrainingRun:
    """From which step to which a level is trained, and at which learning rate."""
    if level.previous is None:
        whole = TrainingRun(run.config.training, run.dataset, run.seed, level.number)
        return replace(whole, at_step=(run.rewind_step, partial(_save_rewind_point, run)))
    return retraining.training_run(run.config, run.dataset, run.seed, level.previous, level.mask)


def _save_rewind_point(run: PruningRun) -> None:
    """Save the dense weights that the model has now, in place of those of an attempt that went no further."""
    weights = snapshot(run.model)
    ticket = Ticket(weights, masks.dense(weights, run.prunable), 0, {**run.origin, "step": run.rewind_step})
    files.save(ticket, run.folder.rewind)


def _save_mean_of_copies(run: PruningRun, level: Level) -> None:
    """Save the equal-weight mean of a level's copies, BatchNorm refitted, as its ticket."""
    copies = [files.load(path, run.model) for path in _copy_paths(run, level.number)]
    mean = dict(copies[0].weights)
    for n, copy in enumerate(copies[1:], start=2):  # read one at a time
        blend(mean, copy.weights, 1 / n)
    load_into(run.model, mean)
    refit_batchnorm(run.model, run.dataset, run.config.training, run.seed, level.number)
    images = level.images_before + sum(copy.origin["train_images"] - level.images_before for copy in copies)
    origin = {**run.origin, "copies": len(copies), "train_images": images, "density": level.density}
    ticket = Ticket(snapshot(run.model), level.mask, level.number, origin)
    files.save(ticket, run.folder.ticket(level.number))
    of_this_process().wait()


def _copy_paths(run: PruningRun, level: int) -> list[Path]:
    """The files of the networks that are trained for a level. A single network is saved as the ticket itself."""
    copies = run.config.pruning.copies if level else 1
    return [run.folder.ticket(level)] if copies == 1 else [run.folder.copy(level, copy) for copy in range(copies)]

"""Iterative magnitude pruning: train, prune, rewind, again (Frankle & Carbin, 2019; Frankle et al., 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.config import Config, identity
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError
from lottery_pools.models import registry
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot
from lottery_pools.tickets.training import Epoch, rate, steps_per_epoch, train

Report = Callable[[int, Epoch], None]


def network(config: Config, dataset: Dataset, seed: int) -> nn.Module:
    """The dense network at its initialisation, on the data's device."""
    model = registry.build(config.model.name, config.model.arguments, len(dataset.classes), dataset.input_shape, seed)
    return model.to(dataset.train.images.device)


def tickets(
    config: Config, dataset: Dataset, folder: RunFolder, seed: int, report: Report = lambda level, epoch: None
) -> Iterator[Ticket]:
    """Yield the ticket of every level, dense first, each from its file where it exists, else trained and saved.

    Level k prunes the weights of ticket k - 1 to the k-th density of `config.pruning`, then trains the survivors from
    where `config.pruning.after` says. Raises UserError where the density would keep no weight, or the loss diverges.
    """
    model = network(config, dataset, seed)
    names = registry.prunable(model, config.model.prunable)
    pruning = config.pruning
    rewind_step = _rewind_step(config, dataset)
    rewind_file = folder.path / "tickets" / "rewind.safetensors"
    origin = {
        "config": identity(tickets_config(config)),
        "seed": seed,
        "data": config.data.name,
        "model": {
            "name": config.model.name,
            "arguments": dict(config.model.arguments),
            "classes": len(dataset.classes),
            "input_shape": list(dataset.input_shape),
        },
    }

    def keep_rewind_point() -> None:
        if not rewind_file.exists():
            dense = snapshot(model)
            files.save(Ticket(dense, masks.dense(dense, names), 0, {**origin, "step": rewind_step}), rewind_file)

    previous: Ticket | None = None
    for level, density in enumerate(pruning.schedule()):
        path = folder.ticket(level)
        if not path.exists():
            run: dict[str, Any] = {}
            if previous is None:
                mask = masks.dense(model.state_dict(), names)
                run["at_step"] = (rewind_step, keep_rewind_point)
            else:
                mask = next_mask(previous, density, pruning.scope, pruning.criterion, seed)
                run = _starting_point(config, dataset, model, previous, mask, seed, rewind_file, rewind_step)
            checkpoint = path.with_name(f"{path.stem}.partial.safetensors")
            trained = train(
                model,
                mask,
                dataset,
                config.training,
                seed,
                level,
                checkpoint=checkpoint,
                report=partial(report, level),
                **run,
            )
            images = trained.images + (previous.origin["train_images"] if previous else 0)
            chosen = {"epoch": trained.epoch, "accuracy": trained.accuracy, "train_images": images}
            files.save(Ticket(trained.weights, mask, level, {**origin, **chosen, "density": density}), path)
            checkpoint.unlink(missing_ok=True)
        previous = files.load(path, model)
        yield previous


def next_mask(previous: Ticket, density: float, scope: Any, criterion: str, seed: int) -> dict[str, Tensor]:
    """The mask of the next level: exactly round(density × prunable) of the survivors of `previous`."""
    level = previous.level + 1
    keep = _kept(density, previous.prunable, level)
    if criterion == "random":
        scores = masks.random_scores(previous.mask, generator(seed, "prune", level))
    else:
        scores = masks.magnitude(previous.weights, previous.mask)
    return masks.prune(scores, dict(previous.mask), keep, scope)


def _starting_point(
    config: Config,
    dataset: Dataset,
    model: nn.Module,
    previous: Ticket,
    mask: Mapping[str, Tensor],
    seed: int,
    rewind_file: Any,
    rewind_step: int,
) -> dict[str, Any]:
    """Load the weights that the next level starts from; say from which step to which, and at which rate."""
    after = config.pruning.after
    if after == "rewind":
        load_into(model, masks.apply(files.load(rewind_file, model).weights, mask))
        return {"start": rewind_step}
    if after == "reinitialise":
        fresh = network(config, dataset, derive(seed, "reinitialise", previous.level + 1))
        load_into(model, masks.apply(fresh.state_dict(), mask))
        return {"start": 0}
    load_into(model, masks.apply(previous.weights, mask))
    if after == "learning-rate":
        return {"start": rewind_step}
    per_epoch = steps_per_epoch(len(dataset.train), config.training.batch)
    last = config.training.epochs * per_epoch - 1
    steps = config.pruning.fine_tune_epochs * per_epoch
    return {"start": 0, "stop": steps, "fixed_rate": rate(config.training, last / per_epoch)}


def tickets_config(config: Config) -> tuple[Any, ...]:
    """The settings that tickets depend on: with these equal, and the seed, they are the same to the byte."""
    return config.data, config.model, config.training, config.pruning


def check(config: Config, dataset: Dataset) -> None:
    """Raise UserError where the settings, data and model do not go together, before any work is done."""
    model = network(config, dataset, config.seeds[0])
    names = registry.prunable(model, config.model.prunable)
    shared = [p for _, p in model.named_parameters(remove_duplicate=False)]
    for name in names:
        if sum(model.get_parameter(name) is other for other in shared) > 1:
            raise UserError(
                f"prunable tensor {name!r} is tied to another: leave it out with a pattern in model.prunable"
            )
    prunable = sum(model.state_dict()[name].numel() for name in names)
    _rewind_step(config, dataset)
    for level, density in enumerate(config.pruning.schedule()):
        _kept(density, prunable, level)
    model.eval()
    with torch.inference_mode():
        output = model(dataset.normalise(dataset.validation.images[:2].to(dataset.mean.device)))
    if output.shape != (2, len(dataset.classes)):
        raise UserError(
            f"model {config.model.name!r} gives {tuple(output.shape)} for two samples, {config.data.name!r} has "
            f"{len(dataset.classes)} classes: make the model output (batch, {len(dataset.classes)})"
        )


def _rewind_step(config: Config, dataset: Dataset) -> int:
    per_epoch = steps_per_epoch(len(dataset.train), config.training.batch)
    step = config.pruning.rewind * (per_epoch if config.pruning.rewind_unit == "epochs" else 1)
    if step >= config.training.epochs * per_epoch:
        raise UserError(f"pruning.rewind is step {step}: training has only {config.training.epochs * per_epoch} steps")
    return step


def _kept(density: float, prunable: int, level: int) -> int:
    """Exactly how many weights survive at a density."""
    if (keep := round(density * prunable)) < 1:
        raise UserError(
            f"density {density:g} of level {level} keeps none of {prunable} prunable weights: "
            "lower pruning.levels or take a larger network"
        )
    return keep

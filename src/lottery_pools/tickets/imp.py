"""Iterative magnitude pruning: train, prune, rewind, again (Frankle & Carbin, 2019; Frankle et al., 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lottery_pools.config.schema import Config
from lottery_pools.config.toml import identity
from lottery_pools.config.variants import scaled
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError
from lottery_pools.models import registry
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.averaging import blend
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot
from lottery_pools.tickets.training import Epoch, rate, refit_batchnorm, steps_per_epoch, train

Report = Callable[[int, Epoch], None]


def network(config: Config, dataset: Dataset, seed: int) -> nn.Module:
    """The dense network at its initialisation, on the data's device."""
    model = registry.build(config.model.name, config.model.arguments, len(dataset.classes), dataset.input_shape, seed)
    return model.to(dataset.device)


def tickets(
    config: Config, dataset: Dataset, folder: RunFolder, seed: int, report: Report = lambda level, epoch: None
) -> Iterator[Ticket]:
    """Yield the ticket of every level, dense first, each from its file where it exists, else trained and saved.

    Level k prunes the weights of ticket k - 1 to the k-th density of `config.pruning`, then trains the survivors from
    where `config.pruning.after` says. With m = `config.pruning.copies` > 1 every level but the dense one trains m
    networks from there, on batches of their own, and their mean, BatchNorm refitted, is its ticket: Sparse Model Soups
    (Zimmer et al., ICLR 2024). The copies have one mask, so the mean has it too. Each finished copy is kept on disk
    until its level is done. Raises UserError where the density would keep no weight, or the loss diverges.
    """
    model = network(config, dataset, seed)
    names = registry.prunable(model, config.model.prunable)
    pruning = config.pruning
    rewind_step = _rewind_step(config, len(dataset.train))
    rewind_file = folder.rewind
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
        parts = _parts(path, 1 if previous is None else pruning.copies)
        if not path.exists():
            if previous is None:
                spent, mask = 0, masks.dense(model.state_dict(), names)
            else:
                spent = previous.origin["train_images"]
                mask = next_mask(previous, density, pruning.scope, pruning.criterion, seed)
            for copy, part in enumerate(parts):
                if part.exists():
                    continue
                run: dict[str, Any] = {"at_step": (rewind_step, keep_rewind_point)}
                if previous is not None:
                    run = _starting_point(config, dataset, model, previous, mask, seed, rewind_file, rewind_step)
                trained = train(
                    model,
                    mask,
                    dataset,
                    config.training,
                    derive(seed, "copy", copy) if copy else seed,
                    level,
                    checkpoint=_partial(part),
                    report=partial(_tell, report, level, copy),
                    **run,
                )
                chosen = {"epoch": trained.epoch, "accuracy": trained.accuracy, "train_images": spent + trained.images}
                files.save(Ticket(trained.weights, mask, level, {**origin, **chosen, "density": density}), part)
            if len(parts) > 1:
                copies = [files.load(part, model) for part in parts]
                _load_mean(model, [copy.weights for copy in copies])
                refit_batchnorm(model, dataset, config.training, seed, level)
                images = spent + sum(copy.origin["train_images"] - spent for copy in copies)
                made = {"copies": len(copies), "train_images": images, "density": density}
                files.save(Ticket(snapshot(model), mask, level, {**origin, **made}), path)
        for part in parts:
            _partial(part).unlink(missing_ok=True)
            if part != path:
                part.unlink(missing_ok=True)
        previous = files.load(path, model)
        yield previous


def _parts(path: Path, copies: int) -> list[Path]:
    """The files of the networks trained for the ticket `path`: itself, where there is one."""
    return [path] if copies == 1 else [path.with_name(f"{path.stem}.copy_{copy}.safetensors") for copy in range(copies)]


def _partial(path: Path) -> Path:
    """The checkpoint of the training that ends in `path`."""
    return path.with_name(f"{path.stem}.partial.safetensors")


def _tell(report: Report, level: int, copy: int, epoch: Epoch) -> None:
    report(level, replace(epoch, copy=copy))


def _load_mean(model: nn.Module, copies: Sequence[Mapping[str, Tensor]]) -> None:
    """Give `model` the equal-weight mean of several networks' weights, one in memory at a time."""
    mean = dict(copies[0])
    for n, weights in enumerate(copies[1:], start=2):
        blend(mean, weights, 1 / n)
    load_into(model, mean)


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
    rewind_file: Path,
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
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        raise UserError(f"model {config.model.name!r} has lazy layers: give them their sizes")
    names = registry.prunable(model, config.model.prunable)
    shared = [p for _, p in model.named_parameters(remove_duplicate=False)]
    for name in names:
        if sum(model.get_parameter(name) is other for other in shared) > 1:
            raise UserError(
                f"prunable tensor {name!r} is tied to another: leave it out with a pattern in model.prunable"
            )
    prunable = sum(model.state_dict()[name].numel() for name in names)
    _rewind_step(config, len(dataset.train))
    for level, density in enumerate(config.pruning.schedule()):
        _kept(density, prunable, level)
    model.eval()
    samples = dataset.normalise(dataset.view(dataset.validation.batch(torch.arange(min(2, len(dataset.validation))))))
    try:
        with torch.inference_mode():
            output = model(samples)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"model {config.model.name!r} cannot take {samples.dtype} samples {tuple(samples.shape)}: {reason}"
        ) from error
    expected = (len(samples), len(dataset.classes))
    found = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if found != expected:
        raise UserError(
            f"model {config.model.name!r} gives {found} for samples {tuple(samples.shape)}, {config.data.name!r} has "
            f"{expected[1]} classes: make the model output (batch, {expected[1]})"
        )


def train_images(config: Config, samples: int, level: int) -> int:
    """Training images, repeats counted, that the ticket of `level` costs, earlier levels and all copies included.

    `samples` is the size of the training set. Exactly the `train_images` that the ticket says.
    """
    training, pruning = config.training, config.pruning
    per_epoch = steps_per_epoch(samples, training.batch)
    an_epoch = min(samples, per_epoch * training.batch)
    whole = training.epochs * an_epoch
    if pruning.after == "fine-tune":
        each = pruning.fine_tune_epochs * an_epoch
    elif pruning.after == "reinitialise":
        each = whole
    else:
        epochs, steps = divmod(_rewind_step(config, samples), per_epoch)
        each = whole - epochs * an_epoch - steps * training.batch
    return whole + level * pruning.copies * each


def equal_cost(config: Config, copies: int, samples: int) -> Config:
    """`config` with so many copies a level, trained for less so that its last ticket costs as many training images.

    All that is counted in epochs is scaled in proportion: training, milestones, warm-up, rewind point, fine-tuning.
    Epochs being whole, the costs differ by at most about copies / 2 epochs a level. (`keep = "swa"` or `"ema"` costs
    nothing: no change is needed for them.)
    """
    last = len(config.pruning.schedule()) - 1
    several = replace(config, pruning=replace(config.pruning, copies=copies))
    return _costing(train_images(config, samples, last), several, samples, last)


def longer(config: Config, level: int, samples: int) -> Config:
    """`config` trained for longer, so that the ticket of `level` alone costs what all the tickets of `config` do.

    Scaled as in `equal_cost`. Levels after `level` are left out.
    Raises UserError where `config` has no such level.
    """
    pruning, last = config.pruning, len(config.pruning.schedule()) - 1
    if not 0 <= level <= last:
        raise UserError(f"level {level} cannot be trained for longer: this run has levels 0 to {last}")
    short = replace(
        config,
        pruning=replace(pruning, levels=level, densities=pruning.densities[:level]),
        pooling=replace(config.pooling, targets=(level,)),
    )
    return _costing(train_images(config, samples, last), short, samples, level)


def _costing(images: int, config: Config, samples: int, level: int) -> Config:
    """`config` with the epochs at which its ticket of `level` costs most nearly so many training images."""
    most = images // min(samples, steps_per_epoch(samples, config.training.batch) * config.training.batch)
    choices = (scaled(config, epochs) for epochs in range(1, most + 1))
    return min(choices, key=lambda new: abs(train_images(new, samples, level) - images))


def _rewind_step(config: Config, samples: int) -> int:
    per_epoch = steps_per_epoch(samples, config.training.batch)
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

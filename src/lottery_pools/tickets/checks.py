"""What is checked before any work is done: that settings, data and model go together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lottery_pools.config.schema import Config, Training
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import Notice, UserError
from lottery_pools.models import registry
from lottery_pools.tickets import imp, losses, masks
from lottery_pools.tickets.schedule import rewind_step


def check_settings(config: Config, dataset: Dataset) -> None:
    """Raise UserError if tickets cannot be trained with these settings.

    The message names what is wrong: a model with lazy layers, a prunable tensor that is tied to another, a rewind
    point after the end of training, a density that keeps no weight, or a model that does not fit the samples or
    classes, in evaluation or in training. Warns of weights that `model.prunable` seems to name and leaves alone.

    Args:
        config: The settings.
        dataset: The data set that the settings name.
    """
    check_precision(config.training, dataset.device)
    model = imp.network(config, dataset, config.seeds[0])
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        raise UserError(f"model {config.model.name!r} has lazy layers: give them their sizes")
    prunable = registry.prunable(model, config.model.prunable)
    check_not_tied(model, prunable)
    rewind_step(config, dataset.epoch_size)
    if left_out := registry.left_out(model, config.model.prunable):
        warnings.warn(
            f"model.prunable = {config.model.prunable!r} leaves {len(left_out)} weights of this network alone: "
            f"{', '.join(left_out[:3])}{', …' if len(left_out) > 3 else ''}; densities count the others only",
            Notice,
            stacklevel=2,
        )
    weights = sum(model.get_parameter(name).numel() for name in prunable)
    for level, density in enumerate(config.pruning.schedule()):
        masks.surviving(density, weights, level)
    _check_output(config, dataset, model)
    _check_training_output(config, dataset, model)
    _check_loss(config, dataset)


def check_precision(settings: Training, device: torch.device) -> None:
    """Raise UserError if a GPU lacks the number format that the settings name."""
    lacks = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if settings.precision == "bfloat16" and lacks:
        raise UserError("this GPU has no bfloat16 arithmetic: give --training.precision float32")


def check_not_tied(model: nn.Module, prunable: Sequence[str], setting: str = "model.prunable") -> None:
    """Raise UserError if a prunable tensor has a second name, whose weights its mask would prune unseen.

    Args:
        model: The model.
        prunable: The names of its prunable tensors.
        setting: What chose them, as the message names it.
    """
    parameters = [parameter for _, parameter in model.named_parameters(remove_duplicate=False)]
    for name in prunable:
        if sum(model.get_parameter(name) is parameter for parameter in parameters) > 1:
            raise UserError(f"prunable tensor {name!r} is tied to another: leave it out with a pattern in {setting}")


def _check_output(config: Config, dataset: Dataset, model: nn.Module) -> None:
    """Raise UserError if the model cannot take two validation samples, or does not give one number a class."""
    few = torch.arange(min(2, len(dataset.validation)))
    samples = dataset.normalise(dataset.view(dataset.validation.batch(few)))
    model.eval()
    try:
        with torch.inference_mode():
            output = model(samples)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"model {config.model.name!r} cannot take {samples.dtype} samples {tuple(samples.shape)}: {reason}"
        ) from error
    expected = (len(samples), len(dataset.classes))
    actual = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if actual != expected:
        raise UserError(
            f"model {config.model.name!r} gives {actual} for samples {tuple(samples.shape)}, {config.data.name!r} has "
            f"{expected[1]} {'classes' if dataset.task == 'single-label' else 'labels'}: "
            f"make the model output (batch, {expected[1]})"
        )


def _check_training_output(config: Config, dataset: Dataset, model: nn.Module) -> None:
    """Raise UserError if the model cannot be trained on its output, or not on batches of this size.

    The model is not used afterwards: its BatchNorm statistics change.
    """
    few = torch.arange(min(2, config.training.batch, len(dataset.train)))
    samples = dataset.normalise(dataset.view(dataset.train.batch(few)))
    model.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            output = model(samples)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"model {config.model.name!r} cannot be trained on a batch of {len(samples)} samples: "
            f"{str(error).partition(chr(10))[0]}; raise training.batch or change the model"
        ) from error
    if not isinstance(output, Tensor):
        raise UserError(
            f"model {config.model.name!r} returns {type(output).__name__} in training mode, as for auxiliary outputs: "
            "make it give one tensor of logits there too"
        )


def _check_loss(config: Config, dataset: Dataset) -> None:
    """Raise UserError if the loss of the settings does not fit the data: their number of weights, or the user's own."""
    outputs, weights = len(dataset.classes), config.training.class_weights
    if weights and len(weights) != outputs:
        raise UserError(f"training.class_weights has {len(weights)} weights, {config.data.name!r} needs {outputs}")
    if config.training.loss is None:
        return
    few = torch.arange(min(2, len(dataset.train))).to(dataset.device)
    logits = torch.zeros(len(few), outputs, device=dataset.device, requires_grad=True)
    loss = losses.of(config.training, dataset.task, dataset.device)
    try:
        value = loss(logits, dataset.train.labels[few])
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"training.loss {config.training.loss!r} cannot take outputs {tuple(logits.shape)} and labels "
            f"{tuple(dataset.train.labels[few].shape)}: {reason}"
        ) from error
    if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
        raise UserError(
            f"training.loss {config.training.loss!r} does not return a tensor of one number that follows from the "
            "outputs: return the mean loss of the batch"
        )

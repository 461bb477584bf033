"""Means of weights: over the epochs or steps of one training run, and over the copies of a level."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets import distributed
from lottery_pools.tickets.batches import Batch
from lottery_pools.tickets.forward import inputs, precision, seeded, to_fast_layout
from lottery_pools.tickets.schedule import steps_per_epoch


def blend(mean: dict[str, Tensor], weights: Mapping[str, Tensor], share: float) -> None:
    """Move a running mean towards `weights`, in place: mean ← (1 - share) · mean + share · weights.

    With shares 1, 1/2, 1/3, … the mean is that of all weights so far, each with the same weight. A weight that is zero
    in both stays zero.

    Args:
        mean: The running mean by name, of the same shapes as `weights`. Its integer tensors become those of `weights`.
        weights: What is added to the mean, on any device.
        share: From 0 to 1.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            mean[name].lerp_(tensor.to(mean[name].device), share)
        else:
            mean[name].copy_(tensor)


def share_of_newest(settings: Training, step: int, start: int, stop: int, per_epoch: int) -> float:
    """The share with which the weights after a step enter the running mean of a training run; 0 if they do not.

    `keep = "swa"`: 1/n after the n-th epoch that is averaged (Izmailov et al., UAI 2018, arXiv 1803.05407). The first
    one is epoch ceil(average_from · epochs), counted from 1, or that in which the run starts if this is later.
    `keep = "ema"`: (1 - d) / (1 - dⁿ) after the n-th step of the run, where d is `ema_decay`. This is the exponential
    moving average that starts at zero, with its bias corrected as in Adam (Kingma & Ba, ICLR 2015).

    Args:
        settings: Of the run; only `keep`, `average_from` and `ema_decay` matter here.
        step: The number of steps since the beginning of the schedule, from `start` + 1 to `stop`.
        start: The step at which the run starts.
        stop: The step at which it ends.
        per_epoch: The steps of an epoch.
    """
    if settings.keep == "ema":
        return (1 - settings.ema_decay) / (1 - settings.ema_decay ** (step - start))
    ends_epoch = step % per_epoch == 0 or step >= stop
    if settings.keep != "swa" or not ends_epoch:
        return 0.0
    epoch, last_epoch = math.ceil(step / per_epoch), math.ceil(stop / per_epoch)
    # Rounded to six digits first, for 0.07 · 100 is a little more than 7 in floating point.
    first_averaged = max(math.ceil(round(settings.average_from * last_epoch, 6)), start // per_epoch + 1)
    return 1 / (epoch - first_averaged + 1) if epoch >= first_averaged else 0.0


def refit_batchnorm(model: nn.Module, dataset: Dataset, settings: Training, seed: int, level: int) -> None:
    """Re-estimate the BatchNorm statistics of a model with averaged weights: averaged statistics do not fit them.

    They become the cumulative average over one forward pass in training mode over all training samples, augmented.
    Order and augmentation are functions of seed and level. A model without BatchNorm is left alone.

    Args:
        model: The model, changed in place.
        dataset: The data on which it was trained.
        settings: How it was trained; batch size, precision and memory format matter here.
        seed: The seed of the run.
        level: The level of the ticket.
    """
    to_fast_layout(model, settings)
    order = torch.randperm(len(dataset.train), generator=generator(seed, "refit", level)).to(dataset.device)
    batches = torch.split(order, settings.batch)[: steps_per_epoch(len(dataset.train), settings.batch)]
    draws = generator(seed, "refit", "augment", level)
    parts = (distributed.part_of_batch(Batch(batch, dataset.draws(len(batch), draws), 0.0)) for batch in batches)
    augmented = (
        inputs(dataset, dataset.augment(dataset.train.batch(part.samples), part.draws), settings) for part in parts
    )
    number = derive(seed, "refit", "network", level, *distributed.name())
    with seeded(dataset.device, number), precision(settings, dataset.device), distributed.synchronised(model):
        update_bn(augmented, model)

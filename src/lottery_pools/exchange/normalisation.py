"""Networks that normalise images themselves: they hold the mean and the deviation of the channels as buffers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import Notice

MEAN, STD = "mean", "std"
"""How the names of such buffers end: `normalize.mean` and `normalize.std`, or `pixel_mean` and `pixel_std`."""


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """The names of a mean and of a deviation that belong together.

    >>> pairs(["normalize.mean", "normalize.std", "bn.running_mean", "bn.running_var"])
    [('normalize.mean', 'normalize.std')]
    """
    known = set(names)
    stems = [name.removesuffix(MEAN) for name in sorted(known) if name.endswith(MEAN)]
    return [(stem + MEAN, stem + STD) for stem in stems if stem + STD in known]


def as_the_network_does(
    config: Config, dataset: Dataset, model: nn.Module, weights: Mapping[str, Tensor]
) -> tuple[Config, Dataset]:
    """Settings and data for a network that normalises images itself: it is given them as it takes them.

    Args:
        config: The settings. Where they say `data.mean`, they stay.
        dataset: The data of these settings.
        model: The network.
        weights: Its tensors, by name.

    Returns:
        The settings and the data, with mean 0 and deviation 1 if the network normalises images: counted from 0 to 1, or
        from 0 to 255 where the network's own mean or deviation is above 1. Otherwise as they were.
    """
    channels = dataset.input_shape[0]
    buffers = [name for name, buffer in model.named_buffers() if buffer.numel() in (1, channels) and name in weights]
    inside = pairs(buffers)
    if config.data.mean or not inside:
        return config, dataset
    largest = max(float(weights[name].abs().max()) for name in inside[0])
    stored_unit = 1 if dataset.train.stored.is_floating_point() else 255
    std = 1 / stored_unit if largest > 1 else 1.0
    warnings.warn(
        f"the network has {inside[0][0]!r} and {inside[0][1]!r}, so it normalises samples itself: it is given "
        f"images from 0 to {255 if std < 1 else 1} (data.mean = 0, data.std = {std:g})",
        Notice,
        stacklevel=2,
    )
    config = replace(config, data=replace(config.data, mean=(0.0,), std=(std,)))
    mean = torch.zeros_like(dataset.mean)
    return config, replace(dataset, mean=mean, std=torch.full_like(mean, std * stored_unit))


def note(tensors: Mapping[str, Tensor]) -> str:
    """What a user should know of a mean and a deviation that were left out of a checkpoint; empty if there are none."""
    for mean, std in pairs(tensors):
        if tensors[mean].numel() > 8 or tensors[std].numel() > 8:
            continue
        values = {name: " ".join(f"{value:g}" for value in tensors[name].flatten().tolist()) for name in (mean, std)}
        return (
            f"{mean!r} and {std!r} are left out: to normalise images as they did, set data.mean to {values[mean]} and "
            f"data.std to {values[std]}, if these are of images from 0 to 1"
        )
    return ""

"""What a network and an experiment cost: multiply-adds, images trained on, images searched with, GPU hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.config import Config
from lottery_pools.tickets.imp import train_images

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def flops(model: nn.Module, input_shape: tuple[int, ...], mask: Mapping[str, Tensor] | None = None) -> int:
    """Multiply-adds of one forward pass of one sample of `input_shape`, pruned weights left out; no mask: dense.

    Each surviving weight of a convolution counts once for every position of the output, zero padding included, each
    of a linear layer once for every vector it is applied to; biases, normalisation, activations and pooling are not
    counted. Works on the meta device too.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    survivors = {parameter: parameter.numel() for parameter in named.values()}
    survivors |= {named[name]: int(kept.count_nonzero()) for name, kept in (mask or {}).items()}
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        total += survivors[weight] * (output.numel() // weight.shape[0])  # positions: all that is no output channel

    modes = {module: module.training for module in model.modules()}
    hooks = [layer.register_forward_hook(count) for layer in modes if isinstance(layer, _LAYERS)]
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, *input_shape, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return total


def training_images(config: Config, n_train: int) -> list[int]:
    """Images trained on, repeats, copies and all earlier levels counted, when the ticket of each level is there."""
    return [train_images(config, n_train, level) for level in range(len(config.pruning.schedule()))]


def search_images(config: Config, n_train: int, n_validation: int, coefficients: int | None = None) -> int:
    """Images that Algorithm 2 forwards for one target: every network it looks at is recalibrated and scored.

    `coefficients` are tried a candidate: 1 for Lottery Pools (Average); none: as many as the settings have. For a
    network without BatchNorm take `n_train` = 0.
    """
    pooling = config.pooling
    others = len(config.pruning.schedule()) - 1
    candidates = min(others, pooling.candidates or others)
    looks = candidates * (coefficients or len(pooling.coefficients)) + 1
    recalibration = n_train if pooling.recalibration == "all" else min(pooling.recalibration, n_train)
    return looks * (recalibration + n_validation)


def gpu_hours(flops: int, trained: int = 0, forwarded: int = 0, *, tflops: float = 20.0) -> float:
    """An estimate of the hours that images take on a GPU that sustains `tflops` · 10^12 operations a second.

    2 · flops · (3 · trained + forwarded) / (tflops · 10^12 · 3600): a multiply-add is two operations, training an
    image costs three forward passes. Take the dense network's `flops`: a GPU does not skip pruned weights. What a GPU
    sustains is far below its peak, the more so for small images; 20 is a guess for a current data-centre GPU.
    """
    return 2 * flops * (3 * trained + forwarded) / (tflops * 1e12 * 3600)

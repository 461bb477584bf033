"""Recalibration: re-estimate BatchNorm statistics, which no longer fit once weights are averaged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lottery_pools.errors import UserError


def tracked(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> int:
    """Re-estimate every BatchNorm's statistics as the cumulative average over `batches`; returns the samples used
    (batches, where they are no tensors).

    Each batch is given to `model(batch)`; give images augmented as in training, some thousands do (docs/decisions.md).
    Only BatchNorm is put in training mode, dropout stays off; modes and momenta are as before on return. A model
    without running statistics is left alone and costs nothing. Raises UserError where there are no batches.
    """
    layers = tracked(model)
    if not layers:
        return 0
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    seen = 0
    try:
        model.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        with torch.no_grad():
            for batch in batches:
                model(batch)
                seen += len(batch) if isinstance(batch, Tensor) else 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes:
            module.training = mode
    if not seen:
        raise UserError("no batches to recalibrate on: give some, anew at each call (a generator runs out)")
    return seen

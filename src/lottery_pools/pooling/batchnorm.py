"""Recalibration: re-estimate BatchNorm statistics, which no longer fit once weights are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lottery_pools.errors import UserError
from lottery_pools.pooling.guard import in_evaluation_mode
from lottery_pools.tickets import distributed


def tracked(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that keep running statistics."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]


def inputs_of(item: Any) -> Any:
    """The inputs of what a loader yields: of a tuple or list, such as (images, labels), the first part."""
    return item[0] if isinstance(item, tuple | list) and item else item


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> int:
    """Re-estimate every BatchNorm's statistics as the average over `batches`, each weighed by its size.

    Only BatchNorm is put in training mode, dropout stays off. Modes and momenta are as before on return, and so is a
    layer that no batch reaches. A model without running statistics is left alone, and no batch is read.

    Args:
        model: any module.
        batches: what `model(batch)` takes, such as images; of a tuple or list, as a DataLoader of (images, labels)
            yields, the first part. Give samples augmented as in training; some thousands do (docs/decisions.md).

    Returns:
        How many samples were used (batches, where they are no tensors).

    Raises UserError where `batches` is a tensor itself, there are no batches, or one has a single value a channel,
    which has no variance.

    Example:
        ```python
        lp.recalibrate(model, DataLoader(training_set, batch_size=500))
        ```
    """
    layers = tracked(model)
    if not layers:
        return 0
    if isinstance(batches, Tensor):
        raise UserError(
            f"batches is one tensor {tuple(batches.shape)}, of which each row would be a batch: give [batch]"
        )
    seen = 0
    with in_evaluation_mode(model), _averaging(layers), torch.no_grad(), distributed.synchronised(model):
        for item in batches:
            batch = inputs_of(item)
            model(batch)
            seen += len(batch) if isinstance(batch, Tensor) else 1
    if not seen:
        raise UserError("no batches to recalibrate on: give some, anew at each call (a generator runs out)")
    return distributed.total(seen)


@contextmanager
def _averaging(layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """The layers average the statistics of the batches that they are given, each weighed by its size.

    Their momenta are as before on exit; their modes are not.
    """
    momenta = [layer.momentum for layer in layers]
    reached = dict[nn.Module, int]()  # samples that each layer has seen

    def weigh_batch(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        values = args[0] if args else kwargs["input"]
        samples = distributed.total(len(values))
        if samples * math.prod(values.shape[2:]) == 1:
            raise UserError("BatchNorm needs more than 1 value per channel: give batches of two samples or more")
        if layer not in reached:
            layer.reset_running_stats()  # type: ignore[operator]
        reached[layer] = reached.get(layer, 0) + samples
        layer.momentum = samples / reached[layer]  # type: ignore[assignment]

    hooks = [layer.register_forward_pre_hook(weigh_batch, with_kwargs=True) for layer in layers]
    try:
        for layer in layers:
            layer.train()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

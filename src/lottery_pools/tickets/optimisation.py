"""One optimizer step of a sparse network: pruned weights stay exactly zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Task, Training
from lottery_pools.tickets import distributed, losses
from lottery_pools.tickets.forward import precision, to_fast_layout
from lottery_pools.tickets.losses import Loss


@dataclass(frozen=True, eq=False)
class SparseNetwork:
    """A network in training, with everything that an optimizer step needs. Made by `prepare`."""

    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    """`model` itself, or compiled by torch.compile; both have the same parameters."""
    optimizer: torch.optim.Optimizer
    kept: Mapping[nn.Parameter, Tensor]
    """Parameter → integers of its shape, as wide as its numbers: 0 where the weight is pruned, else 1. Parameters
    without pruned weights are left out."""
    settings: Training
    loss: Loss

    @property
    def pruned(self) -> dict[nn.Parameter, Tensor]:
        """Parameter → bool tensor of its shape, True where the weight is pruned; of the same parameters."""
        return {parameter: kept == 0 for parameter, kept in self.kept.items()}

    def prune(self, pruned: Iterable[Tensor]) -> None:
        """Change which weights are pruned, to those where the bool tensors, in the order of `pruned`, are True.

        This changes `kept` in place, so that a recorded step uses it too; the weights themselves stay as they are.
        """
        for kept, is_pruned in zip(self.kept.values(), pruned, strict=True):
            kept.copy_(~is_pruned)


def prepare(
    model: nn.Module, mask: Mapping[str, Tensor], settings: Training, task: Task = "single-label"
) -> SparseNetwork:
    """Make a model ready for training: change it to the fast memory format, and set its pruned weights to zero.

    Args:
        model: The model with the weights to begin with, changed in place.
        mask: The name of each prunable tensor → bool tensor of its shape, True where a weight survives.
        settings: How it will be trained.
        task: What it is to predict.

    Returns:
        The network with a fresh optimizer.
    """
    to_fast_layout(model, settings)
    optimizer = _optimizer(model, settings)
    kept = {
        parameter: torch.empty_like(parameter, dtype=_bits(parameter)).copy_(mask[name])  # in its memory layout: faster
        for name, parameter in model.named_parameters()
        if name in mask and not mask[name].all()
    }
    with torch.no_grad():
        for parameter, survives in kept.items():
            parameter.masked_fill_(survives == 0, 0)
    forward = torch.compile(model, dynamic=False) if settings.compile and distributed.alone() else model
    loss = losses.of(settings, task, next(model.parameters()).device)
    return SparseNetwork(model, forward, optimizer, kept, settings, loss)


def step(
    network: SparseNetwork,
    images: Tensor,
    labels: Tensor,
    learning_rate: float | Tensor,
) -> Tensor:
    """Train a network on one batch: forward pass, loss, gradients without those of pruned weights, optimizer.

    Nothing here reads a value back from the device, so the host need not wait for a GPU.

    Args:
        network: The network, in training mode.
        images: (n, *input shape) as `forward.inputs` makes them; of several processes, this one's part of the batch.
        labels: (n,) int64; or (n, outputs) float32 (`losses.of`); those of the whole batch.
        learning_rate: The learning rate of this step: a number, or a tensor () on the device of the network.

    Returns:
        The loss of the batch before the step, a tensor of a single number.
    """
    settings, optimizer = network.settings, network.optimizer
    _set_learning_rate(optimizer, learning_rate)
    with precision(settings, images.device):
        loss = network.loss(distributed.gathered(network.forward(images).float(), len(labels)), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    distributed.add_gradients(network.model)
    _clear_gradients_of_pruned(network)
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(network.model.parameters(), settings.clip_norm)
    optimizer.step()
    return loss.detach()


def _clear_gradients_of_pruned(network: SparseNetwork) -> None:
    """Set the gradients of pruned weights to +0, whatever they are, in one fused operation.

    The bits of each gradient, read as an integer, are multiplied by 0 or 1; a product of floats would leave NaN and -0.
    """
    there = [(parameter.grad, kept) for parameter, kept in network.kept.items() if parameter.grad is not None]
    if there:
        torch._foreach_mul_([gradient.view(kept.dtype) for gradient, kept in there], [kept for _, kept in there])


def _bits(parameter: Tensor) -> torch.dtype:
    """The integers that are as wide as the numbers of a parameter."""
    return {2: torch.int16, 4: torch.int32, 8: torch.int64}[parameter.element_size()]


def _set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float | Tensor) -> None:
    """Set the learning rate of all parameters; on a GPU in its memory, where a recorded step reads it."""
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = float(learning_rate)
        elif isinstance(learning_rate, Tensor):
            group["lr"].copy_(learning_rate)
        else:
            group["lr"].fill_(learning_rate)


def _optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """The optimizer that the settings name. On a GPU it updates all parameters in one kernel, and waits for nothing."""
    parameters = list(model.parameters())
    device = parameters[0].device
    on_gpu = device.type == "cuda"
    learning_rate = torch.tensor(settings.lr, device=device) if on_gpu else settings.lr
    fused = True if on_gpu else None
    if settings.optimizer == "adamw":
        decay = settings.weight_decay
        return torch.optim.AdamW(parameters, learning_rate, weight_decay=decay, fused=fused, capturable=on_gpu)
    return torch.optim.SGD(
        parameters,
        learning_rate,
        settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
        fused=fused,
    )

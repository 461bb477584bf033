"""Data-parallel training and evaluation: each of several processes computes on its part of every batch.

The parts of a batch are those of one process's batch: the same samples, augmented alike. Gradients are added up over
the processes, each sample counted once, and BatchNorm normalises by the statistics of the whole batch. So what comes
out is what one process with the same batches gets, but for the order in which numbers are added. A process that is
alone does none of this, and calls none of it but to ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from lottery_pools.errors import UserError
from lottery_pools.runs.ranks import of_this_process
from lottery_pools.tickets.batches import Batch

T = TypeVar("T")


def alone() -> bool:
    """Whether this process computes on all of every batch."""
    return of_this_process().alone


def part(samples: Tensor) -> slice:
    """Which rows of a batch are those of this process: parts of nearly equal size, in the order of the processes.

    Where a batch has fewer samples than there are processes, some parts are empty.
    """
    return part_of(len(samples))


def part_of(n: int) -> slice:
    """Which rows of a batch of n samples are those of this process, as `part`."""
    ranks = of_this_process()
    return slice(n * ranks.rank // ranks.size, n * (ranks.rank + 1) // ranks.size)


def part_of_batch(batch: Batch) -> Batch:
    """The part of a batch that is this process's; all of it for a process that is alone."""
    if alone():
        return batch
    rows = part(batch.samples)
    return Batch(batch.samples[rows], batch.draws.map(lambda draws: draws[rows]), batch.learning_rate)


def mine(batches: Sequence[T]) -> Sequence[T]:
    """Which of several batches this process forwards: each belongs to one process."""
    ranks = of_this_process()
    return batches[ranks.rank :: ranks.size]


def name() -> tuple[str, int] | tuple[()]:
    """What tells the random numbers of this process's layers, such as dropout, from those of the others."""
    return () if alone() else ("rank", of_this_process().rank)


def total(number: int) -> int:
    """The sum over the processes of a number that each has."""
    if alone():
        return number
    count = torch.tensor(number)
    dist.all_reduce(count)
    return int(count)


def gathered(outputs: Tensor, n: int) -> Tensor:
    """The outputs (n, …) of all processes for a batch of n samples, from those of each for its part of the batch.

    The gradient of a part goes back to the process that computed it. So every process has the loss of the whole batch,
    whatever loss it is, and adding up the gradients of the weights gives those of one process.
    """
    if alone():
        return outputs
    result: Tensor = _Gather.apply(outputs, part_of(n), n)  # type: ignore[no-untyped-call]
    return result


def add_gradients(model: nn.Module) -> None:
    """Add up the gradients of a model over the processes, in place, in one message for each type of numbers."""
    if alone():
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for dtype in {gradient.dtype for gradient in gradients}:
        same = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.reshape(-1) for gradient in same])
        dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in same])
        torch._foreach_copy_(same, [values.view(g.shape) for values, g in zip(parts, same, strict=True)])


def add(value: Tensor) -> Tensor:
    """The sum of a tensor over the processes, without gradients."""
    if alone():
        return value
    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def check_equal(model: nn.Module) -> None:
    """Raise UserError if the processes no longer have the same weights, as they must to the bit."""
    if alone():
        return
    sums = torch.stack([tensor.double().sum() for tensor in model.state_dict().values()])
    lowest, highest = sums.clone(), sums.clone()
    dist.all_reduce(lowest, dist.ReduceOp.MIN)
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    if not torch.equal(lowest, highest):
        raise UserError(
            "the processes that torchrun started no longer have equal weights: use machines and GPUs of one kind, "
            "and the same version of PyTorch on all"
        )


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """In this context, BatchNorm layers in training mode use the statistics of the batches of all processes together.

    Every process must then forward the same number of batches, of which some may be empty.
    """
    layers = [] if alone() else [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.forward = partial(_batchnorm, layer, layer.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own again


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return add(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return add(gradients[0])


class _Gather(torch.autograd.Function):
    """The rows that each process has, as one tensor; each gets the gradient of its own rows."""

    @staticmethod
    def forward(context: Any, part: Tensor, rows: slice, n: int) -> Tensor:
        context.rows = rows
        whole = part.new_zeros(n, *part.shape[1:])
        whole[rows] = part
        return add(whole)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][context.rows], None, None


def _sum(values: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return result


def _batchnorm(layer: _BatchNorm, usual: Any, values: Tensor) -> Tensor:
    """What a BatchNorm layer makes of its inputs (n, c, …), by the statistics of all processes' inputs.

    Source: Ioffe & Szegedy, ICML 2015. Running statistics are kept as PyTorch's own layers keep them.
    """
    if not layer.training and layer.running_mean is not None:
        result: Tensor = usual(values)
        return result
    layer._check_input_dim(values)  # type: ignore[no-untyped-call]
    wide = values.float()
    dims = [0, *range(2, wide.ndim)]
    shape = [1, -1, *[1] * (wide.ndim - 2)]
    count = add(torch.tensor(wide.numel() / wide.shape[1], dtype=torch.float64, device=wide.device)).float()
    mean = _sum(wide.sum(dims)) / count
    centred = wide - mean.view(shape)
    variance = _sum(centred.square().sum(dims)) / count
    _track(layer, mean.detach(), variance.detach() * (count / (count - 1)))
    normal = centred * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        normal = normal * layer.weight.view(shape) + layer.bias.view(shape)
    return normal.to(values.dtype)


def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics of a layer by those of a batch; without momentum they are plain averages."""
    if not layer.track_running_stats or layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    share = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), share)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), share)

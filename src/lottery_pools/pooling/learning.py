"""Learn the coefficients of a weighted sum of tickets by gradient descent on a loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.pooling.guard import in_evaluation_mode
from lottery_pools.pooling.result import Ingredients
from lottery_pools.pooling.soup import LEARNED_SOUP_STEPS
from lottery_pools.pooling.task import Loss, PoolingTask
from lottery_pools.tickets.ticket import Ticket, load_into, shapes

HELD = 2**28
"""Numbers that the tickets may have together to be held in memory while learning: 1 GiB in float32."""
RATE = 0.05
"""Learning rate, as in the code of Wortsman et al. (ICML 2022): AdamW without weight decay, which is Adam."""
NOISE = 2.0**-16
"""Slopes below this share of the largest, 128 roundings of float32, are taken for rounding errors: Adam would scale
them up to whole steps."""


def learn_shares(task: PoolingTask) -> Ingredients:
    """One share a ticket, equal at the start, that lower the loss of the pruned weighted sum."""
    shares = _learn(task, [task.parameters])[0]
    return list(zip(task.tickets, shares, strict=True))


def learn_shares_by_tensor(task: PoolingTask) -> tuple[Ingredients, dict[str, list[float]]]:
    """(each ticket's mean share, every parameter's own shares) that lower the loss of the pruned weighted sum.

    All are equal at the start.
    """
    names = task.parameters
    shares = _learn(task, [[name] for name in names])
    means = [sum(column) / len(names) for column in zip(*shares, strict=True)]
    return list(zip(task.tickets, means, strict=True)), dict(zip(names, shares, strict=True))


def held_in_memory(tickets: Sequence[Ticket]) -> Sequence[Ticket]:
    """The tickets in memory, where they fit; else as they are, to be read from their files at every step."""
    if sum(math.prod(shape) for ticket in tickets for shape in shapes(ticket.weights).values()) > HELD:
        return tickets
    return [replace(ticket, weights=dict(ticket.weights)) for ticket in tickets]


def _learn(task: PoolingTask, groups: Sequence[Sequence[str]]) -> list[list[float]]:
    """For each group of tensors, the tickets' shares that lower the loss of Prune_{d_t}(Σ cᵢ θᵢ).

    c is the softmax of logits that begin at 0. With the mask held fixed, the chain rule gives
    ∂L/∂cᵢ = <mask · ∂L/∂θ, θᵢ>: one backward pass of the module itself, then a product a ticket and tensor.

    A factor of the network's output, an inverse temperature where that output is logits, is learned beside them and
    thrown away: the most likely class does not depend on it.
    """
    if task.loss is None:
        raise UserError("learned soups need a loss: give `loss`, which returns the differentiable loss of a mini-batch")
    model, tickets = task.evaluator.model, held_in_memory(task.tickets)
    logits = torch.zeros(len(groups), len(tickets), dtype=torch.float64, requires_grad=True)
    factor = torch.ones((), requires_grad=True)
    adam = torch.optim.Adam([logits, factor], RATE)
    with torch.enable_grad(), _ready_to_learn(model), _output_times(model, factor):
        for _ in range(LEARNED_SOUP_STEPS):
            shares = logits.softmax(1)
            by_tensor = {name: row for group, row in zip(groups, shares.tolist(), strict=True) for name in group}
            ingredients = list(zip(tickets, shares.mean(0).tolist(), strict=True))
            weights, mask = task.mixture(ingredients, by_tensor)
            load_into(model, weights)
            adam.zero_grad()
            gradients = _gradients(model, task.loss, mask)
            slopes = _without_noise(torch.stack([_slopes(gradients, tickets, group) for group in groups]))
            shares.backward(slopes.to(shares.device))  # type: ignore[no-untyped-call]
            adam.step()
    result: list[list[float]] = logits.detach().softmax(1).tolist()
    return result


@contextmanager
def _output_times(model: nn.Module, factor: Tensor) -> Iterator[None]:
    """The module's output is multiplied by `factor`, a number that is differentiated."""

    def scale(module: nn.Module, inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            raise UserError(
                f"learned soups learn a factor of the network's output, which must be a tensor of logits, not "
                f"{type(output).__name__}: use trimmed-soup, or wrap the network"
            )
        return output * factor.to(output)

    hook = model.register_forward_hook(scale)
    try:
        yield
    finally:
        hook.remove()


def _slopes(gradients: Tensors, tickets: Sequence[Ticket], group: Sequence[str]) -> Tensor:
    """<∂L/∂θ, θᵢ> over the tensors of a group, (tickets,) float64 where the sums are taken; nothing is read from it."""
    first = next(iter(gradients.values()))
    slopes = torch.zeros(len(tickets), dtype=torch.float64, device=first.device if first.is_cuda else "cpu")
    for name in group:
        if name in gradients:
            gradient = arithmetic.wide(gradients[name])
            slopes += _products(gradient, (ticket.weights[name] for ticket in tickets))
    return slopes


def _without_noise(slopes: Tensor) -> Tensor:
    """Slopes, (groups, tickets), with zeros for groups that cannot change the loss, such as a bias before BatchNorm."""
    sizes = slopes.abs().amax(1, keepdim=True)
    return torch.where(sizes < NOISE * sizes.max(), 0.0, slopes)


def _products(gradient: Tensor, tensors: Iterable[Tensor]) -> Tensor:
    """<gradient, tensor> for each tensor, (tensors,) float64.

    A GPU, whose time is the launches, takes them together; elsewhere one at a time, in the memory of one.
    """
    if gradient.is_cuda:
        stacked = torch.stack([tensor.to(gradient.device) for tensor in tensors])
        return (stacked.double() * gradient).flatten(1).sum(1)
    return torch.stack([(gradient * arithmetic.wide(tensor)).sum() for tensor in tensors])


def _gradients(model: nn.Module, loss: Loss, mask: Tensors) -> Mapping[str, Tensor]:
    """∂L/∂θ of the next mini-batch, zero where pruned, left in the parameters' `.grad`."""
    model.zero_grad()
    value = loss(model)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise UserError("loss returned no differentiable scalar: return the mean loss of a batch, with its gradient on")
    if value.isnan():
        raise UserError("loss returned NaN: check the inputs and the precision it is computed in")
    value.backward()  # type: ignore[no-untyped-call]
    return {
        name: parameter.grad.masked_fill_(~mask[name].to(parameter.device), 0) if name in mask else parameter.grad
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.grad is not None
    }


@contextmanager
def _ready_to_learn(model: nn.Module) -> Iterator[None]:
    """BatchNorm with the statistics of each batch, everything else in evaluation mode, no gradients yet.

    Modes and gradients are as before on exit. The running statistics that change meanwhile are overwritten with every
    network that is loaded.
    """
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with in_evaluation_mode(model):
            for layer in tracked(model):
                layer.train()
            yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient

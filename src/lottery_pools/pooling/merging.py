"""Merges of several tickets that weigh them by what they compute: Fisher, RegMean, Model Stock, REPAIR.

Each returns a network that is pruned back and not yet recalibrated. Sums are taken in float64 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from lottery_pools.errors import UserError
from lottery_pools.pooling import activations, arithmetic, pruning
from lottery_pools.pooling.arithmetic import Tensors, wide
from lottery_pools.pooling.fisher import diagonal_fisher
from lottery_pools.pooling.soup import equal_shares
from lottery_pools.pooling.task import Network, PoolingTask, Samples
from lottery_pools.tickets.ticket import Ticket, load_into


def weighted_by_importance(task: PoolingTask, tickets: Sequence[Ticket], seed: int, least: float) -> Network:
    """Σ Fᵢ θᵢ / Σ Fᵢ, weight by weight, with Fᵢ the diagonal Fisher information of a ticket; pruned back.

    Args:
        task: its `samples` are what the information is estimated on.
        tickets: the tickets to merge.
        seed: decides the classes that the networks draw.
        least: the information that every weight has at least.
    """
    samples = _samples(task)
    total: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for ticket in tickets:
        load_into(task.evaluator.model, ticket.weights)
        for name, information in diagonal_fisher(task.evaluator.model, samples(), seed).items():
            information = information.clamp(min=least)
            product = information * wide(ticket.weights[name], information)
            total[name] = total[name] + product if name in total else product
            weights[name] = weights[name] + information if name in weights else information
    return _merged(task, tickets, {name: total[name] / weights[name] for name in total})


def regression_mean(task: PoolingTask, tickets: Sequence[Ticket], diagonal: float) -> Network:
    """For each layer the W that minimises Σ ‖(W - Wᵢ) Xᵢ‖², with Xᵢ a ticket's own inputs, within the target's mask.

    All else is the plain mean.

    Args:
        task: its `samples` are forwarded.
        tickets: the tickets to merge.
        diagonal: what the products of different inputs are multiplied by.
    """
    samples, model = _samples(task), task.evaluator.model
    grams: dict[str, Tensor] = {}
    products: dict[str, Tensor] = {}
    for ticket in tickets:
        load_into(model, ticket.weights)
        for name, gram in activations.input_products(model, samples()).items():
            gram = diagonal * gram + (1 - diagonal) * torch.diag(gram.diagonal())
            product = wide(ticket.weights[name], gram).flatten(1) @ gram
            grams[name] = grams[name] + gram if name in grams else gram
            products[name] = products[name] + product if name in products else product
    means = arithmetic.weighted(task.target.weights, *_equal(tickets))
    solved = {}
    for name, gram in grams.items():
        shape = means[name].shape
        everywhere = torch.ones(shape, dtype=torch.bool)
        mask = task.target.mask.get(name, everywhere).to(gram.device).flatten(1)
        start = wide(means[name], gram).flatten(1) * mask
        solved[name] = least_squares_within(mask, gram, products[name], start).view(shape)
    return _merged(task, tickets, solved)


def least_squares_within(mask: Tensor, gram: Tensor, product: Tensor, start: Tensor, steps: int = 100) -> Tensor:
    """W, zero outside `mask`, at which W · gram = product within the mask: conjugate gradients, row by row.

    Args:
        mask: (rows, inputs) bool.
        gram: (inputs, inputs), symmetric and positive, float64.
        product: (rows, inputs).
        start: (rows, inputs), where to begin; zero outside the mask.
        steps: at most so many.
    """
    tiny = torch.finfo(gram.dtype).tiny
    diagonal = gram.diagonal().clone()
    diagonal[diagonal <= 0] = 1.0  # an input that is always zero: its weights do nothing, and stay as they are
    solution = start.clone()
    residual = (product - solution @ gram) * mask
    preconditioned = residual / diagonal
    direction, fit = preconditioned, (residual * preconditioned).sum(1, keepdim=True)
    enough = 1e-20 * ((product * mask).square() / diagonal).sum(1, keepdim=True)
    for _ in range(steps):
        if bool((fit <= enough).all()):
            break
        image = (direction @ gram) * mask
        length = fit / (direction * image).sum(1, keepdim=True).clamp(min=tiny)
        solution, residual = solution + length * direction, residual - length * image
        preconditioned = residual / diagonal
        next_fit = (residual * preconditioned).sum(1, keepdim=True)
        direction, fit = preconditioned + next_fit / fit.clamp(min=tiny) * direction, next_fit
    return solution


def stock(task: PoolingTask, tickets: Sequence[Ticket]) -> Network:
    """t · mean + (1 - t) · base, tensor by tensor, with t = N cos θ / (1 + (N - 1) cos θ); pruned back.

    θ is the mean angle between the differences of two tickets from the base, which is pruned as the target is. One
    ticket alone stays as it is.
    """
    if task.base is None:
        raise UserError("this method moves tickets towards the rewind point: give `base`, the weights at that point")
    means = arithmetic.weighted(task.target.weights, *_equal(tickets))
    moved = {}
    for name in task.parameters:
        base = wide(task.base[name])
        if name in task.target.mask:
            base = base * task.target.mask[name].to(base.device)
        share = _share_of_mean([wide(ticket.weights[name], base) - base for ticket in tickets])
        moved[name] = share * wide(means[name], base) + (1 - share) * base
    return _merged(task, tickets, moved)


def _share_of_mean(differences: Sequence[Tensor]) -> float:
    """t of Model Stock, from 0 to 1; 1 where there is no angle."""
    pairs = [
        float((a * b).sum()) / norms
        for a, b in combinations(differences, 2)
        if (norms := math.sqrt(float(a.square().sum()) * float(b.square().sum())))
    ]
    if not pairs:
        return 1.0
    cosine = max(0.0, sum(pairs) / len(pairs))
    return len(differences) * cosine / (1 + (len(differences) - 1) * cosine)


def repaired_mean(task: PoolingTask, tickets: Sequence[Ticket]) -> Network:
    """The mean, pruned back, with each channel scaled (and shifted, where there is a bias) to the tickets' moments.

    The moments of the tickets are averaged. A layer whose output goes to BatchNorm is left to recalibration. One ticket
    alone stays as it is.
    """
    samples, model = _samples(task), task.evaluator.model
    if len(tickets) == 1:
        return task.mixture(equal_shares(tickets))
    moments = []
    for ticket in tickets:
        load_into(model, ticket.weights)
        moments.append(activations.output_moments(model, samples()))
    goal = {name: _mean_moments([of_ticket[name] for of_ticket in moments]) for name in moments[0]}
    mean, mask = task.mixture(equal_shares(tickets))
    load_into(model, mean)
    repaired = dict(mean)
    for name, seen in activations.repair(model, samples(), goal).items():
        bias = name.removesuffix("weight") + "bias"
        factor, shift = activations.affine(seen, goal[name], has_bias=bias in repaired)
        scale = factor.view(-1, *[1] * (mean[name].ndim - 1))
        repaired[name] = (wide(mean[name], scale) * scale).to(mean[name])
        if bias in repaired:
            repaired[bias] = (wide(mean[bias], factor) * factor + shift).to(mean[bias])
    return _with_tied(task, repaired), mask


def _mean_moments(moments: Sequence[activations.Moments]) -> activations.Moments:
    """The mean of several means, and of several standard deviations."""
    means, deviations = zip(*moments, strict=True)
    return torch.stack(means).mean(0), torch.stack(deviations).mean(0)


def _samples(task: PoolingTask) -> Samples:
    if task.samples is None:
        raise UserError(
            "this method looks at what the networks compute: give `samples`, which returns batches of inputs"
        )
    return task.samples


def _equal(tickets: Sequence[Ticket]) -> tuple[list[Tensors], list[float]]:
    """The tickets' weights and equal shares."""
    return [ticket.weights for ticket in tickets], [1 / len(tickets)] * len(tickets)


def _merged(task: PoolingTask, tickets: Sequence[Ticket], merged: Mapping[str, Tensor]) -> Network:
    """The network with the tensors of `merged`, and the tickets' mean of all others, pruned back."""
    like = task.target.weights
    mixed = arithmetic.weighted(like, *_equal(tickets))
    mixed |= {name: tensor.to(like[name]) for name, tensor in merged.items()}
    return task.prune(_with_tied(task, mixed), (ticket.mask for ticket in tickets))


def _with_tied(task: PoolingTask, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, each tensor that has several names with what it has under its first."""
    for first, *others in pruning.tied_names(task.evaluator.model, task.parameters):
        weights |= dict.fromkeys(others, weights[first])
    return weights

"""Soups: weighted sums of all tickets, pruned once, their coefficients equal, picked greedily, or learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import weights as arithmetic
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.pooling.search import Loss, Network, Pooled, Problem, Settings, Steps, Trial
from lottery_pools.pooling.weights import Tensors
from lottery_pools.tickets.ticket import Ticket, load_into, shapes

LEARNING_STEPS = 60
LEARNING_RATE = 0.1
GUARDED_RATE = 0.2
NEARNESS = 0.25
"""How much lower, for each level of distance, the logit of a ticket's coefficient starts in a guarded soup."""
HELD = 2**28
"""Numbers that the tickets of a learned soup may have together to be held in memory: 1 GiB in float32."""


def choose(
    problem: Problem,
    build: Callable[[Problem, Steps, Settings], Network],
    steps: Steps,
    options: Sequence[Settings] = ({},),
    losses: int = 0,
) -> Pooled:
    """The best of the networks that `build` makes of `steps` with each of `options`, the first of equals."""
    target_score, _ = problem.look((problem.target.weights, problem.target.mask))
    tried = ((*problem.look(build(problem, steps, settings)), settings) for settings in options)
    score, network, settings = max(tried, key=lambda found: found[0])
    recipe = tuple((ticket.level, share) for ticket, share in steps)
    return problem.pooled(network, recipe, score, target_score, losses=losses, settings=settings)


def equal_shares(tickets: Sequence[Ticket]) -> Steps:
    """All tickets, each with the same share."""
    return [(ticket, 1 / len(tickets)) for ticket in tickets]


def mean(problem: Problem, steps: Steps, settings: Settings) -> Network:
    """The plain mean of the tickets in `steps`, pruned."""
    soup = [ticket for ticket, _ in steps]
    total: Tensors = {}
    for ticket in soup:
        total = arithmetic.add(total, ticket.weights)
    return _pruned_mean(problem, total, soup)


def _pruned_mean(problem: Problem, total: Tensors, soup: Sequence[Ticket]) -> Network:
    mixed = arithmetic.divide(total, len(soup), problem.target.weights)
    return problem.prune(mixed, (ticket.mask for ticket in soup))


def uniform(problem: Problem) -> Pooled:
    """Uniform soup: the mean of all tickets."""
    return choose(problem, mean, equal_shares(problem.tickets))


def greedy(problem: Problem) -> Pooled:
    """Greedy soup: from the best ticket at the target's density on, each next joins the mean where that scores no
    lower.

    Tickets come in order of falling score, the nearest first among equals; the sum of those in the soup is kept, so
    that none is read twice. Of α in the trials, n/(n + 1) is the weight of the n in the soup.
    """
    alone = [problem.look(problem.prune(ticket.weights, [ticket.mask]))[0] for ticket in problem.tickets]
    best, *rest = sorted(range(len(alone)), key=lambda i: -alone[i])
    soup = [problem.tickets[best]]
    total = arithmetic.add({}, soup[0].weights)
    bar, network = problem.look(_pruned_mean(problem, total, soup))
    trials = []
    for ticket in (problem.tickets[i] for i in rest):
        more, joined = arithmetic.add(total, ticket.weights), [*soup, ticket]
        score, trial = problem.look(_pruned_mean(problem, more, joined))
        trials.append(Trial(ticket.level, len(soup) / len(joined), score, bar, score >= bar))
        if score >= bar:
            bar, network, total, soup = score, trial, more, joined
    recipe = tuple((ticket.level, share) for ticket, share in equal_shares(soup))
    return problem.pooled(network, recipe, bar, alone[0], trials)


def mixture(problem: Problem, steps: Steps, settings: Settings) -> Network:
    """Σ c_i θ_i, pruned; `settings["shares"]`, where given, has the coefficients of single tensors."""
    tickets, shares = [ticket for ticket, _ in steps], [share for _, share in steps]
    items = [ticket.weights for ticket in tickets]
    mixed = arithmetic.weighted(problem.target.weights, items, shares, settings.get("shares"))
    return problem.prune(mixed, (ticket.mask for ticket in tickets))


def learned(problem: Problem) -> Pooled:
    """Learned soup: one coefficient a ticket, on the simplex, by gradient on the loss."""
    shares = _learn(problem, [problem.parameters])[0]
    return choose(problem, mixture, list(zip(problem.tickets, shares, strict=True)), losses=LEARNING_STEPS)


def learned_layers(problem: Problem) -> Pooled:
    """Learned soup with one coefficient a tensor and ticket; buffers, and the recipe, have their means."""
    names = problem.parameters
    shares = _learn(problem, [[name] for name in names])
    means = [sum(column) / len(names) for column in zip(*shares, strict=True)]
    settings = {"shares": dict(zip(names, shares, strict=True))}
    return choose(problem, mixture, list(zip(problem.tickets, means, strict=True)), [settings], LEARNING_STEPS)


def guarded(problem: Problem) -> Pooled:
    """Guarded soup, our own: learned by tensor from near the target on, and kept only where it scores higher.

    Logits start at -0.25 a level of distance from the target, and Adam's rate falls from 0.2 to 0 over 60 steps: sparse
    targets, for which most tickets are far, are not lost in the mean of all. What is learned by loss is accepted by
    the score, so that a lower loss of an overconfident network alone does not count.
    """
    names = problem.parameters
    shares = _learn(problem, [[name] for name in names], GUARDED_RATE, NEARNESS, falling=True)
    means = [sum(column) / len(names) for column in zip(*shares, strict=True)]
    settings = {"shares": dict(zip(names, shares, strict=True))}
    found = choose(problem, mixture, list(zip(problem.tickets, means, strict=True)), [settings], LEARNING_STEPS)
    if found.score > found.target_score:
        return found
    own = problem.settle(mixture(problem, [(problem.target, 1.0)], {}))
    recipe = ((problem.target.level, 1.0),)
    return problem.pooled(own, recipe, found.target_score, found.target_score, losses=LEARNING_STEPS)


def _learn(
    problem: Problem,
    groups: Sequence[Sequence[str]],
    rate: float = LEARNING_RATE,
    nearness: float = 0.0,
    falling: bool = False,
) -> list[list[float]]:
    """For each group of tensors, the tickets' coefficients that lower the loss of Prune_{d_t}(Σ c_i θ_i).

    c is the softmax of logits that start equal, or lower by `nearness` for each level of distance from the target, and
    take 60 steps of Adam at `rate`, or one `falling` from it to zero. With the mask held, by the chain rule
    ∂L/∂c_i = <mask · ∂L/∂θ, θ_i>: one backward pass of the module itself, then a product a ticket and tensor.
    """
    if problem.loss is None:
        raise UserError("learned soups need a loss: give `loss`, which returns the differentiable loss of a mini-batch")
    model, tickets = problem.bench.model, _held(problem.tickets)
    distance = torch.tensor([abs(ticket.level - problem.target.level) for ticket in tickets], dtype=torch.float64)
    logits = (-nearness * distance).repeat(len(groups), 1).requires_grad_(True)
    adam = torch.optim.Adam([logits], rate)
    with torch.enable_grad(), _batch_statistics(model):
        for step in range(LEARNING_STEPS):
            if falling:
                adam.param_groups[0]["lr"] = rate * (1 - step / LEARNING_STEPS)
            shares = logits.softmax(1)
            own = {name: row for group, row in zip(groups, shares.tolist(), strict=True) for name in group}
            average = shares.mean(0).tolist()
            weights, mask = mixture(problem, list(zip(tickets, average, strict=True)), {"shares": own})
            load_into(model, weights)
            gradients = _gradients(model, problem.loss, mask)
            slopes = [
                [sum(_product(gradients, ticket, name) for name in group) for ticket in tickets] for group in groups
            ]
            adam.zero_grad()
            shares.backward(torch.tensor(slopes, dtype=torch.float64))  # type: ignore[no-untyped-call]
            adam.step()
    result: list[list[float]] = logits.detach().softmax(1).tolist()
    return result


def _held(tickets: Sequence[Ticket]) -> Sequence[Ticket]:
    """The tickets in memory, where they fit; else as they are, to be read from their files at every step."""
    if sum(math.prod(shape) for ticket in tickets for shape in shapes(ticket.weights).values()) > HELD:
        return tickets
    return [replace(ticket, weights=dict(ticket.weights)) for ticket in tickets]


def _product(gradients: Tensors, ticket: Ticket, name: str) -> float:
    """<∂L/∂θ, θ_i> over one tensor."""
    if name not in gradients:
        return 0.0
    return float((gradients[name] * arithmetic.wide(ticket.weights[name])).sum())


def _gradients(model: nn.Module, loss: Loss, mask: Tensors) -> dict[str, Tensor]:
    """∂L/∂θ of the next mini-batch, float64 on the CPU, zero where pruned; the module's own gradients are cleared."""
    model.zero_grad()
    value = loss(model)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise UserError("loss returned no differentiable scalar: return the mean loss of a batch, with its gradient on")
    if value.isnan():
        raise UserError("loss returned NaN: check the inputs and the precision it is computed in")
    value.backward()  # type: ignore[no-untyped-call]
    gradients = {
        name: arithmetic.wide(parameter.grad.masked_fill(~mask[name], 0) if name in mask else parameter.grad)
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.grad is not None
    }
    model.zero_grad()
    return gradients


@contextmanager
def _batch_statistics(model: nn.Module) -> Iterator[None]:
    """BatchNorm with the statistics of each batch, everything else in evaluation mode; modes are as before on exit.

    The running statistics that it moves meanwhile are overwritten with every network that is loaded.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for layer in tracked(model):
        layer.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode

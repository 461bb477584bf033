"""Soups: weighted sums of all tickets, pruned once, their coefficients equal, picked greedily, or learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.pooling.search import Loss, Network, Pooled, Problem, Recipe, Settings, Steps, Trial, optimism
from lottery_pools.tickets.ticket import Ticket, load_into, shapes

LEARNING_STEPS = 60
LEARNING_RATE = 0.1
TRIMMED, POLISHED = 0.5, 1.0
"""By how many standard errors a score must rise for a ticket to leave a trimmed soup, and for `best` to depart from it.
"""
FEW = 4
"""Tickets up to which a trimmed soup takes in denser ones."""
OUTSIDE = -1.5
"""Where the logit of a ticket's coefficient starts in `best` if the trimmed soup left it out."""
HELD = 2**28
"""Numbers that the tickets of a learned soup may have together to be held in memory: 1 GiB in float32."""


def choose(
    problem: Problem,
    build: Callable[[Problem, Steps, Settings], Network],
    steps: Steps,
    options: Sequence[Settings] = ({},),
    losses: int = 0,
) -> Pooled:
    """The best of the networks that `build` makes of `steps` with each of `options`, the first of equals.

    Its score is optimistic as the best of these; the target is none of them, and one alone is not chosen.
    """
    target_score, _ = problem.look((problem.target.weights, problem.target.mask))
    tried = ((*problem.look(build(problem, steps, settings)), settings) for settings in options)
    score, network, settings = max(tried, key=lambda found: found[0])
    estimated = optimism(problem.bench.scores[1:]) if len(options) > 1 else None
    details: dict[str, Any] = {"losses": losses, "settings": settings, "optimism": estimated}
    return problem.pooled(network, _recipe(steps), score, target_score, **details)


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
    return problem.pooled(network, _recipe(equal_shares(soup)), bar, alone[0], trials)


def mixture(problem: Problem, steps: Steps, settings: Settings) -> Network:
    """Σ c_i θ_i, pruned; `settings["shares"]`, where given, has the coefficients of single tensors."""
    tickets, shares = [ticket for ticket, _ in steps], [share for _, share in steps]
    items = [ticket.weights for ticket in tickets]
    mixed = arithmetic.weighted(problem.target.weights, items, shares, settings.get("shares"))
    return problem.prune(mixed, (ticket.mask for ticket in tickets))


def learned(problem: Problem) -> Pooled:
    """Learned soup: one coefficient a ticket, on the simplex, by gradient on the loss."""
    shares = _learn(problem, problem.tickets, [problem.parameters], [0.0] * len(problem.tickets))[0]
    return choose(problem, mixture, list(zip(problem.tickets, shares, strict=True)), losses=LEARNING_STEPS)


def learned_layers(problem: Problem) -> Pooled:
    """Learned soup with one coefficient a tensor and ticket; buffers, and the recipe, have their means."""
    names = problem.parameters
    shares = _learn(problem, problem.tickets, [[name] for name in names], [0.0] * len(problem.tickets))
    means = [sum(column) / len(names) for column in zip(*shares, strict=True)]
    settings = {"shares": dict(zip(names, shares, strict=True))}
    return choose(problem, mixture, list(zip(problem.tickets, means, strict=True)), [settings], LEARNING_STEPS)


def trimmed(problem: Problem) -> Pooled:
    """Trimmed soup, our own: the mean of the target and all admissible tickets, trimmed while its score rises.

    Tickets are ordered by density; the densest or, where that does not help, the sparsest is left out, one at a time,
    as long as the score rises by more than half a standard error; the target itself is taken where it scores higher.
    Masks of iterative pruning are nested, so this mean needs no pruning back, and the search is short: it starts from a
    network that is good already. Where fewer than four tickets are left, the target among them, the next denser ones
    join, one at a time, as long as the score rises: sparse targets have few sparser tickets, or none.
    """
    found = _trim(problem, _held(problem.admissible))
    network = problem.finished(mixture(problem, found.steps, {}))
    return problem.pooled(network, _recipe(found.steps), found.score, found.target_score, found.trials)


def best(problem: Problem) -> Pooled:
    """The strongest we know, our own: the trimmed soup, then one coefficient a tensor and ticket, learned from there.

    Logits start at 0 for the tickets of the trimmed soup and at -1.5 for the other admissible ones; Adam's rate falls
    from 0.1 to 0 over 60 steps. What is learned is kept where it scores higher by more than a standard error; so the
    loss should come from other samples than the score.
    """
    admissible, names = _held(problem.admissible), problem.parameters
    found = _trim(problem, admissible)
    steps, score, settings, losses = found.steps, found.score, dict[str, Any](), 0
    inside = [ticket.level for ticket, _ in steps]
    tickets = [ticket for ticket, _ in steps if ticket.kept > problem.target.kept] + list(admissible)
    if len(tickets) > 1 and problem.bench.affords(1):
        start = [0.0 if ticket.level in inside else OUTSIDE for ticket in tickets]
        shares = _learn(problem, tickets, [[name] for name in names], start, falling=True)
        means = [sum(column) / len(names) for column in zip(*shares, strict=True)]
        polished, own = list(zip(tickets, means, strict=True)), {"shares": dict(zip(names, shares, strict=True))}
        losses, higher = LEARNING_STEPS, problem.bench.look(mixture(problem, polished, own)[0])
        if problem.bench.better(-1, found.look, POLISHED):
            steps, score, settings = polished, higher, own
    network = problem.finished(mixture(problem, steps, settings))
    details = {"losses": losses, "settings": settings}
    return problem.pooled(network, _recipe(steps), score, found.target_score, found.trials, **details)


@dataclass(frozen=True)
class _Trimmed:
    """A trimmed soup, and how it came about."""

    steps: Steps
    look: int
    """Its number among the looks."""
    score: float
    target_score: float
    trials: Sequence[Trial]


def _trim(problem: Problem, admissible: Sequence[Ticket]) -> _Trimmed:
    """The soup that `trimmed` describes, of tickets from dense to sparse, as far as the budget goes."""
    bench, trials = problem.bench, list[Trial]()

    def look(soup: Sequence[Ticket]) -> float:
        return bench.look(mixture(problem, equal_shares(soup), {})[0])

    own = [ticket for ticket in admissible if ticket.level == problem.target.level]
    soup: Sequence[Ticket] = own
    score = target_score = look(own)
    number, rising = 0, len(admissible) > 1 and bench.affords(1)
    if rising:
        score, number, soup = look(admissible), 1, admissible
    while rising and len(soup) > 1:
        rising = False
        for dropped, fewer in ((soup[0], soup[1:]), (soup[-1], soup[:-1])):
            if rising or not bench.affords(1):
                break
            found = look(fewer)
            rising = bench.better(-1, number, TRIMMED)
            trials.append(Trial(dropped.level, 1 / len(fewer), found, score, rising))
            if rising:
                soup, score, number = fewer, found, bench.looks - 1
    if bench.better(0, number):
        soup, score, number = own, target_score, 0
    for denser in problem.denser if own[0] in soup else ():
        if len(soup) >= FEW or not bench.affords(1):
            break
        found, more = look([denser, *soup]), [denser, *soup]
        rising = bench.better(-1, number)
        trials.append(Trial(denser.level, 1 / len(more), found, score, rising))
        if not rising:
            break
        soup, score, number = more, found, bench.looks - 1
    return _Trimmed(equal_shares(soup), number, score, target_score, trials)


def _recipe(steps: Steps) -> Recipe:
    return tuple((ticket.level, share) for ticket, share in steps)


def _learn(
    problem: Problem,
    tickets: Sequence[Ticket],
    groups: Sequence[Sequence[str]],
    start: Sequence[float],
    falling: bool = False,
) -> list[list[float]]:
    """For each group of tensors, the tickets' coefficients that lower the loss of Prune_{d_t}(Σ c_i θ_i).

    c is the softmax of logits that begin at `start`, one a ticket, and take 60 steps of Adam at a rate of 0.1, or one
    `falling` from it to zero. With the mask held, by the chain rule ∂L/∂c_i = <mask · ∂L/∂θ, θ_i>: one backward pass of
    the module itself, then a product a ticket and tensor.
    """
    if problem.loss is None:
        raise UserError("learned soups need a loss: give `loss`, which returns the differentiable loss of a mini-batch")
    model, tickets = problem.bench.model, _held(tickets)
    logits = torch.tensor(start, dtype=torch.float64).repeat(len(groups), 1).requires_grad_(True)
    adam = torch.optim.Adam([logits], LEARNING_RATE)
    with torch.enable_grad(), _batch_statistics(model):
        for step in range(LEARNING_STEPS):
            if falling:
                adam.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / LEARNING_STEPS)
            shares = logits.softmax(1)
            own = {name: row for group, row in zip(groups, shares.tolist(), strict=True) for name in group}
            average = shares.mean(0).tolist()
            weights, mask = mixture(problem, list(zip(tickets, average, strict=True)), {"shares": own})
            load_into(model, weights)
            gradients = _gradients(model, problem.loss, mask)
            slopes = [_slopes(gradients, tickets, group) for group in groups]
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


def _slopes(gradients: Tensors, tickets: Sequence[Ticket], group: Sequence[str]) -> list[float]:
    """<∂L/∂θ, θ_i> over the tensors of a group, one number a ticket."""
    total = [0.0] * len(tickets)
    for name in group:
        if name in gradients:
            gradient = arithmetic.wide(gradients[name])
            for i, ticket in enumerate(tickets):
                total[i] += float((gradient * arithmetic.wide(ticket.weights[name])).sum())
    return total


def _gradients(model: nn.Module, loss: Loss, mask: Tensors) -> dict[str, Tensor]:
    """∂L/∂θ of the next mini-batch, zero where pruned; the module's own gradients are cleared."""
    model.zero_grad()
    value = loss(model)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise UserError("loss returned no differentiable scalar: return the mean loss of a batch, with its gradient on")
    if value.isnan():
        raise UserError("loss returned NaN: check the inputs and the precision it is computed in")
    value.backward()  # type: ignore[no-untyped-call]
    gradients = {
        name: parameter.grad.masked_fill_(~mask[name].to(parameter.device), 0) if name in mask else parameter.grad
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

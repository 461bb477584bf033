"""The methods of pooling: one function and one table entry each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from lottery_pools.config import PAPER_COEFFICIENTS
from lottery_pools.errors import UserError, unknown
from lottery_pools.pooling.search import Bench, Pooled, Recalibrate, Scope, Score, checked, greedy, neighbours
from lottery_pools.tickets.ticket import Ticket, load_into

LOTTERY_POOLS = "https://arxiv.org/abs/2208.10842"


@dataclass(frozen=True)
class Problem:
    """What a method is given: a bench to look at networks, the target, and the candidates, nearest first."""

    bench: Bench
    target: Ticket
    candidates: Sequence[Ticket]
    coefficients: Sequence[float]
    scope: Scope


@dataclass(frozen=True)
class Method:
    """An entry of the table."""

    run: Callable[[Problem], Pooled]
    summary: str
    paper: str


def interpolation(problem: Problem) -> Pooled:
    """Lottery Pools (Interpolation): Algorithm 2 with every coefficient."""
    return greedy(problem.bench, problem.target, problem.candidates, problem.coefficients, problem.scope)


def average(problem: Problem) -> Pooled:
    """Lottery Pools (Average): Algorithm 2 with α = 1/2 alone."""
    return greedy(problem.bench, problem.target, problem.candidates, (0.5,), problem.scope)


METHODS: dict[str, Method] = {
    "average": Method(average, "mix in neighbours half and half where validation does not fall", LOTTERY_POOLS),
    "interpolation": Method(interpolation, "mix in neighbours, each at its best coefficient", LOTTERY_POOLS),
}


def pool(
    model: nn.Module,
    tickets: Sequence[Ticket],
    target: int,
    score: Score,
    recalibrate: Recalibrate | None = None,
    *,
    method: str = "interpolation",
    coefficients: Sequence[float] = PAPER_COEFFICIENTS,
    candidates: int | None = None,
    scope: Scope = "global",
) -> Pooled:
    """Strengthen the ticket of level `target` with the others: Lottery Pools, for any module, data and metric.

    Args:
        model: the module that the weights are loaded into; it is left with the pooled network in it.
        tickets: each with a level of its own, all of one network.
        target: level of the ticket to strengthen.
        score: `score(model)` is one number, higher is better, or a 1-D tensor with one per sample. Use held-out data.
        recalibrate: `recalibrate(model)` re-estimates BatchNorm statistics; called after each change of weights.
        method: a name of `METHODS`.
        coefficients: α, the weight of the best network so far.
        candidates: offer only so many of the nearest tickets; none: all.
        scope: prune back over the whole network, as the paper, or tensor by tensor.

    Returns the pooled ticket, whose density is exactly the target's, with its recipe and every trial.

    Raises UserError where the target is not among the tickets, two share a level, one does not fit the model, a
    coefficient is not strictly between 0 and 1, `candidates` is below 1, the method is unknown, or the score is NaN.

    Source: Yin et al., "Lottery Pools", AAAI 2023, Algorithm 2.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if not coefficients or not all(0 < alpha < 1 for alpha in coefficients):
        raise UserError(f"coefficients are {list(coefficients)}: give numbers strictly between 0 and 1")
    if candidates is not None and candidates < 1:
        raise UserError(f"candidates is {candidates}: give 1 or more, or leave it out")
    by_level = checked(model, tickets, target)
    nearest = neighbours(tickets, target)[:candidates]
    pooled = METHODS[method].run(
        Problem(Bench(model, score, recalibrate), by_level[target], nearest, coefficients, scope)
    )
    load_into(model, pooled.ticket.weights)
    origin = {"method": method, "scope": scope, "recipe": [list(step) for step in pooled.recipe]}
    return replace(pooled, ticket=replace(pooled.ticket, origin=origin))

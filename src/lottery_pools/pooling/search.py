"""Algorithm 2 of Lottery Pools (Yin et al., AAAI 2023, arXiv 2208.10842): the search for what to mix into a ticket.

Nothing here knows our data, models or training: a network is scored and recalibrated by the functions given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from lottery_pools.config import PAPER_COEFFICIENTS
from lottery_pools.errors import UserError
from lottery_pools.pooling import weights as arithmetic
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, check_fit, load_into, shapes, snapshot

Score = Callable[[nn.Module], "float | Tensor"]
"""One number, higher is better, or one per sample, (n,)."""
Recalibrate = Callable[[nn.Module], object]
Recipe = tuple[tuple[int, float], ...]
"""The accepted steps in order: (level of the candidate, α)."""
Scope = Literal["global", "layer"]
Network = tuple[arithmetic.Tensors, arithmetic.Tensors]
"""Weights and mask."""


@dataclass(frozen=True)
class Trial:
    """One candidate at its best coefficient, and what became of it."""

    candidate: int
    alpha: float
    score: float
    bar: float
    """The score of the best network so far, which it had to reach."""
    accepted: bool


@dataclass(frozen=True)
class Pooled:
    """A pooled network, and how it came about."""

    ticket: Ticket
    """Its level and density are exactly those of the target."""
    recipe: Recipe
    score: float
    """On the selection split, where it was chosen, so optimistic."""
    target_score: float
    """Of the target on the same, recalibrated alike."""
    trials: tuple[Trial, ...]
    looks: int
    """Networks recalibrated and scored."""


@dataclass
class Bench:
    """The module in which every network of a search is recalibrated and scored, and the count of such looks."""

    model: nn.Module
    score: Score
    recalibrate: Recalibrate | None = None
    looks: int = field(default=0, init=False)

    def look(self, weights: arithmetic.Tensors) -> float:
        """The mean score of a network, recalibrated first; the module then holds it."""
        self.settle(weights)
        self.looks += 1
        with torch.no_grad():
            value = self.score(self.model)
        result = float(value.cpu().double().mean()) if isinstance(value, Tensor) else float(value)
        if math.isnan(result):
            raise UserError("score returned NaN: return a number, higher is better, or one per sample")
        return result

    def settle(self, weights: arithmetic.Tensors) -> None:
        """Load weights into the module and re-estimate its BatchNorm statistics."""
        load_into(self.model, weights)
        if self.recalibrate is not None:
            self.recalibrate(self.model)


def mix(best: arithmetic.Tensors, other: arithmetic.Tensors, alpha: float, target: Ticket, scope: Scope) -> Network:
    """Prune_{d_t}(α · best + (1 - α) · other): one trial of Algorithm 2, before its BatchNorm is re-estimated."""
    mixed = arithmetic.lerp(best, other, alpha)
    mask = arithmetic.back_mask(mixed, target, scope)
    return masks.apply(mixed, mask), mask


def neighbours(tickets: Sequence[Ticket], target: int) -> list[Ticket]:
    """All other tickets, nearest level first, at equal distance the denser: t-1, t+1, t-2, t+2, …"""
    others = [ticket for ticket in tickets if ticket.level != target]
    return sorted(others, key=lambda ticket: (abs(ticket.level - target), ticket.level))


def greedy(
    bench: Bench,
    target: Ticket,
    candidates: Iterable[Ticket],
    coefficients: Sequence[float] = PAPER_COEFFICIENTS,
    scope: Scope = "global",
) -> Pooled:
    """Algorithm 2: mix each candidate into the best network so far where that scores at least as high.

    Of equally good coefficients the first is taken. At any moment four networks are held beside the module, whatever
    the number of candidates: the best so far, the candidate, its best trial and the trial.
    """
    bar = target_score = bench.look(target.weights)
    best = _held(bench.model, target.mask)
    trials: list[Trial] = []
    for candidate in candidates:
        score, alpha, network = _best_trial(bench, best, dict(candidate.weights), coefficients, target, scope)
        trials.append(Trial(candidate.level, alpha, score, bar, score >= bar))
        if score >= bar:
            best, bar = network, score
    recipe = tuple((trial.candidate, trial.alpha) for trial in trials if trial.accepted)
    return Pooled(Ticket(*best, target.level), recipe, bar, target_score, tuple(trials), bench.looks)


def _best_trial(
    bench: Bench,
    best: Network,
    other: arithmetic.Tensors,
    coefficients: Sequence[float],
    target: Ticket,
    scope: Scope,
) -> tuple[float, float, Network]:
    """(score, α, network) of the best coefficient, the first of equals; the network is the very one that was scored."""

    def trial(alpha: float) -> tuple[float, float, Network]:
        weights, mask = mix(best[0], other, alpha, target, scope)
        return bench.look(weights), alpha, _held(bench.model, mask)

    return max(map(trial, coefficients), key=lambda tried: tried[0])


def replay(
    model: nn.Module,
    tickets: Sequence[Ticket],
    target: int,
    recipe: Iterable[tuple[int, float]],
    recalibrate: Recalibrate | None = None,
    scope: Scope = "global",
) -> Ticket:
    """The pooled ticket of a recipe, to the same bytes, without a search; `model` is left with it.

    Raises UserError where a level of the recipe is not among the tickets.
    """
    by_level = checked(model, tickets, target)
    bench = Bench(model, lambda model: 0.0, recalibrate)
    bench.settle(by_level[target].weights)
    best = _held(model, by_level[target].mask)
    for level, alpha in recipe:
        if level not in by_level:
            raise UserError(f"the recipe mixes in level {level}, which is not among the tickets: {sorted(by_level)}")
        weights, mask = mix(best[0], by_level[level].weights, alpha, by_level[target], scope)
        bench.settle(weights)
        best = _held(model, mask)
    return Ticket(*best, target)


def _held(model: nn.Module, mask: arithmetic.Tensors) -> Network:
    """A copy of the network in the module, its mask beside it on the same device."""
    weights = snapshot(model)
    return weights, {name: kept.to(weights[name].device) for name, kept in mask.items()}


def checked(model: nn.Module, tickets: Sequence[Ticket], target: int) -> dict[int, Ticket]:
    """The tickets by level; raises UserError unless levels differ, the target is there and all are of one network."""
    by_level: dict[int, Ticket] = {}
    for ticket in tickets:
        if ticket.level in by_level:
            raise UserError(f"two tickets have level {ticket.level}: give each a level of its own")
        by_level[ticket.level] = ticket
        check_fit(model, shapes(ticket.weights), f"the weights of the ticket of level {ticket.level}")
    if target not in by_level:
        raise UserError(f"no ticket of level {target} to strengthen: the tickets have levels {sorted(by_level)}")
    if len(by_level) < 2:
        raise UserError("a pool of one ticket: give at least two tickets of one network")
    for ticket in tickets:
        if odd := sorted(set(ticket.mask) ^ set(by_level[target].mask)):
            raise UserError(
                f"{odd[0]!r} is prunable in only one of the tickets of levels {target} and {ticket.level}: "
                "give tickets whose masks have the same tensors"
            )
    return by_level

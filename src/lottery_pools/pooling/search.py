"""Algorithm 2 of Lottery Pools (Yin et al., AAAI 2023, arXiv 2208.10842), and what every search for a mixture needs.

Nothing here knows our data, models or training: a network is scored and recalibrated by the functions given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import PAPER_COEFFICIENTS
from lottery_pools.errors import UserError
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.arithmetic import MaskRule, Scope, Tensors
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, aliased, check_fit, load_into, shapes, snapshot, without_aliases

Score = Callable[[nn.Module], "float | Tensor"]
"""One number, higher is better, or one per sample, (n,)."""
Recalibrate = Callable[[nn.Module], object]
Loss = Callable[[nn.Module], Tensor]
"""The loss of a next mini-batch, a scalar that can be differentiated."""
Recipe = tuple[tuple[int, float], ...]
"""What went in, in order: (level of the ticket, its coefficient)."""
Settings = Mapping[str, Any]
"""What a method needs beside its recipe to rebuild a network: plain values, as JSON has them."""
Steps = Sequence[tuple[Ticket, float]]
"""A recipe with the tickets themselves."""
Network = tuple[Tensors, Tensors]
"""Weights and mask."""
Fuse = Callable[[Tensors, Tensors, float], Tensors]
"""Two networks and the coefficient of the first → their mixture."""


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
    losses: int = 0
    """Mini-batches whose loss was differentiated."""
    settings: Settings = field(default_factory=dict)
    optimism: float | None = None
    """By how much `score` is estimated to be too good, as the best of all that it was chosen from (`optimism`); none
    where nothing was chosen or scores are not one per sample."""


@dataclass
class Bench:
    """The module in which every network of a search is recalibrated and scored, and what such looks gave."""

    model: nn.Module
    score: Score
    recalibrate: Recalibrate | None = None
    most: int | None = None
    """Looks that the search may take; none: as many as it wants."""
    scores: list[Tensor | float] = field(default_factory=list, init=False)
    """Of every look, in order."""

    @property
    def looks(self) -> int:
        return len(self.scores)

    def affords(self, looks: int) -> bool:
        """Whether so many more looks may be taken."""
        return self.most is None or self.looks + looks <= self.most

    def look(self, weights: Tensors) -> float:
        """The mean score of a network, recalibrated first; the module then holds it."""
        if not self.affords(1):
            raise UserError(
                f"the budget is spent after {self.looks} looks and this method needs more: raise it, or choose a "
                "method that stops in time (trimmed-soup, average, interpolation)"
            )
        self.settle(weights)
        with torch.no_grad():
            found = _number_or_samples(self.score(self.model))
        if self.scores and (before := torch.as_tensor(self.scores[0]).shape) != (now := torch.as_tensor(found).shape):
            raise UserError(f"score returned {tuple(now)} values, before {tuple(before)}: score on the same samples")
        self.scores.append(found)
        result = float(found.double().mean()) if isinstance(found, Tensor) else found
        if not math.isfinite(result):
            raise UserError(f"score returned {result}: return a finite number, higher is better, or one per sample")
        return result

    def better(self, one: int, other: int, margin: float = 0.0) -> bool:
        """Whether look `one` scored higher than look `other`, by more than `margin` standard errors of the difference.

        The difference is paired, sample by sample; where scores are not one per sample, higher is enough.
        """
        difference = torch.as_tensor(self.scores[one]).double() - torch.as_tensor(self.scores[other]).double()
        error = float(difference.std()) / math.sqrt(len(difference)) if difference.ndim and len(difference) > 1 else 0.0
        return float(difference.mean()) > margin * error

    def settle(self, weights: Tensors, recalibrate: Recalibrate | None = None) -> None:
        """Load weights into the module and re-estimate its BatchNorm statistics, by `recalibrate` where it is given."""
        settle(self.model, weights, recalibrate or self.recalibrate)


def _number_or_samples(value: float | Tensor) -> float | Tensor:
    """What a score returned, kept apart from whatever memory it was returned in."""
    if isinstance(value, Tensor) and value.ndim <= 1:
        return value.detach().cpu().clone()
    try:
        return float(value)
    except (TypeError, ValueError):
        kind = f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(
            f"score returned a {kind}: return a number, higher is better, or a tensor with one per sample, (n,)"
        ) from None


def settle(model: nn.Module, weights: Tensors, recalibrate: Recalibrate | None) -> None:
    """Load weights into the module and re-estimate its BatchNorm statistics, where there is a `recalibrate`."""
    load_into(model, weights)
    if recalibrate is not None:
        recalibrate(model)


@dataclass(frozen=True)
class Problem:
    """What a method is given: a bench to look at networks, the target, the candidates, nearest first, and options."""

    bench: Bench
    target: Ticket
    candidates: Sequence[Ticket]
    coefficients: Sequence[float] = PAPER_COEFFICIENTS
    scope: Scope = "global"
    mask: MaskRule = "magnitude"
    loss: Loss | None = None
    base: Tensors | None = None
    """Weights at the rewind point."""
    seed: int = 0
    finish: Recalibrate | None = None
    """Recalibrates the network that is returned, where that is not the very one that was scored."""

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """The target, then the candidates."""
        return (self.target, *self.candidates)

    @property
    def admissible(self) -> list[Ticket]:
        """The target and the candidates that are at least as sparse, the densest first."""
        found = [ticket for ticket in self.tickets if ticket.kept <= self.target.kept]
        return sorted(found, key=lambda ticket: (-ticket.kept, ticket.level))

    @property
    def denser(self) -> list[Ticket]:
        """The candidates that are denser than the target, the nearest first."""
        found = [ticket for ticket in self.candidates if ticket.kept > self.target.kept]
        return sorted(found, key=lambda ticket: (ticket.kept, -ticket.level))

    @property
    def parameters(self) -> list[str]:
        """The tensors that are trained: neither BatchNorm's statistics nor other buffers."""
        return [name for name, _ in self.bench.model.named_parameters(remove_duplicate=False)]

    def prune(self, mixed: Tensors, merged: Iterable[Tensors]) -> Network:
        """A mixture of networks with the masks `merged`, at exactly the target's density; not yet recalibrated.

        One that has no weight outside the target's mask, as of tickets that were pruned from it, loses none.
        """
        if self.mask == "magnitude" and arithmetic.within(mixed, self.target.mask):
            return dict(mixed), dict(self.target.mask)
        first = arithmetic.preferred(self.mask, self.target.mask, merged)
        mask = arithmetic.back_mask(mixed, self.target, self.scope, first)
        return masks.apply(mixed, mask), mask

    def look(self, network: Network) -> tuple[float, Network]:
        """The score of a network, and a copy of the very one that was scored: recalibrated."""
        score = self.bench.look(network[0])
        return score, self._held(network[1])

    def finished(self, network: Network) -> Network:
        """A copy of a network, recalibrated as the one that is returned."""
        return self.settle(network, self.finish)

    def settle(self, network: Network, recalibrate: Recalibrate | None = None) -> Network:
        """A copy of a network, recalibrated, by `recalibrate` where it is given."""
        weights, mask = network
        del network
        self.bench.settle(weights, recalibrate)
        del weights  # one network less, where the caller has let go of it too
        return self._held(mask)

    def _held(self, mask: Tensors) -> Network:
        weights = snapshot(self.bench.model)
        return weights, {name: kept.to(weights[name].device) for name, kept in mask.items()}

    def pooled(
        self,
        network: Network,
        recipe: Recipe,
        score: float,
        target_score: float,
        trials: Iterable[Trial] = (),
        **details: Any,
    ) -> Pooled:
        """The result of a search; `details` are further fields of `Pooled`."""
        ticket = Ticket(*network, self.target.level)
        if "optimism" not in details:
            details["optimism"] = optimism(self.bench.scores)
        return Pooled(ticket, recipe, score, target_score, tuple(trials), self.bench.looks, **details)


def optimism(scores: Sequence[Tensor | float], resamples: int = 100) -> float | None:
    """By how much the best of several mean scores is too good, in their unit, estimated on the same samples.

    The samples are drawn anew with replacement, the best network chosen on them, and its mean score compared with that
    on all: the bootstrap estimate of optimism (Efron, JASA 1983). It needs no further look. None where scores are not
    one per sample.
    """
    if not all(isinstance(score, Tensor) and score.ndim == 1 for score in scores):
        return None
    table = torch.stack([torch.as_tensor(score) for score in scores]).double()  # (looks, n)
    n = table.shape[1]
    draws = generator(0, "optimism")
    drawn = torch.stack(
        [torch.bincount(torch.randint(n, (n,), generator=draws), minlength=n) for _ in range(resamples)]
    )
    means = table @ drawn.double().T / n  # (looks, resamples)
    best = means.argmax(0)
    return float((means.gather(0, best[None])[0] - table.mean(1)[best]).mean())


def neighbours(tickets: Sequence[Ticket], target: int) -> list[Ticket]:
    """All other tickets, nearest level first, at equal distance the denser: t-1, t+1, t-2, t+2, …"""
    others = [ticket for ticket in tickets if ticket.level != target]
    return sorted(others, key=lambda ticket: (abs(ticket.level - target), ticket.level))


def greedy(problem: Problem, coefficients: Callable[[int], Sequence[float]]) -> Pooled:
    """Algorithm 2: mix each candidate into the best network so far where that scores at least as high.

    `coefficients(n)` are the α to try when n tickets are in the best network. Of equally good ones the first is taken.
    At any moment four networks are held beside the module, whatever the number of candidates: the best so far, the
    candidate, its best trial and the trial.
    """
    target_score, best = problem.look((problem.target.weights, problem.target.mask))
    bar = target_score
    trials: list[Trial] = []
    recipe: Recipe = ()
    for candidate in problem.candidates:
        alphas = coefficients(len(recipe) + 1)
        if not problem.bench.affords(len(alphas)):
            break
        score, alpha, network = best_trial(problem, best, candidate, alphas)
        trials.append(Trial(candidate.level, alpha, score, bar, score >= bar))
        if score >= bar:
            best, bar, recipe = network, score, (*recipe, (candidate.level, alpha))
    return problem.pooled(best, recipe, bar, target_score, trials)


def best_trial(
    problem: Problem, best: Network, candidate: Ticket, coefficients: Sequence[float], fuse: Fuse = arithmetic.lerp
) -> tuple[float, float, Network]:
    """(score, α, network) of the best coefficient, the first of equals; the network is the very one that was scored."""
    candidate = replace(candidate, weights=dict(candidate.weights), mask=dict(candidate.mask))  # read once

    def trial(alpha: float) -> tuple[float, float, Network]:
        score, network = problem.look(mix(problem, best, candidate, alpha, fuse))
        return score, alpha, network

    return max(map(trial, coefficients), key=lambda tried: tried[0])


def mix(problem: Problem, best: Network, other: Ticket, alpha: float, fuse: Fuse = arithmetic.lerp) -> Network:
    """Prune_{d_t}(α · best + (1 - α) · other): one trial of Algorithm 2, before its BatchNorm is re-estimated."""
    return problem.prune(fuse(best[0], other.weights, alpha), (best[1], other.mask))


def mix_in_turn(problem: Problem, steps: Steps, settings: Settings, fuse: Fuse = arithmetic.lerp) -> Network:
    """What `greedy` accepted, without a search; the last network is not yet recalibrated."""
    network: Network = (problem.target.weights, problem.target.mask)
    for ticket, alpha in steps:
        network = mix(problem, problem.settle(network), ticket, alpha, fuse)
    return network


def checked(
    model: nn.Module, tickets: Sequence[Ticket], target: int, allow_other_run: bool = False
) -> dict[int, Ticket]:
    """The tickets by level; raises UserError unless levels differ, the target is there and all are of one network.

    Where their origins tell, they must also be of one model, and of one run unless `allow_other_run`. What one of them
    shares with the model is copied; where two share what is trained, they are one network, which is refused.
    """
    by_level: dict[int, Ticket] = {}
    for ticket in tickets:
        if ticket.level in by_level:
            raise UserError(f"two tickets have level {ticket.level}: give each a level of its own")
        by_level[ticket.level] = ticket
    if target not in by_level:
        raise UserError(f"no ticket of level {target} to strengthen: the tickets have levels {sorted(by_level)}")
    if len(by_level) < 2:
        raise UserError("a pool of one ticket: give at least two tickets of one network")
    for ticket in tickets:
        _check_origin(ticket, by_level[target], allow_other_run)
        check_fit(model, shapes(ticket.weights), f"the weights of the ticket of level {ticket.level}")
        if odd := sorted(set(ticket.mask) ^ set(by_level[target].mask)):
            raise UserError(
                f"{odd[0]!r} is prunable in only one of the tickets of levels {target} and {ticket.level}: "
                "give tickets whose masks have the same tensors"
            )
    _check_parameters(model, by_level[target].mask)
    trained = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    live = [ticket.level for ticket in tickets if trained & aliased(ticket.weights, model)]
    if len(live) > 1:
        raise UserError(
            f"the tickets of levels {live[0]} and {live[1]} both hold the model's own tensors, so they are one "
            "network: clone the tensors of its state_dict for each ticket before training on"
        )
    held = ((level, ticket, without_aliases(ticket.weights, model)) for level, ticket in by_level.items())
    return {lv: ticket if own is ticket.weights else replace(ticket, weights=own) for lv, ticket, own in held}


def _check_parameters(model: nn.Module, mask: Tensors) -> None:
    """Raise UserError where a parameter is complex, or masked under some of its names only."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.is_complex():
            raise UserError(f"{name!r} is complex, which no method mixes: hold real and imaginary part as two tensors")
        names.setdefault(parameter, []).append(name)
    for tied in names.values():
        masked, free = ([name for name in tied if (name in mask) == wanted] for wanted in (True, False))
        if masked and free:
            raise UserError(
                f"{masked[0]!r} and {free[0]!r} are one tied tensor, of which only the first has a mask: "
                "mask all of its names, or none"
            )


def _check_origin(ticket: Ticket, target: Ticket, allow_other_run: bool) -> None:
    """Raise UserError naming the first thing in which the origins of two tickets differ but may not."""
    own, others = ticket.origin, target.origin
    both = f"the tickets of levels {target.level} and {ticket.level}"
    model, other = own.get("model"), others.get("model")
    if isinstance(model, Mapping) and isinstance(other, Mapping):
        for key in sorted(set(model) | set(other)):
            if model.get(key) != other.get(key):
                raise UserError(
                    f"{both} are of different models: {key} is {other.get(key)} and {model.get(key)}; "
                    "pool tickets of one model"
                )
    for key in () if allow_other_run else ("data", "config", "seed"):
        if key in own and key in others and own[key] != others[key]:
            raise UserError(
                f"{both} are of different runs: {key} is {others[key]} and {own[key]}; pool tickets of one run, or "
                "allow another's (allow_other_run, --allow-other-run) as a control"
            )

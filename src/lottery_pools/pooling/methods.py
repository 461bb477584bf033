"""The methods of pooling: one function and one table entry each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

from torch import Tensor, nn

from lottery_pools.config.schema import PAPER_COEFFICIENTS
from lottery_pools.errors import UserError, unknown
from lottery_pools.pooling import arithmetic, deltas, soups
from lottery_pools.pooling.arithmetic import MaskRule, Scope
from lottery_pools.pooling.search import (
    Bench,
    Loss,
    Network,
    Pooled,
    Problem,
    Recalibrate,
    Score,
    Settings,
    Steps,
    Trial,
    best_trial,
    checked,
    greedy,
    mix_in_turn,
    neighbours,
)
from lottery_pools.tickets.ticket import Ticket, check_fit, load_into, shapes, without_aliases

LOTTERY_POOLS = "https://arxiv.org/abs/2208.10842"
SWA = "https://arxiv.org/abs/1803.05407"
SOUPS = "https://arxiv.org/abs/2203.05482"
SLERP = "https://doi.org/10.1145/325334.325242"
TIES = "https://arxiv.org/abs/2306.01708"
DARE = "https://arxiv.org/abs/2311.03099"


@dataclass(frozen=True)
class Method:
    """An entry of the table."""

    run: Callable[[Problem], Pooled]
    summary: str
    paper: str
    build: Callable[[Problem, Steps, Settings], Network] = mix_in_turn
    """The network of a recipe, before its BatchNorm is re-estimated; the problem's candidates play no part."""
    learns: bool = False
    """Differentiates the loss of mini-batches, `soups.LEARNING_STEPS` of them."""
    likelihood: bool = False
    """Best scored by `log_likelihood`, a sample each; the others by accuracy, as their papers do."""


def interpolation(problem: Problem) -> Pooled:
    """Lottery Pools (Interpolation): Algorithm 2 with every coefficient."""
    return greedy(problem, lambda n: problem.coefficients)


def average(problem: Problem) -> Pooled:
    """Lottery Pools (Average): Algorithm 2 with α = 1/2 alone."""
    return greedy(problem, lambda n: (0.5,))


def swa(problem: Problem) -> Pooled:
    """Running average over neighbours: α = n/(n + 1), so that each of the n + 1 tickets weighs the same."""
    return greedy(problem, lambda n: (n / (n + 1),))


def ema(problem: Problem) -> Pooled:
    """Exponential moving average over neighbours: α = 0.95."""
    return greedy(problem, lambda n: (0.95,))


def ema_as_published(problem: Problem) -> Pooled:
    """The baseline of the paper's public code: its 0.95 weighs each new ticket, the network so far has 0.05."""
    return greedy(problem, lambda n: (0.05,))


def slerp(problem: Problem) -> Pooled:
    """Spherical interpolation of the target and the better of its two nearest neighbours, at the best coefficient.

    All parameters together are one vector; buffers are interpolated linearly. It is taken where the score is no lower.
    """
    bar, start = problem.look((problem.target.weights, problem.target.mask))
    nearest = problem.candidates[:2]
    tried = [best_trial(problem, start, ticket, problem.coefficients, _arc(problem)) for ticket in nearest]
    best = max(range(len(tried)), key=lambda i: tried[i][0])
    trials = [
        Trial(ticket.level, alpha, score, bar, i == best and score >= bar)
        for i, (ticket, (score, alpha, _)) in enumerate(zip(nearest, tried, strict=True))
    ]
    score, alpha, network = tried[best]
    if score < bar:
        return problem.pooled(start, (), bar, bar, trials)
    return problem.pooled(network, ((nearest[best].level, alpha),), score, bar, trials)


def build_slerp(problem: Problem, steps: Steps, settings: Settings) -> Network:
    """The network of `slerp`'s recipe."""
    return mix_in_turn(problem, steps, settings, _arc(problem))


def _arc(problem: Problem) -> Callable[..., dict[str, Tensor]]:
    return partial(arithmetic.slerp, names=problem.parameters)


DEFAULT, BEST = "trimmed-soup", "best"

METHODS: dict[str, Method] = {
    "average": Method(average, "mix in neighbours half and half where validation does not fall", LOTTERY_POOLS),
    "interpolation": Method(interpolation, "mix in neighbours, each at its best coefficient", LOTTERY_POOLS),
    "swa": Method(swa, "running average of neighbours that do not lower validation", SWA),
    "ema": Method(ema, "moving average, 0.95 for the network so far", LOTTERY_POOLS),
    "ema-as-published": Method(
        ema_as_published, "the authors' code: the weight of `ema` inverted, 0.95 for each new ticket", LOTTERY_POOLS
    ),
    "slerp": Method(slerp, "along the arc to the better of the two nearest", SLERP, build_slerp),
    "uniform-soup": Method(soups.uniform, "the mean of all tickets", SOUPS, soups.mean),
    "greedy-soup": Method(
        soups.greedy, "the mean of the best ticket and those that do not lower it", SOUPS, soups.mean
    ),
    "learned-soup": Method(
        soups.learned, "one coefficient a ticket, learned on the validation loss", SOUPS, soups.mixture, learns=True
    ),
    "learned-soup-layers": Method(
        soups.learned_layers,
        "one coefficient a tensor and ticket, learned on the validation loss",
        SOUPS,
        soups.mixture,
        learns=True,
    ),
    "trimmed-soup": Method(
        soups.trimmed,
        "ours, the default: the mean of the target and all sparser tickets, trimmed while validation rises; denser "
        "ones join where few are left",
        SOUPS,
        soups.mixture,
        likelihood=True,
    ),
    "best": Method(
        soups.best,
        "ours: a trimmed soup, then one coefficient a tensor and ticket, learned on the validation loss",
        SOUPS,
        soups.mixture,
        learns=True,
        likelihood=True,
    ),
    "ties": Method(deltas.ties, "differences from the rewind point, trimmed, signs elected", TIES, deltas.build_ties),
    "dare": Method(deltas.dare, "differences from the rewind point, randomly dropped", DARE, deltas.build_dare),
}


def pool(
    model: nn.Module,
    tickets: Sequence[Ticket],
    target: int,
    score: Score,
    recalibrate: Recalibrate | None = None,
    *,
    method: str = DEFAULT,
    coefficients: Sequence[float] = PAPER_COEFFICIENTS,
    candidates: int | None = None,
    looks: int | None = None,
    finish: Recalibrate | None = None,
    scope: Scope = "global",
    mask: MaskRule = "magnitude",
    loss: Loss | None = None,
    base: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    allow_other_run: bool = False,
) -> Pooled:
    """Strengthen the ticket of level `target` with the others: Lottery Pools, for any module, data and metric.

    Args:
        model: the module that the weights are loaded into; it is left with the pooled network in it.
        tickets: each with a level of its own, all of one network.
        target: level of the ticket to strengthen.
        score: `score(model)` is one number, higher is better, or a 1-D tensor with one per sample. Use held-out data.
            Of classifiers give `log_likelihood`: it tells networks apart with a tenth of the samples accuracy needs.
        recalibrate: `recalibrate(model)` re-estimates BatchNorm statistics; called after each change of weights.
        method: a name of `METHODS`.
        coefficients: α, the weight of the best network so far, of the methods that try several.
        candidates: offer only so many of the nearest tickets; none: all.
        looks: recalibrate and score at most so many networks; none: as many as the method wants.
        finish: for `trimmed-soup` and `best`: re-estimates the returned network, where `recalibrate` is a quicker one
            that only serves to compare; `replay` then needs `finish` as its `recalibrate`.
        scope: prune back over the whole network, as the paper, or tensor by tensor.
        mask: which weights are kept first, as many as the target has: the largest (`magnitude`, as the paper), the
            target's own, or those in any (`union`) or all (`intersection`) of the masks of what is merged.
        loss: for learned soups: `loss(model)` is the differentiable loss of a next mini-batch. BatchNorm then has the
            statistics of the batch, everything else is in evaluation mode.
        base: for `ties` and `dare`: the weights at the rewind point.
        seed: of what `dare` drops.
        allow_other_run: take tickets whose origin names other data, settings or seed; as a control.

    Returns the pooled ticket, whose density is exactly the target's, with its recipe and every trial.

    Raises UserError where the target is not among the tickets, two share a level, one does not fit the model, their
    origins name different models or runs, two are the model's own tensors, a parameter is complex or masked under one
    of two names only, a coefficient is not strictly between 0 and 1, `candidates` or `looks` is below 1, `looks` do not
    suffice, the method, scope or mask is unknown, what the method needs is missing, the score is not finite or not one
    per sample, of the same samples each time, or the loss is NaN.

    Source: Yin et al., "Lottery Pools", AAAI 2023, Algorithm 2; those of other methods are linked in `METHODS`.
    """
    coefficients = _alphas(coefficients)
    if candidates is not None and candidates < 1:
        raise UserError(f"candidates is {candidates}: give 1 or more, or leave it out")
    if looks is not None and looks < 1:
        raise UserError(f"looks is {looks}: give 1 or more, or leave it out")
    entry = _entry(method, scope, mask)
    by_level, base = checked(model, tickets, target, allow_other_run), _checked_base(model, base)
    nearest = neighbours(list(by_level.values()), target)[:candidates]
    bench = Bench(model, score, recalibrate, looks)
    problem = Problem(bench, by_level[target], nearest, coefficients, scope, mask, loss, base, seed, finish)
    pooled = entry.run(problem)
    load_into(model, pooled.ticket.weights)
    origin = {
        "method": method,
        "scope": scope,
        "mask": mask,
        "recipe": [list(step) for step in pooled.recipe],
        "settings": dict(pooled.settings),
    }
    return replace(pooled, ticket=replace(pooled.ticket, origin=origin))


def replay(
    model: nn.Module,
    tickets: Sequence[Ticket],
    target: int,
    recipe: Iterable[tuple[int, float]],
    recalibrate: Recalibrate | None = None,
    scope: Scope = "global",
    *,
    method: str = DEFAULT,
    mask: MaskRule = "magnitude",
    settings: Mapping[str, Any] | None = None,
    base: Mapping[str, Tensor] | None = None,
    allow_other_run: bool = False,
) -> Ticket:
    """The pooled ticket of a recipe, to the same bytes, without a search; `model` is left with it.

    The pooled ticket's `origin` has method, scope, mask, recipe and settings; the rest is as `pool` was given it.
    Raises UserError where a level of the recipe is not among the tickets, and as `pool`.
    """
    entry, problem, steps = rebuilt(
        model, tickets, target, recipe, recalibrate, scope, method, mask, base, allow_other_run
    )
    return Ticket(*problem.settle(entry.build(problem, steps, settings or {})), target)


def rebuilt(
    model: nn.Module,
    tickets: Sequence[Ticket],
    target: int,
    recipe: Iterable[tuple[int, float]],
    recalibrate: Recalibrate | None,
    scope: Scope,
    method: str,
    mask: MaskRule,
    base: Mapping[str, Tensor] | None = None,
    allow_other_run: bool = False,
) -> tuple[Method, Problem, Steps]:
    """The method whose `build` makes the network of a recipe, and what it is given; raises UserError as `replay`."""
    entry = _entry(method, scope, mask)
    by_level, base = checked(model, tickets, target, allow_other_run), _checked_base(model, base)
    steps = []
    for level, coefficient in recipe:
        if level not in by_level:
            raise UserError(f"the recipe mixes in level {level}, which is not among the tickets: {sorted(by_level)}")
        steps.append((by_level[level], coefficient))
    bench = Bench(model, lambda model: 0.0, recalibrate)
    return entry, Problem(bench, by_level[target], (), scope=scope, mask=mask, base=base), steps


def _alphas(coefficients: Iterable[float]) -> tuple[float, ...]:
    try:
        alphas = tuple(map(float, coefficients))
    except (TypeError, ValueError):
        alphas = ()
    if not alphas or not all(0 < alpha < 1 for alpha in alphas):
        raise UserError(
            f"coefficients are {coefficients}: give numbers strictly between 0 and 1, one or more in a list"
        )
    return alphas


def _entry(method: str, scope: str, mask: str) -> Method:
    """The table's entry; raises UserError where the method, scope or mask rule is unknown."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if mask not in get_args(MaskRule):
        raise unknown("mask rule", mask, get_args(MaskRule))
    if scope not in get_args(Scope):
        raise unknown("scope", scope, get_args(Scope))
    return METHODS[method]


def _checked_base(model: nn.Module, base: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
    """`base`, apart from the model; raises UserError where it does not fit."""
    if base is None:
        return None
    check_fit(model, shapes(base), "the weights of `base`")
    return without_aliases(base, model)

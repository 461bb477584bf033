"""Why a gain came about: linear paths between tickets, their barriers and overlap, the naive ensemble, attribution.

As in `pooling`, a network is measured and recalibrated by the functions given, so any module, data and metric will do:
`measure(model)` is one number, higher is better, or a 1-D tensor with one per sample. The module is left with the last
network that was looked at; BatchNorm is recalibrated anew for each. Rows hold plain values, ready for JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.evaluation.evaluate import measured
from lottery_pools.pooling import weights as arithmetic
from lottery_pools.pooling.search import Recalibrate, Score, Trial
from lottery_pools.pooling.weights import Tensors
from lottery_pools.runs.results import pack_hits
from lottery_pools.tickets.ticket import Ticket, check_fit, load_into, shapes, snapshot


def _measured(model: nn.Module, measure: Score) -> float:
    with torch.no_grad():
        value = measure(model)
    result = float(value.cpu().double().mean()) if isinstance(value, Tensor) else float(value)
    if math.isnan(result):
        raise UserError("measure returned NaN: return a number, higher is better, or one per sample")
    return result


def _settle(model: nn.Module, weights: Tensors, recalibrate: Recalibrate | None) -> None:
    load_into(model, weights)
    if recalibrate is not None:
        recalibrate(model)


def _check(model: nn.Module, tickets: Iterable[Ticket]) -> None:
    """Before tickets are mixed: a mixture has the names and shapes of its first operand."""
    for ticket in tickets:
        check_fit(model, shapes(ticket.weights), f"the weights of the ticket of level {ticket.level}")


# Paths


@dataclass(frozen=True)
class PathPoint:
    """What the mixture α · a + (1 - α) · b does, unpruned."""

    alpha: float
    score: float
    """With the BatchNorm statistics mixed like the weights."""
    recalibrated: float | None
    """With BatchNorm re-estimated; none where no recalibration was given."""


def linear_path(
    model: nn.Module, a: Ticket, b: Ticket, measure: Score, recalibrate: Recalibrate | None = None, points: int = 11
) -> list[PathPoint]:
    """The straight line from `a` (α = 1) to `b` (α = 0), at `points` equally spaced coefficients, ends included.

    Raises UserError where `points` is below 2, a ticket does not fit the model, or `measure` returns NaN.
    """
    _check(model, (a, b))
    first, second = dict(a.weights), dict(b.weights)  # read once, where they lie in files
    return [_look(model, first, second, alpha, measure, recalibrate) for alpha in _coefficients(points)]


def _coefficients(points: int) -> list[float]:
    if points < 2:
        raise UserError(f"points is {points}: a path needs both its ends, give 2 or more")
    return [i / (points - 1) for i in reversed(range(points))]


def _look(
    model: nn.Module, first: Tensors, second: Tensors, alpha: float, measure: Score, recalibrate: Recalibrate | None
) -> PathPoint:
    load_into(model, arithmetic.lerp(first, second, alpha))
    score = _measured(model, measure)
    if recalibrate is None:
        return PathPoint(alpha, score, None)
    recalibrate(model)
    return PathPoint(alpha, score, _measured(model, measure))


def barrier(
    path: Sequence[PathPoint], recalibrated: bool = False, baseline: Literal["mean", "linear"] = "mean"
) -> float:
    """The height of the error barrier on a path, ≥ 0 up to rounding, in the units of the measure.

    `mean`: the largest error on the path less the mean error of its ends (Frankle et al., ICML 2020, section 2).
    Between unequal networks that is half their difference even where nothing rises; `linear` is the largest rise above
    the line between the ends' errors (Entezari et al., ICLR 2022). Error is 1 - accuracy; the 1 cancels, so any
    measure that is higher when better will do.

    Raises UserError where the path was not measured with recalibration and `recalibrated` is asked for.
    """
    scores = [point.recalibrated if recalibrated else point.score for point in path]
    known = [score for score in scores if score is not None]
    if len(known) < len(path):
        raise UserError("this path was measured without recalibration: give linear_path a recalibrate function")
    first, last = known[0], known[-1]
    if baseline == "mean":
        return (first + last) / 2 - min(known)
    return max(last + point.alpha * (first - last) - score for point, score in zip(path, known, strict=True))


@dataclass(frozen=True)
class PairRow:
    """How two tickets relate."""

    first: int
    """Level."""
    second: int
    barrier: float
    """Against the mean of the ends."""
    barrier_recalibrated: float | None
    rise: float
    """Barrier against the line between the ends."""
    rise_recalibrated: float | None
    distance_prunable: float
    """Euclidean, over the prunable tensors, pruned weights being zeros."""
    distance: float
    """Euclidean, over all parameters."""
    cosine: float
    """Of the prunable weights; 0 where a network has none but zeros."""
    jaccard: float
    """Weights that survive in both / in either."""
    inside: float
    """Share of the sparser mask's weights that survive in the denser too; 1 where nested."""
    path: tuple[PathPoint, ...]
    """From `first` (α = 1) to `second`."""


def pairs(
    model: nn.Module,
    tickets: Sequence[Ticket],
    measure: Score,
    recalibrate: Recalibrate | None = None,
    points: int = 11,
) -> Iterator[PairRow]:
    """Every pair of tickets in the order given, n (n - 1) / 2 rows, one at a time as they are computed.

    Each ticket is measured once, first of all; then each pair costs `points` - 2 networks, measured twice where there
    is a recalibration. Three networks are held beside the module, whatever the number of tickets.

    Raises UserError, at the first row, as `linear_path`, and where there are fewer than two tickets or their masks
    have not the same tensors.
    """
    if len(tickets) < 2:
        raise UserError("one ticket makes no pair: give at least two tickets of one network")
    _check(model, tickets)
    parameters = [name for name, parameter in model.named_parameters() if parameter.is_floating_point()]
    inner = _coefficients(points)[1:-1]
    ends = [_look(model, ticket.weights, ticket.weights, 1, measure, recalibrate) for ticket in tickets]
    for i, a in enumerate(tickets[:-1]):
        first = dict(a.weights)
        for j, b in enumerate(tickets[i + 1 :], start=i + 1):
            jaccard, inside = overlap(a, b)
            second = dict(b.weights)
            between = [_look(model, first, second, alpha, measure, recalibrate) for alpha in inner]
            path = [ends[i], *between, PathPoint(0, ends[j].score, ends[j].recalibrated)]
            yield PairRow(
                first=a.level,
                second=b.level,
                barrier=barrier(path),
                barrier_recalibrated=None if recalibrate is None else barrier(path, True),
                rise=barrier(path, baseline="linear"),
                rise_recalibrated=None if recalibrate is None else barrier(path, True, "linear"),
                distance_prunable=arithmetic.distance(first, second, list(a.mask)),
                distance=arithmetic.distance(first, second, parameters),
                cosine=cosine(first, second, list(a.mask)),
                jaccard=jaccard,
                inside=inside,
                path=tuple(path),
            )


def cosine(first: Tensors, second: Tensors, names: Sequence[str]) -> float:
    """The cosine of the angle between two networks over the tensors `names`; 0 where either is all zeros."""

    def dot(one: Tensors, other: Tensors) -> float:
        return sum(float((one[n].cpu().double() * other[n].cpu().double()).sum()) for n in names)

    norms = math.sqrt(dot(first, first) * dot(second, second))
    return dot(first, second) / norms if norms else 0.0


def overlap(a: Ticket, b: Ticket) -> tuple[float, float]:
    """(Jaccard index of the masks, share of the sparser mask that is inside the denser); symmetric.

    Raises UserError where the masks have not the same tensors.
    """
    if odd := sorted(set(a.mask) ^ set(b.mask)):
        raise UserError(
            f"{odd[0]!r} is prunable in only one of the tickets of levels {a.level} and {b.level}: "
            "give tickets whose masks have the same tensors"
        )
    common = sum(int((mask & b.mask[name].to(mask.device)).sum()) for name, mask in a.mask.items())
    sparser, either = min(a.kept, b.kept), a.kept + b.kept - common
    return common / either if either else 1.0, common / sparser if sparser else 1.0


# The naive ensemble


@dataclass(frozen=True)
class EnsembleRow:
    """What averaging the predictions of several networks does, named as in a result row."""

    levels: tuple[int, ...]
    """Of the members."""
    n: int
    correct: int
    accuracy: float
    loss: float
    """Mean negative log-likelihood of the mean probabilities, nats."""
    ece: float
    hits: str
    """Which samples were predicted correctly: packed bits as base64."""
    passes: int
    """Forward passes a sample."""
    disagreement: float
    """Share of samples that two members predict differently, the mean over all pairs; 0 for one member."""


def ensemble(
    model: nn.Module,
    tickets: Sequence[Ticket],
    logits: Callable[[nn.Module], Tensor],
    labels: Tensor,
    recalibrate: Recalibrate | None = None,
) -> EnsembleRow:
    """The naive ensemble: the mean of the members' softmax probabilities, `logits(model)` (n, classes), `labels` (n,).

    Members are recalibrated where a recalibration is given; one is held at a time. Raises UserError where there are
    no tickets, a ticket does not fit the model, or there are not as many logits as labels.
    """
    if not tickets:
        raise UserError("an ensemble of no tickets: give at least one")
    total: Tensor | None = None
    predictions = []
    for ticket in tickets:
        _settle(model, ticket.weights, recalibrate)
        with torch.no_grad():
            logp = logits(model).cpu().double().log_softmax(1)
        if len(logp) != len(labels):
            raise UserError(f"logits of {len(logp)} samples and {len(labels)} labels: give both of the same samples")
        predictions.append(logp.argmax(1))
        total = logp if total is None else torch.logaddexp(total, logp)  # logs, for a probability may underflow
    assert total is not None
    result = measured(total - math.log(len(tickets)), labels)
    disagreements = [float((one != other).double().mean()) for one, other in combinations(predictions, 2)]
    return EnsembleRow(
        levels=tuple(ticket.level for ticket in tickets),
        n=len(labels),
        correct=int(result.hits.sum()),
        accuracy=result.accuracy,
        loss=result.loss,
        ece=result.ece,
        hits=pack_hits(result.hits),
        passes=len(tickets),
        disagreement=math.fsum(disagreements) / max(1, len(disagreements)),
    )


# Attribution


@dataclass(frozen=True)
class Attribution:
    """The gain of a pooled network over its ticket, as the sum of four parts, and what they follow from."""

    ticket: float
    """Measure of the target as it was stored."""
    recalibrated: float
    """Of the target, BatchNorm re-estimated."""
    admissible: float
    """Of the best admissible ticket, BatchNorm re-estimated."""
    mixture: float
    """Of the mixture before its last pruning, BatchNorm re-estimated."""
    pooled: float
    batchnorm: float
    """recalibrated - ticket."""
    takeover: float
    """What taking over the better ticket would have given of what the mixture has."""
    averaging: float
    """What the mixture has beyond that; below 0 where it is worse than the recalibrated target."""
    repruning: float
    """pooled - mixture."""
    optimism: float | None
    """Gain over the recalibrated target on the selection split less that on this one: the noise selected for."""

    @property
    def gain(self) -> float:
        """pooled - ticket, the sum of the four parts."""
        return self.pooled - self.ticket


def split_gain(
    ticket: float,
    recalibrated: float,
    admissible: float,
    mixture: float,
    pooled: float,
    selection: tuple[float, float] | None = None,
) -> Attribution:
    """Split pooled - ticket into BatchNorm, takeover, averaging and re-pruning, from the five measures.

    The parts telescope, so they sum to the gain (to rounding). Takeover is admissible - recalibrated, but not below 0
    (nobody takes over a worse ticket) and not above what the mixture gained on the recalibrated target: a gain that was
    not had is not split. So averaging is mixture - max(recalibrated, admissible) where the mixture beats both, 0 where
    it only beats the recalibrated target. `selection` is what the recalibrated target and the pooled network measure
    on the selection split.
    """
    takeover = min(max(0.0, admissible - recalibrated), max(0.0, mixture - recalibrated))
    return Attribution(
        ticket,
        recalibrated,
        admissible,
        mixture,
        pooled,
        batchnorm=recalibrated - ticket,
        takeover=takeover,
        averaging=mixture - recalibrated - takeover,
        repruning=pooled - mixture,
        optimism=None if selection is None else (selection[1] - selection[0]) - (pooled - recalibrated),
    )


def attribution(
    model: nn.Module,
    target: Ticket,
    admissible: Ticket,
    mixture: Tensors,
    pooled: Ticket,
    measure: Score,
    recalibrate: Recalibrate | None = None,
    select: Score | None = None,
) -> Attribution:
    """Measure the five networks that `split_gain` needs; on the report split, `select` on the selection split.

    `admissible` was chosen on the selection split among tickets at least as sparse as the target. `mixture` (see
    `unpruned`) and `pooled` are measured as they are, the target before and after recalibration.
    """
    measures = [measure] if select is None else [measure, select]
    _settle(model, admissible.weights, recalibrate)
    taken_over = _measured(model, measure)
    load_into(model, mixture)
    mixed = _measured(model, measure)
    load_into(model, target.weights)
    stored = _measured(model, measure)
    if recalibrate is not None:
        recalibrate(model)
    before = [_measured(model, each) for each in measures]
    load_into(model, pooled.weights)
    after = [_measured(model, each) for each in measures]
    selection = None if select is None else (before[1], after[1])
    return split_gain(stored, before[0], taken_over, mixed, after[0], selection)


def unpruned(
    model: nn.Module,
    tickets: Sequence[Ticket],
    target: int,
    recipe: Iterable[tuple[int, float]],
    recalibrate: Recalibrate | None = None,
    prune: Callable[[Tensors, Ticket], Tensors] = arithmetic.prune_back,
) -> dict[str, Tensor]:
    """The network of a recipe before its last pruning: weights of every density, BatchNorm re-estimated.

    Each step mixes, prunes (`prune(weights, target)`) and recalibrates as in the search, for later steps were chosen
    on the pruned network; only the last step does not prune. An empty recipe gives the recalibrated target.

    Raises UserError where the target or a level of the recipe is not among the tickets, or one does not fit the model.
    """
    _check(model, tickets)
    by_level = {ticket.level: ticket for ticket in tickets}
    steps = list(recipe)
    for level in (target, *(level for level, _ in steps)):
        if level not in by_level:
            raise UserError(f"level {level} of the recipe is not among the tickets: {sorted(by_level)}")
    _settle(model, by_level[target].weights, recalibrate)
    weights = snapshot(model)
    for number, (level, alpha) in enumerate(steps, start=1):
        mixed: Tensors = arithmetic.lerp(weights, by_level[level].weights, alpha)
        _settle(model, mixed if number == len(steps) else prune(mixed, by_level[target]), recalibrate)
        weights = snapshot(model)
    return weights


# Decisions


@dataclass(frozen=True)
class Decision:
    """What became of one candidate, and why."""

    candidate: int
    """Level."""
    alpha: float
    """The best coefficient tried."""
    score: float
    bar: float
    taken: bool
    why: str


def decisions(trials: Iterable[Trial]) -> list[Decision]:
    """For each candidate of a search, in order: taken or refused, and why, in words."""
    return [Decision(t.candidate, t.alpha, t.score, t.bar, t.accepted, _why(t)) for t in trials]


def _why(trial: Trial) -> str:
    # as many digits as tell the two apart
    equal = trial.score == trial.bar
    differs = (digits for digits in range(4, 17) if f"{trial.score:.{digits}g}" != f"{trial.bar:.{digits}g}")
    digits = 4 if equal else next(differs, 17)
    score, bar = f"score {trial.score:.{digits}g} at α = {trial.alpha:g}", f"the bar {trial.bar:.{digits}g}"
    if trial.score < trial.bar:
        return f"{score} is below {bar}" + (", taken by the method's own rule" if trial.accepted else "")
    relation = "equals" if equal else "is above"
    return f"{score} {relation} {bar}" + ("" if trial.accepted else ", refused by the method's own rule")

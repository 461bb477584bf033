"""Linear paths between tickets: their barriers, and how far apart and how alike the two ends are.

As in `pooling`, a network is measured and recalibrated by the functions given, so any module, data and metric will do:
`measure(model)` is one number, higher is better, or a 1-D tensor with one per sample. The module is left with the last
network that was looked at; BatchNorm is recalibrated anew for each. Rows hold plain values, ready for JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.pooling.evaluator import Recalibrate, Score
from lottery_pools.tickets.ticket import Ticket, check_fit, load_into, shapes


def _measured(model: nn.Module, measure: Score) -> float:
    with torch.no_grad():
        value = measure(model)
    result = float(value.cpu().double().mean()) if isinstance(value, Tensor) else float(value)
    if math.isnan(result):
        raise UserError("measure returned NaN: return a number, higher is better, or one per sample")
    return result


def check(model: nn.Module, tickets: Iterable[Ticket]) -> None:
    """Raise UserError where a ticket does not fit: a mixture has the names and shapes of its first operand."""
    for ticket in tickets:
        check_fit(model, shapes(ticket.weights), f"the weights of the ticket of level {ticket.level}")


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
    check(model, (a, b))
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
    check(model, tickets)
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
                cosine=arithmetic.cosine(first, second, list(a.mask)),
                jaccard=jaccard,
                inside=inside,
                path=tuple(path),
            )


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

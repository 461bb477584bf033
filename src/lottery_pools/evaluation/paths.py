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


@dataclass(frozen=True)
class _Meter:
    """What measures the networks on a path, in one module."""

    model: nn.Module
    measure: Score
    recalibrate: Recalibrate | None

    def point(self, first: Tensors, second: Tensors, alpha: float) -> PathPoint:
        """Measure the mixture alpha · first + (1 - alpha) · second; the module is left with it."""
        load_into(self.model, arithmetic.lerp(first, second, alpha))
        score = self._measured()
        if self.recalibrate is None:
            return PathPoint(alpha, score, None)
        self.recalibrate(self.model)
        return PathPoint(alpha, score, self._measured())

    def _measured(self) -> float:
        with torch.no_grad():
            value = self.measure(self.model)
        result = float(value.cpu().double().mean()) if isinstance(value, Tensor) else float(value)
        if math.isnan(result):
            raise UserError("measure returned NaN: return a number, higher is better, or one per sample")
        return result


def _coefficients(points: int) -> list[float]:
    """Equally spaced coefficients from 1 to 0."""
    if points < 2:
        raise UserError(f"points is {points}: a path needs both its ends, give 2 or more")
    return [i / (points - 1) for i in reversed(range(points))]


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
        raise UserError("this path was measured without recalibration: give a recalibrate function")
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
    """Relate every two tickets: n (n - 1) / 2 rows, in the order given, one at a time as they are computed.

    Each ticket is measured once, first of all; then each pair costs `points` - 2 networks, measured twice where there
    is a recalibration. Three networks are held beside the module, whatever the number of tickets.

    Args:
        model: the module that the weights are loaded into.
        tickets: two or more of one network.
        measure: `measure(model)` is one number, higher is better, or a 1-D tensor with one per sample.
        recalibrate: `recalibrate(model)` re-estimates BatchNorm statistics; none: nothing is measured recalibrated.
        points: equally spaced coefficients on each path, both ends included.

    Raises UserError, at the first row, where `points` is below 2, there are fewer than two tickets, one does not fit
    the model, their masks have not the same tensors, or `measure` returns NaN.
    """
    if len(tickets) < 2:
        raise UserError("one ticket makes no pair: give at least two tickets of one network")
    check(model, tickets)
    meter, between = _Meter(model, measure, recalibrate), _coefficients(points)[1:-1]
    ends = [meter.point(ticket.weights, ticket.weights, 1) for ticket in tickets]
    for i, a in enumerate(tickets[:-1]):
        weights = dict(a.weights)  # read once for all pairs that the ticket is the first of
        for j in range(i + 1, len(tickets)):
            yield _pair_row(meter, _Pair(a, weights, tickets[j], (ends[i], ends[j])), between)


@dataclass(frozen=True)
class _Pair:
    """Two tickets, of which the ends of the path between them are measured already."""

    first: Ticket
    first_weights: Tensors
    second: Ticket
    ends: tuple[PathPoint, PathPoint]


def _pair_row(meter: _Meter, pair: _Pair, between: Iterable[float]) -> PairRow:
    """Measure the path between two tickets at the coefficients `between`, and compare the two."""
    jaccard, inside = overlap(pair.first, pair.second)
    first, second = pair.first_weights, dict(pair.second.weights)
    start, end = pair.ends
    inner = [meter.point(first, second, alpha) for alpha in between]
    path = (start, *inner, PathPoint(0, end.score, end.recalibrated))
    prunable = list(pair.first.mask)
    parameters = [name for name, parameter in meter.model.named_parameters() if parameter.is_floating_point()]
    recalibrated = meter.recalibrate is not None
    return PairRow(
        first=pair.first.level,
        second=pair.second.level,
        barrier=barrier(path),
        barrier_recalibrated=barrier(path, True) if recalibrated else None,
        rise=barrier(path, baseline="linear"),
        rise_recalibrated=barrier(path, True, "linear") if recalibrated else None,
        distance_prunable=arithmetic.distance(first, second, prunable),
        distance=arithmetic.distance(first, second, parameters),
        cosine=arithmetic.cosine(first, second, prunable),
        jaccard=jaccard,
        inside=inside,
        path=path,
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

"""Paths, barriers and overlap: worked out by hand on networks of a few weights."""

from __future__ import annotations

import dataclasses
import json
import math
import weakref
from collections.abc import Iterator, Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.evaluation.paths import PathPoint, barrier, overlap, pairs
from lottery_pools.pooling import arithmetic, batchnorm
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, snapshot


def ticket(level: int, *values: float) -> Ticket:
    weights = {"weight": torch.tensor([values], dtype=torch.float64)}
    return Ticket(weights, masks.from_zeros(weights, ["weight"]), level)


def linear(width: int) -> nn.Linear:
    return nn.Linear(width, 1, bias=False, dtype=torch.float64)


def total(model: nn.Module) -> float:
    return float(snapshot(model)["weight"].sum())


def square(model: nn.Module) -> Tensor:
    """One score a sample, whose mean is the first weight squared."""
    first = snapshot(model)["weight"][0, 0]
    return torch.stack([first**2 - 1, first**2 + 1])


def close(value: float) -> object:
    return pytest.approx(value, abs=1e-12)


OTHER = Ticket({"weight": torch.ones(1, 1), "bias": torch.ones(1)}, {"bias": torch.ones(1, dtype=torch.bool)}, 1)
"""Of another network than `linear(1)`."""
MISFIT = "'bias' .*, the model does not: give the model they are of"


def test_a_path_in_closed_form() -> None:
    model = linear(2)
    (row,) = pairs(model, [ticket(0, 1, 1), ticket(1, -1, 0)], square, points=5)
    assert list(row.path) == [PathPoint(alpha, (2 * alpha - 1) ** 2, None) for alpha in (1, 0.75, 0.5, 0.25, 0)]
    assert barrier(row.path) == barrier(row.path, baseline="linear") == 1
    assert snapshot(model)["weight"].tolist() == [[-0.5, 0.25]]  # the ends were measured before


def test_barriers_between_unequal_ends() -> None:
    # a straight line: no rise, and half the difference by the definition of Frankle et al.
    (row,) = pairs(linear(1), [ticket(0, 3), ticket(1, 1)], total)
    assert [point.alpha for point in row.path] == [i / 10 for i in range(10, -1, -1)]
    assert (barrier(row.path), barrier(row.path, baseline="linear")) == (close(1), close(0))
    # errors 0.1, 0.5, 0.4, 0.3: means 0.2; the line is 0.1 + 0.2 / 3 at the second point
    path = [PathPoint(alpha, score, None) for alpha, score in ((1, 0.9), (2 / 3, 0.5), (1 / 3, 0.6), (0, 0.7))]
    assert (barrier(path), barrier(path, baseline="linear")) == (close(0.3), close(0.4 - 0.2 / 3))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_no_barrier_is_below_zero_or_depends_on_the_direction(scores: list[float]) -> None:
    last = len(scores) - 1
    path = [PathPoint((last - i) / last, score, score) for i, score in enumerate(scores)]
    back = [PathPoint((last - i) / last, score, score) for i, score in enumerate(scores[::-1])]
    for baseline in ("mean", "linear"):
        height = barrier(path, True, baseline)
        assert height > -1e-12
        assert height == close(barrier(back, True, baseline))


class Threshold(nn.Module):
    """Class 1 where the normalised input, whatever its scale, is above 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.norm = nn.BatchNorm1d(1, affine=False, eps=1e-12)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        above: Tensor = self.norm(self.first(x)) - 1
        return torch.cat([torch.zeros_like(above), above], 1)


def normalised_inputs() -> Tensor:
    x = torch.randn(200, 1, generator=generator(0, "inputs"), dtype=torch.float64)
    return (x - x.mean()) / x.std()


def scaled(level: int, scale: float) -> Ticket:
    """One function at any scale: its BatchNorm has the statistics of that scale."""
    model = Threshold()
    model.first.weight.data.fill_(scale)
    batchnorm.recalibrate(model, [normalised_inputs()])
    return Ticket(snapshot(model), {"first.weight": torch.ones(1, 1, dtype=torch.bool)}, level)


def test_a_barrier_of_batchnorm_vanishes_with_recalibration() -> None:
    x = normalised_inputs()
    labels = (x > 1).long().flatten()

    def hits(model: nn.Module) -> Tensor:
        correct: Tensor = model.eval()(x).argmax(1) == labels
        return correct

    def recalibrate(model: nn.Module) -> object:
        return batchnorm.recalibrate(model, [x])

    (row,) = pairs(Threshold(), [scaled(0, 1), scaled(1, 9)], hits, recalibrate, points=5)
    path = row.path
    assert [point.recalibrated for point in path] == [1] * 5
    for point in path:
        # weight 1 + 8β at β = 1 - α, standard deviation √(1 + 80β)
        shrunk = x * (9 - 8 * point.alpha) / math.sqrt(81 - 80 * point.alpha)
        assert point.score == close(float(((shrunk > 1) == (x > 1)).double().mean()))
    assert barrier(path) > 0.05
    assert barrier(path, recalibrated=True) == 0
    assert (row.barrier, row.barrier_recalibrated) == (barrier(path), 0)
    assert (row.rise, row.rise_recalibrated) == (barrier(path, baseline="linear"), 0)
    # BatchNorm's statistics are no parameters
    assert (row.distance, row.distance_prunable) == (8, 8)


def test_pairs_by_hand() -> None:
    # the first ticket's mask holds the second's; the third's shares one weight of two with it
    tickets = [ticket(0, 1, 2, 2, 0), ticket(1, -1, 0, 0, 0), ticket(2, 3, 0, 0, 4)]
    rows = list(pairs(linear(4), tickets, square, points=3))
    assert [(row.first, row.second) for row in rows] == [(0, 1), (0, 2), (1, 2)]
    # first weights 1 and -1: scores 1, 0, 1;  1 and 3: 1, 4, 9;  -1 and 3: 1, 1, 9
    assert [row.barrier for row in rows] == [1, 4, 4]
    assert [row.rise for row in rows] == [1, 1, 4]
    assert [row.barrier_recalibrated for row in rows] == [row.rise_recalibrated for row in rows] == [None] * 3
    assert [row.distance_prunable for row in rows] == [close(math.sqrt(d)) for d in (12, 28, 32)]
    assert [row.distance for row in rows] == [row.distance_prunable for row in rows]
    assert [row.cosine for row in rows] == [close(c) for c in (-1 / 3, 3 / 15, -3 / 5)]
    assert [(row.jaccard, row.inside) for row in rows] == [(1 / 3, 1), (1 / 4, 1 / 2), (1 / 2, 1)]
    assert json.loads(json.dumps([dataclasses.asdict(row) for row in rows]))[1]["barrier"] == 4


def test_distance_is_also_over_what_is_not_pruned() -> None:
    model = nn.Linear(1, 1)
    weights = [{"weight": torch.tensor([[w]]), "bias": torch.tensor([b])} for w, b in ((1.0, 4.0), (4.0, 0.0))]
    both = [Ticket(w, masks.dense(w, ["weight"]), level) for level, w in enumerate(weights)]
    (row,) = pairs(model, both, lambda model: 0.0)
    assert (row.distance_prunable, row.distance) == (3, 5)


def test_identical_networks() -> None:
    twins = [ticket(0, 0.3, 0, 1.7), ticket(1, 0.3, 0, 1.7)]
    (row,) = pairs(linear(3), twins, total, lambda model: None)
    assert (row.barrier, row.barrier_recalibrated, row.rise, row.rise_recalibrated) == (0, 0, 0, 0)
    assert (row.distance, row.distance_prunable, row.jaccard, row.inside) == (0, 0, 1, 1)
    assert row.cosine == close(1)


def test_the_cosine_of_a_network_of_zeros_is_zero() -> None:
    zeros = {"weight": torch.zeros(2)}
    assert arithmetic.cosine(zeros, {"weight": torch.ones(2)}, ["weight"]) == 0


class OnDemand(Mapping[str, Tensor]):
    """A ticket's tensors as a file gives them: new at each reading."""

    def __init__(self, value: float, alive: weakref.WeakSet[Tensor]) -> None:
        self.value, self.alive = value, alive

    def __getitem__(self, name: str) -> Tensor:
        if name != "weight":
            raise KeyError(name)
        tensor = torch.full((1, 2), self.value, dtype=torch.float64)
        self.alive.add(tensor)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(["weight"])

    def __len__(self) -> int:
        return 1


def test_pairs_come_one_by_one_with_two_tickets_in_memory() -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    dense = {"weight": torch.ones(1, 2, dtype=torch.bool)}
    tickets = [Ticket(OnDemand(float(level), alive), dense, level) for level in range(6)]
    held: list[int] = []

    def measure(model: nn.Module) -> float:
        held.append(len(alive))
        return 1.0

    rows = pairs(linear(2), tickets, measure, points=3)
    next(rows)
    assert len(held) == 6 + 1  # the ends of all, and the middle of one pair
    assert len(list(rows)) == 14
    assert len(held) == 6 + 15
    assert max(held) == 2


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_overlap_is_symmetric_and_counts(kept: list[tuple[bool, bool]]) -> None:
    a, b = (ticket(level, *(float(pair[level]) for pair in kept)) for level in (0, 1))
    kept_a, kept_b = ({i for i, pair in enumerate(kept) if pair[level]} for level in (0, 1))
    assert overlap(a, b) == overlap(b, a)
    jaccard, inside = overlap(a, b)
    assert 0 <= jaccard <= inside <= 1
    assert jaccard == (len(kept_a & kept_b) / len(kept_a | kept_b) if kept_a | kept_b else 1)
    assert inside == (len(kept_a & kept_b) / min(len(kept_a), len(kept_b)) if kept_a and kept_b else 1)


def test_mistakes_are_named() -> None:
    model, a = linear(1), ticket(0, 1)
    with pytest.raises(UserError, match="points is 1"):
        next(pairs(model, [a, a], total, points=1))
    with pytest.raises(UserError, match="measure returned NaN"):
        next(pairs(model, [a, a], lambda model: float("nan")))
    with pytest.raises(UserError, match="measured without recalibration"):
        barrier(next(pairs(model, [a, a], total)).path, recalibrated=True)
    with pytest.raises(UserError, match="one ticket makes no pair"):
        next(pairs(model, [a], total))
    with pytest.raises(UserError, match="'bias' is prunable in only one of the tickets of levels 0 and 1"):
        overlap(a, OTHER)
    with pytest.raises(UserError, match=MISFIT):
        next(pairs(model, [a, OTHER], total))

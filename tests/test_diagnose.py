"""Paths, barriers, overlap, ensembles and attribution: worked out by hand on networks of a few weights."""

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
from lottery_pools.evaluation.diagnose import (
    PathPoint,
    attribution,
    barrier,
    cosine,
    decisions,
    ensemble,
    linear_path,
    overlap,
    pairs,
    split_gain,
    unpruned,
)
from lottery_pools.pooling import batchnorm
from lottery_pools.pooling.search import Trial
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


# Paths


def test_a_path_in_closed_form() -> None:
    model = linear(2)
    path = linear_path(model, ticket(0, 1, 1), ticket(1, -1, 0), square, points=5)
    assert path == [PathPoint(alpha, (2 * alpha - 1) ** 2, None) for alpha in (1, 0.75, 0.5, 0.25, 0)]
    assert barrier(path) == barrier(path, baseline="linear") == 1
    assert snapshot(model)["weight"].tolist() == [[-1, 0]]


def test_barriers_between_unequal_ends() -> None:
    # a straight line: no rise, and half the difference by the definition of Frankle et al.
    path = linear_path(linear(1), ticket(0, 3), ticket(1, 1), total)
    assert [point.alpha for point in path] == [i / 10 for i in range(10, -1, -1)]
    assert (barrier(path), barrier(path, baseline="linear")) == (close(1), close(0))
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

    path = linear_path(Threshold(), scaled(0, 1), scaled(1, 9), hits, recalibrate, points=5)
    assert [point.recalibrated for point in path] == [1] * 5
    for point in path:
        # weight 1 + 8β at β = 1 - α, standard deviation √(1 + 80β)
        shrunk = x * (9 - 8 * point.alpha) / math.sqrt(81 - 80 * point.alpha)
        assert point.score == close(float(((shrunk > 1) == (x > 1)).double().mean()))
    assert barrier(path) > 0.05
    assert barrier(path, recalibrated=True) == 0
    (row,) = pairs(Threshold(), [scaled(0, 1), scaled(1, 9)], hits, recalibrate, points=5)
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
    assert cosine(zeros, {"weight": torch.ones(2)}, ["weight"]) == 0


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
    one, other = ({i for i, pair in enumerate(kept) if pair[level]} for level in (0, 1))
    assert overlap(a, b) == overlap(b, a)
    jaccard, inside = overlap(a, b)
    assert 0 <= jaccard <= inside <= 1
    assert jaccard == (len(one & other) / len(one | other) if one | other else 1)
    assert inside == (len(one & other) / min(len(one), len(other)) if one and other else 1)


def test_mistakes_are_named() -> None:
    model, a = linear(1), ticket(0, 1)
    other = Ticket({"weight": torch.ones(1, 1), "bias": torch.ones(1)}, {"bias": torch.ones(1, dtype=torch.bool)}, 1)
    with pytest.raises(UserError, match="points is 1"):
        linear_path(model, a, a, total, points=1)
    with pytest.raises(UserError, match="measure returned NaN"):
        linear_path(model, a, a, lambda model: float("nan"))
    with pytest.raises(UserError, match="measured without recalibration"):
        barrier(linear_path(model, a, a, total), recalibrated=True)
    with pytest.raises(UserError, match="one ticket makes no pair"):
        next(pairs(model, [a], total))
    with pytest.raises(UserError, match="'bias' is prunable in only one of the tickets of levels 0 and 1"):
        overlap(a, other)
    misfit = "'bias' .*, the model does not: give the model they are of"
    with pytest.raises(UserError, match=misfit):
        linear_path(model, a, other, total)
    with pytest.raises(UserError, match=misfit):
        next(pairs(model, [a, other], total))
    with pytest.raises(UserError, match=misfit):
        unpruned(model, [a, other], 0, [(1, 0.5)])
    with pytest.raises(UserError, match="an ensemble of no tickets"):
        ensemble(model, [], lambda model: torch.ones(1, 2), torch.zeros(1))
    with pytest.raises(UserError, match="logits of 1 samples and 2 labels"):
        ensemble(model, [a], lambda model: torch.ones(1, 2), torch.zeros(2))
    with pytest.raises(UserError, match=r"level 7 of the recipe is not among the tickets: \[0\]"):
        unpruned(model, [a], 0, [(7, 0.5)])


# The naive ensemble


def predictor(level: int, probabilities: list[list[float]]) -> Ticket:
    """A network whose sample i has these class probabilities: its logits are its weights."""
    weights = {"weight": torch.tensor(probabilities, dtype=torch.float64).log().T.contiguous()}
    return Ticket(weights, masks.dense(weights, ["weight"]), level)


def logits(model: nn.Module) -> Tensor:
    out: Tensor = model(torch.eye(3, dtype=torch.float64))
    return out


def test_an_ensemble_by_hand() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    one = predictor(0, [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    two = predictor(3, [[0.3, 0.7], [0.4, 0.6], [0.6, 0.4]])
    three = predictor(5, [[0.6, 0.4], [0.1, 0.9], [0.2, 0.8]])
    row = ensemble(model, [one, two, three], logits, torch.tensor([0, 1, 1]))
    # means: [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]: the first of equals is class 0, which is wrong
    assert (row.levels, row.passes, row.n, row.correct, row.accuracy) == ((0, 3, 5), 3, 3, 2, close(2 / 3))
    assert row.hits == "wA=="  # bits 110
    assert row.loss == close(-(math.log(0.6) + math.log(0.7) + math.log(0.5)) / 3)
    # three confidences in three bins: |1 - 0.6|, |1 - 0.7|, |0 - 0.5|
    assert row.ece == close((0.4 + 0.3 + 0.5) / 3)
    # members predict 011... one: 0 1 0; two: 1 1 0; three: 0 1 1: pairs differ on 1, 1 and 2 of 3 samples
    assert row.disagreement == close((1 + 1 + 2) / 9)


def test_an_ensemble_of_one_network_is_that_network() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    one = predictor(0, [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    labels = torch.tensor([0, 0, 0])
    alone, thrice = ensemble(model, [one], logits, labels), ensemble(model, [one] * 3, logits, labels)
    assert (alone.disagreement, thrice.disagreement) == (0, 0)
    assert (alone.hits, alone.passes, thrice.hits, thrice.passes) == (thrice.hits, 1, alone.hits, 3)
    assert alone.loss == close(thrice.loss) == close(-(math.log(0.9) + math.log(0.4) + math.log(0.7)) / 3)


def test_probabilities_that_underflow_have_a_finite_loss() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    weights = {"weight": torch.tensor([[2000.0] * 3, [0.0] * 3], dtype=torch.float64)}
    sure = Ticket(weights, masks.dense(weights, ["weight"]), 0)
    assert ensemble(model, [sure, sure], logits, torch.ones(3, dtype=torch.long)).loss == close(2000)


def test_members_are_recalibrated() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)

    def swap(model: nn.Module) -> None:
        assert isinstance(model, nn.Linear)
        model.weight.data = model.weight.data.flip(0)

    one = predictor(0, [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    assert ensemble(model, [one], logits, torch.zeros(3, dtype=torch.long)).correct == 3
    assert ensemble(model, [one, one], logits, torch.zeros(3, dtype=torch.long), swap).correct == 0


# Attribution


@pytest.mark.parametrize(
    ("scores", "takeover", "averaging"),
    [
        ((70, 71, 73, 75), 2, 2),  # recalibrated, admissible, mixture: better than both
        ((70, 71, 69, 75), 0, 4),  # nobody takes over a worse ticket
        ((70, 71, 76, 75), 4, 0),  # no more was had than the mixture has
        ((70, 71, 76, 69), 0, -2),  # the mixture is worse than the target
    ],
)
def test_what_is_takeover_and_what_is_averaging(
    scores: tuple[float, float, float, float], takeover: float, averaging: float
) -> None:
    parts = split_gain(*scores, pooled=74)
    assert (parts.batchnorm, parts.takeover, parts.averaging) == (1, takeover, averaging)
    assert parts.repruning == 74 - scores[3]
    assert parts.optimism is None


@given(st.tuples(*[st.integers(0, 1024)] * 5))
def test_the_parts_sum_to_the_gain(hits: tuple[int, int, int, int, int]) -> None:
    """Exactly, where accuracies are exact."""
    ticket, recalibrated, admissible, mixture, pooled = (count / 1024 for count in hits)
    parts = split_gain(ticket, recalibrated, admissible, mixture, pooled)
    assert parts.batchnorm + parts.takeover + parts.averaging + parts.repruning == parts.gain == pooled - ticket
    assert 0 <= parts.takeover <= max(0, mixture - recalibrated)


@given(st.tuples(*[st.floats(0, 1)] * 5))
def test_the_parts_sum_to_the_gain_to_rounding(scores: tuple[float, float, float, float, float]) -> None:
    parts = split_gain(*scores)
    assert parts.batchnorm + parts.takeover + parts.averaging + parts.repruning == close(parts.gain)


class Bonus(nn.Linear):
    """A network whose one statistic, stale in tickets, adds to its score."""

    bonus: Tensor

    def __init__(self) -> None:
        super().__init__(4, 1, bias=False, dtype=torch.float64)
        self.register_buffer("bonus", torch.zeros((), dtype=torch.float64))


def stale(level: int, *values: float) -> Ticket:
    plain = ticket(level, *values)
    return Ticket({**plain.weights, "bonus": torch.zeros((), dtype=torch.float64)}, plain.mask, level)


def freshen(model: nn.Module) -> None:
    assert isinstance(model, Bonus)
    model.bonus.fill_(1)


def with_bonus(model: nn.Module) -> float:
    assert isinstance(model, Bonus)
    return total(model) + float(model.bonus)


def test_an_attribution_by_hand() -> None:
    tickets = [stale(1, 4, 0, 4, 0), stale(2, 2, 2, 0, 0), stale(3, 0, 6, 0, 0)]
    model = Bonus()
    # step 1: [3, 1, 2, 0] → [3, 0, 2, 0];  step 2: [1.5, 3, 1, 0], pruned to [1.5, 3, 0, 0]
    mixture = unpruned(model, tickets, 2, [(1, 0.5), (3, 0.5)], freshen)
    assert mixture["weight"].tolist() == [[1.5, 3, 1, 0]]
    assert mixture["bonus"] == 1
    pooled = dataclasses.replace(ticket(2, 1.5, 3, 0, 0), weights={**mixture, "weight": torch.tensor([[1.5, 3, 0, 0]])})
    parts = attribution(
        model, tickets[1], tickets[2], mixture, pooled, with_bonus, freshen, lambda model: 10 * with_bonus(model)
    )
    # ticket 4, recalibrated 5, admissible 7, mixture 6.5, pooled 5.5; on the selection split 50 and 55
    assert (parts.ticket, parts.recalibrated, parts.admissible, parts.mixture, parts.pooled) == (4, 5, 7, 6.5, 5.5)
    assert (parts.batchnorm, parts.takeover, parts.averaging, parts.repruning) == (1, 1.5, 0, -1)
    assert (parts.gain, parts.optimism) == (1.5, 5 - 0.5)
    plain = attribution(model, tickets[1], tickets[2], mixture, pooled, with_bonus)
    assert (plain.batchnorm, plain.admissible, plain.optimism) == (0, 6, None)


def test_a_recipe_without_steps_leaves_the_recalibrated_target() -> None:
    model = Bonus()
    tickets = [stale(0, 1, 1, 1, 0), stale(1, 2, 2, 0, 0)]
    mixture = unpruned(model, tickets, 1, [], freshen)
    assert mixture["weight"].tolist() == [[2, 2, 0, 0]]
    assert mixture["bonus"] == 1
    parts = attribution(
        model, tickets[1], tickets[0], mixture, Ticket(mixture, tickets[1].mask, 1), with_bonus, freshen
    )
    assert (parts.gain, parts.batchnorm) == (1, 1)
    assert (parts.takeover, parts.averaging, parts.repruning) == (0, 0, 0)


def test_another_rule_of_pruning_can_be_given() -> None:
    def by_target(weights: Mapping[str, Tensor], target: Ticket) -> Mapping[str, Tensor]:
        return masks.apply(weights, target.mask)

    tickets = [ticket(1, 4, 0, 4, 0), ticket(2, 2, 2, 0, 0), ticket(3, 0, 6, 0, 0)]
    # [3, 1, 2, 0] → [3, 1, 0, 0];  [1.5, 3.5, 0, 0]
    mixture = unpruned(linear(4), tickets, 2, [(1, 0.5), (3, 0.5)], prune=by_target)
    assert mixture["weight"].tolist() == [[1.5, 3.5, 0, 0]]
    assert tickets[1].weights["weight"].tolist() == [[2, 2, 0, 0]]


# Decisions


@pytest.mark.parametrize(
    ("trial", "why"),
    [
        (Trial(4, 0.6, 0.712, 0.715, False), "score 0.712 at α = 0.6 is below the bar 0.715"),
        (Trial(4, 0.6, 0.715, 0.712, True), "score 0.715 at α = 0.6 is above the bar 0.712"),
        (Trial(4, 0.05, 0.7, 0.7, True), "score 0.7 at α = 0.05 equals the bar 0.7"),
        (Trial(4, 0.5, 0.712341, 0.712342, False), "score 0.712341 at α = 0.5 is below the bar 0.712342"),
        (Trial(4, 0.5, 0.71234, 0.71236, False), "score 0.7123 at α = 0.5 is below the bar 0.7124"),
        (
            Trial(4, 0.5, 0.3, 0.1 + 0.2, False),
            "score 0.29999999999999999 at α = 0.5 is below the bar 0.30000000000000004",
        ),
        (Trial(4, 0.5, 0.7, 0.7, False), "score 0.7 at α = 0.5 equals the bar 0.7, refused by the method's own rule"),
        (Trial(4, 0.5, 0.6, 0.7, True), "score 0.6 at α = 0.5 is below the bar 0.7, taken by the method's own rule"),
    ],
)
def test_decisions_say_why(trial: Trial, why: str) -> None:
    (decision,) = decisions([trial])
    assert decision.why == why
    assert (decision.candidate, decision.alpha, decision.taken) == (4, trial.alpha, trial.accepted)
    assert (decision.score, decision.bar) == (trial.score, trial.bar)

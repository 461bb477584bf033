"""The parts of a gain: they sum to it, and are worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.evaluation.attribution import Measures, decisions, split_gain, unpruned
from lottery_pools.pooling.recipe import Recipe
from lottery_pools.pooling.result import Trial
from lottery_pools.tickets.ticket import Ticket
from tests.test_paths import MISFIT, OTHER, close, linear, ticket


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
    parts = split_gain(Measures(*scores, pooled=74))
    assert (parts.batchnorm, parts.takeover, parts.averaging) == (1, takeover, averaging)
    assert parts.repruning == 74 - scores[3]
    assert parts.optimism is None


@given(st.tuples(*[st.integers(0, 1024)] * 5))
def test_the_parts_sum_to_the_gain(hits: tuple[int, int, int, int, int]) -> None:
    """Exactly, where accuracies are exact."""
    ticket, recalibrated, admissible, mixture, pooled = (count / 1024 for count in hits)
    parts = split_gain(Measures(ticket, recalibrated, admissible, mixture, pooled))
    assert parts.batchnorm + parts.takeover + parts.averaging + parts.repruning == parts.gain == pooled - ticket
    assert 0 <= parts.takeover <= max(0, mixture - recalibrated)


@given(st.tuples(*[st.floats(0, 1)] * 5))
def test_the_parts_sum_to_the_gain_to_rounding(scores: tuple[float, float, float, float, float]) -> None:
    parts = split_gain(Measures(*scores))
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


def test_a_mixture_before_its_last_pruning_by_hand() -> None:
    tickets = [stale(1, 4, 0, 4, 0), stale(2, 2, 2, 0, 0), stale(3, 0, 6, 0, 0)]
    # step 1: [3, 1, 2, 0] → [3, 0, 2, 0];  step 2: [1.5, 3, 1, 0]
    mixture = unpruned(
        Bonus(),
        tickets,
        Recipe(
            2,
            (
                (1, 0.5),
                (3, 0.5),
            ),
            "interpolation",
        ),
        freshen,
    )
    assert mixture["weight"].tolist() == [[1.5, 3, 1, 0]]
    assert mixture["bonus"] == 1


def test_a_soup_before_its_last_pruning_by_hand() -> None:
    tickets = [stale(1, 4, 0, 4, 0), stale(2, 2, 2, 0, 0), stale(3, 0, 6, 0, 0)]
    mixture = unpruned(
        Bonus(),
        tickets,
        Recipe(
            2,
            (
                (3, 0.25),
                (1, 0.75),
            ),
            "learned-soup",
        ),
        freshen,
    )
    assert mixture["weight"].tolist() == [[3, 1.5, 3, 0]]
    assert mixture["bonus"] == 1
    settings = {"shares": {"weight": [1.0, 0.0]}}
    mixture = unpruned(
        Bonus(),
        tickets,
        Recipe(
            2,
            (
                (3, 0.25),
                (1, 0.75),
            ),
            "learned-soup-layers",
            settings=settings,
        ),
        freshen,
    )
    assert mixture["weight"].tolist() == [[0, 6, 0, 0]]


def test_a_recipe_without_steps_leaves_the_recalibrated_target() -> None:
    tickets = [stale(0, 1, 1, 1, 0), stale(1, 2, 2, 0, 0)]
    mixture = unpruned(Bonus(), tickets, Recipe(1, (), "average"), freshen)
    assert mixture["weight"].tolist() == [[2, 2, 0, 0]]
    assert mixture["bonus"] == 1


def test_steps_before_the_last_are_pruned_by_the_rule_of_the_run() -> None:
    tickets = [ticket(1, 4, 0, 4, 0), ticket(2, 2, 2, 0, 0), ticket(3, 0, 6, 0, 0)]
    # [3, 1, 2, 0] → [3, 1, 0, 0];  [1.5, 3.5, 0, 0]
    mixture = unpruned(
        linear(4),
        tickets,
        Recipe(
            2,
            (
                (1, 0.5),
                (3, 0.5),
            ),
            "interpolation",
            mask="target",
        ),
    )
    assert mixture["weight"].tolist() == [[1.5, 3.5, 0, 0]]
    assert tickets[1].weights["weight"].tolist() == [[2, 2, 0, 0]]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=MISFIT):
        unpruned(linear(1), [ticket(0, 1), OTHER], Recipe(0, ((1, 0.5),)))
    with pytest.raises(UserError, match=r"the recipe mixes in level 7, which is not among the tickets: \[0, 1\]"):
        unpruned(linear(1), [ticket(0, 1), ticket(1, 1)], Recipe(0, ((7, 0.5),)))


@pytest.mark.parametrize(
    ("trial", "why"),
    [
        (Trial(4, 0.6, 0.712, 0.715, False), "score 0.712 at α = 0.6 is below the threshold 0.715"),
        (Trial(4, 0.6, 0.715, 0.712, True), "score 0.715 at α = 0.6 is above the threshold 0.712"),
        (Trial(4, 0.05, 0.7, 0.7, True), "score 0.7 at α = 0.05 equals the threshold 0.7"),
        (Trial(4, 0.5, 0.712341, 0.712342, False), "score 0.712341 at α = 0.5 is below the threshold 0.712342"),
        (Trial(4, 0.5, 0.71234, 0.71236, False), "score 0.7123 at α = 0.5 is below the threshold 0.7124"),
        (
            Trial(4, 0.5, 0.3, 0.1 + 0.2, False),
            "score 0.29999999999999999 at α = 0.5 is below the threshold 0.30000000000000004",
        ),
        (
            Trial(4, 0.5, 0.7, 0.7, False),
            "score 0.7 at α = 0.5 equals the threshold 0.7, refused by the method's own rule",
        ),
        (
            Trial(4, 0.5, 0.6, 0.7, True),
            "score 0.6 at α = 0.5 is below the threshold 0.7, taken by the method's own rule",
        ),
    ],
)
def test_decisions_say_why(trial: Trial, why: str) -> None:
    (decision,) = decisions([trial])
    assert decision.why == why
    assert (decision.candidate, decision.alpha, decision.taken) == (4, trial.alpha, trial.accepted)
    assert (decision.score, decision.threshold) == (trial.score, trial.threshold)

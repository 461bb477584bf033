"""The fading soup: the shares of denser tickets by hand, and when they come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lottery_pools.pooling.methods import METHODS, fading_soup
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.result import Pooled
from tests.test_algorithm2 import Net, make_recalibrate, make_samples, make_tickets
from tests.test_methods import by_hand, near, nested

BY_SCORE = replace(METHODS["fading-soup"], run=fading_soup.search, needs=(), scored_by="accuracy")
"""The search by a score of the test's own, in place of agreement."""
INPUTS = make_samples(5)[0]


def searched(values: list[float], target: int, score: Callable[[nn.Module], Tensor | float], limit: int = 99) -> Pooled:
    tickets = [nested(level, value) for level, value in enumerate(values)]
    return by_hand(BY_SCORE, tickets, target, score, max_evaluations=limit)[0]


def test_denser_tickets_come_in_all_at_once_and_fade() -> None:
    pooled = searched([12, 4, 2, 0], 2, near(5))
    # the target alone: 2, with the sparser one: 1; a denser one by 0.5 of the next: 4, by 0.7: 4.88, by 0.85: 5.47
    parts = torch.tensor([0.49, 0.7, 1])
    assert [level for level, _ in pooled.recipe] == [0, 1, 2]
    assert [share for _, share in pooled.recipe] == pytest.approx((parts / parts.sum()).tolist())
    assert [(trial.candidate, trial.accepted) for trial in pooled.trials[-3:]] == [(1, True), (1, True), (1, False)]
    assert pooled.trials[-3].alpha == pytest.approx(0.5 / 1.75)
    assert pooled.score == pytest.approx((0.49 * 12 + 0.7 * 4 + 2) / 2.19 - 5)
    # pruned back to the two weights of the target
    assert pooled.ticket.mask["weight"].tolist() == [[True, True, False, False]]


def test_they_end_with_equal_shares_where_that_is_best() -> None:
    assert searched([12, 4, 2, 0], 2, near(9)).recipe == ((0, 1 / 3), (1, 1 / 3), (2, 1 / 3))


def test_they_stay_out_where_the_score_falls() -> None:
    pooled = searched([12, 4, 2, 0], 2, near(2.5))
    assert (pooled.recipe, pooled.trials[-1].accepted) == (((2, 1.0),), False)


def test_a_target_that_was_left_out_comes_in_as_the_nearest_of_the_denser() -> None:
    pooled = searched([4, 9, 3, 3], 1, near(3.9))
    assert [level for level, _ in pooled.recipe] == [0, 1, 2, 3]
    assert [share for _, share in pooled.recipe] == pytest.approx([0.25 / 2.75, 0.5 / 2.75, 1 / 2.75, 1 / 2.75])


def rising(first: float, then: float) -> Callable[[nn.Module], Tensor]:
    """A score that rises by so many standard errors where denser tickets come in by half, and by 0.7 in place of half.

    The first weight tells these networks apart: 2, the target alone, 4 and 4.877.
    """

    def score(model: nn.Module) -> Tensor:
        noise = torch.tensor([1.0, -1.0] * 8)
        error = noise.std() / 4
        scores = {2.0: 0 * noise, 4.0: noise + first * error, 4.877: 2 * noise + (first + then) * error}
        return scores.get(round(float(model.weight[0, 0]), 3), -9 + noise)  # type: ignore[index]

    return score


def test_they_must_raise_the_score_by_two_standard_errors_and_then_by_half() -> None:
    assert searched([12, 4, 2], 2, rising(1.9, 9)).recipe == ((2, 1.0),)
    assert searched([12, 4, 2], 2, rising(2.1, 0.4)).recipe[-1][1] == pytest.approx(1 / 1.75)
    assert searched([12, 4, 2], 2, rising(2.1, 0.6)).recipe[-1][1] == pytest.approx(1 / 2.19)


@pytest.mark.parametrize("limit", [2, 3, 4, 5])
def test_it_keeps_to_its_budget(limit: int) -> None:
    assert searched([12, 4, 2, 0], 2, near(9), limit).evaluations == limit


@pytest.mark.parametrize("target", range(3))
def test_its_score_is_agreement(target: int) -> None:
    tickets = make_tickets(0, range(4))
    pooled = pool(
        Net(), tickets, target, recalibrate=make_recalibrate(0), method="fading-soup", samples=lambda: [INPUTS]
    )
    trimmed = pool(
        Net(), tickets, target, recalibrate=make_recalibrate(0), method="consensus-soup", samples=lambda: [INPUTS]
    )
    assert pooled.target_score == trimmed.target_score
    assert pooled.trials[0] == trimmed.trials[0]


@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from(fading_soup.RATIOS))
def test_shares_sum_to_one_and_fade_by_the_ratio(sparse: int, dense: int, ratio: float) -> None:
    tickets = [nested(0, 1)] * sparse
    shares = [share for _, share in fading_soup.faded(tickets, [nested(0, 1)] * dense, ratio)]
    assert sum(shares) == pytest.approx(1)
    assert shares[dense:] == [shares[-1]] * sparse
    assert all(first / second == pytest.approx(ratio) for first, second in pairwise(shares[: dense + 1]))

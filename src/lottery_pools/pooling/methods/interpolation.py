"""Lottery Pools itself: Algorithm 2 with one coefficient (Average) or the best of several (Interpolation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.algorithm2 import greedy
from lottery_pools.pooling.method import Method, Offer, one_a_candidate

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask

PAPER = "https://arxiv.org/abs/2208.10842"


def average(task: PoolingTask) -> Pooled:
    """Lottery Pools (Average): Algorithm 2 with α = 1/2 alone."""
    return greedy(task, lambda n: (0.5,))


def interpolation(task: PoolingTask) -> Pooled:
    """Lottery Pools (Interpolation): Algorithm 2 with every coefficient."""
    return greedy(task, lambda n: task.coefficients)


def interpolation_by_agreement(task: PoolingTask) -> Pooled:
    """The paper's search, scored as the consensus soup is: by agreement with the mean prediction of all tickets."""
    from lottery_pools.pooling.agreement import scored_by_agreement

    return interpolation(scored_by_agreement(task))


def evaluations_of_interpolation(offer: Offer) -> int:
    """How many networks the search evaluates."""
    return 1 + offer.candidates * offer.coefficients


METHODS = (
    Method(
        "average",
        average,
        label="Average",
        summary="mix in neighbours half and half where validation does not fall",
        paper=PAPER,
        rank=10,
        recipe="steps",
        stops_early=True,
        colour="#56b4e9",
        marker="X",
    ),
    Method(
        "interpolation",
        interpolation,
        label="Interpolation",
        summary="mix in neighbours, each at its best coefficient",
        paper=PAPER,
        rank=20,
        recipe="steps",
        stops_early=True,
        evaluations=evaluations_of_interpolation,
        colour="#d55e00",
        marker="s",
    ),
    Method(
        "interpolation-likelihood",
        interpolation,
        label="Interpolation by likelihood",
        summary="the paper's search, but comparing log-likelihood, as `trimmed-soup` does, instead of accuracy",
        paper=PAPER,
        rank=25,
        recipe="steps",
        scored_by="log-likelihood",
        stops_early=True,
        evaluations=evaluations_of_interpolation,
        colour="#d55e00",
        marker="P",
    ),
    Method(
        "interpolation-agreement",
        interpolation_by_agreement,
        label="Interpolation by agreement",
        summary="the paper's search, but comparing agreement with the mean prediction of all tickets, as "
        "`consensus-soup` does, instead of accuracy",
        paper=PAPER,
        rank=26,
        recipe="steps",
        needs=("samples",),
        classifies=True,
        scored_by="agreement",
        stops_early=True,
        evaluations=evaluations_of_interpolation,
        passes=one_a_candidate,
        colour="#d55e00",
        marker="*",
    ),
)

"""SLERP: interpolate along the arc between two networks, taken as vectors, instead of along the straight line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lottery_pools.pooling.algorithm2 import best_trial, mix_in_turn
from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.result import Trial

if TYPE_CHECKING:
    from lottery_pools.pooling.algorithm2 import Fuse
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask


def slerp(task: PoolingTask) -> Pooled:
    """Spherical interpolation of the target and the better of its two nearest neighbours, at the best coefficient.

    All parameters together are one vector; buffers are interpolated linearly. The mixture is taken where it scores no
    lower than the target.
    """
    target_score, target = task.evaluate(task.target_network)
    nearest = task.candidates[:2]
    tried = [best_trial(task, target, candidate, task.coefficients, _arc(task)) for candidate in nearest]
    best = max(range(len(tried)), key=lambda i: tried[i][0])
    trials = [
        Trial(candidate.level, alpha, score, target_score, i == best and score >= target_score)
        for i, (candidate, (score, alpha, _)) in enumerate(zip(nearest, tried, strict=True))
    ]
    score, alpha, network = tried[best]
    if score < target_score:
        return task.result(target, (), target_score, target_score, trials)
    return task.result(network, ((nearest[best].level, alpha),), score, target_score, trials)


def rebuild(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network of `slerp`'s recipe."""
    return mix_in_turn(task, ingredients, settings, _arc(task))


def _arc(task: PoolingTask) -> Fuse:
    from lottery_pools.pooling import arithmetic

    return partial(arithmetic.slerp, names=task.parameters)


def evaluations(offer: Offer) -> int:
    """How many networks the search evaluates."""
    return 1 + min(2, offer.candidates) * offer.coefficients


METHODS = (
    Method(
        "slerp",
        slerp,
        label="SLERP",
        summary="along the arc to the better of the two nearest",
        paper="https://doi.org/10.1145/325334.325242",
        rank=60,
        recipe="steps",
        rebuild=rebuild,
        evaluations=evaluations,
        colour="#009e73",
        marker="<",
    ),
)

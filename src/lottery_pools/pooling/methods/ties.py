"""TIES merging (Yadav et al., NeurIPS 2023): trimmed differences from the rewind point, with elected signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.soup import best_of, equal_shares

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask

TRIM = 0.2
"""Share of each difference that is kept, the largest."""
SCALES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
"""λ, tried on the score."""


def ties(task: PoolingTask) -> Pooled:
    """Trim every difference to its largest 20 %, elect a sign a weight, average those that agree, scale by λ."""
    options = [{"trim": TRIM, "scale": scale} for scale in SCALES]
    return best_of(task, rebuild, equal_shares(task.tickets), options)


def rebuild(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network of a recipe."""
    from lottery_pools.pooling.differences import merge_by_sign

    return merge_by_sign(task, [ticket for ticket, _ in ingredients], settings["trim"], settings["scale"])


def evaluations(offer: Offer) -> int:
    """How many networks the search evaluates."""
    return 1 + len(SCALES)


METHODS = (
    Method(
        "ties",
        ties,
        label="TIES",
        summary="differences from the rewind point, trimmed, signs elected",
        paper="https://arxiv.org/abs/2306.01708",
        rank=130,
        rebuild=rebuild,
        needs=("base",),
        evaluations=evaluations,
        colour="#cc79a7",
        marker="1",
        collapses=True,
    ),
)

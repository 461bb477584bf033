"""DARE (Yu et al., ICML 2024): differences from the rewind point, randomly dropped, the rest rescaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.soup import best_of, equal_shares

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask

DROPS = (0.1, 0.5, 0.9)
"""Share p of each difference that is dropped, tried on the score."""


def dare(task: PoolingTask) -> Pooled:
    """Drop a random share p of every difference, rescale the rest by 1/(1 - p), average."""
    options = [{"drop": drop, "seed": task.seed} for drop in DROPS]
    return best_of(task, rebuild, equal_shares(task.tickets), options)


def rebuild(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network of a recipe; what is dropped depends on the seed and on each ticket's level."""
    from lottery_pools.pooling.differences import merge_with_drops

    return merge_with_drops(task, [ticket for ticket, _ in ingredients], settings["drop"], settings["seed"])


def evaluations(offer: Offer) -> int:
    """How many networks the search evaluates."""
    return 1 + len(DROPS)


METHODS = (
    Method(
        "dare",
        dare,
        label="DARE",
        summary="differences from the rewind point, randomly dropped",
        paper="https://arxiv.org/abs/2311.03099",
        rank=140,
        rebuild=rebuild,
        needs=("base",),
        evaluations=evaluations,
        colour="#e69f00",
        marker="2",
        collapses=True,
    ),
)

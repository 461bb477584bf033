"""Model Stock (Jang et al., ECCV 2024): the mean of the tickets, moved towards the rewind point as their angles say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method
from lottery_pools.pooling.soup import best_of, equal_shares, evaluations

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask


def model_stock(task: PoolingTask) -> Pooled:
    """The mean of the target and all sparser tickets, moved towards the rewind point, tensor by tensor.

    The rewind point, pruned as the target, is what the source calls the pre-trained model: all tickets were trained
    from it.
    """
    return best_of(task, rebuild, equal_shares(task.admissible))


def rebuild(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network of a recipe."""
    from lottery_pools.pooling.merging import stock

    return stock(task, [ticket for ticket, _ in ingredients])


METHODS = (
    Method(
        "model-stock",
        model_stock,
        label="Model Stock",
        summary="the mean of the target and all sparser tickets, moved towards the rewind point by their angles",
        paper="https://arxiv.org/abs/2403.19522",
        rank=106,
        rebuild=rebuild,
        needs=("base",),
        chooses=False,
        evaluations=evaluations,
        colour="#56b4e9",
        marker="d",
    ),
)

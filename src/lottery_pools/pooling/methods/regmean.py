"""RegMean (Jin et al., ICLR 2023): each layer reproduces, in least squares, what the tickets' layers put out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method
from lottery_pools.pooling.soup import best_of, equal_shares, evaluations, passes

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask

DIAGONAL = 0.9
"""What the products of different inputs are multiplied by, as in the source: it makes the equations well posed."""


def regmean(task: PoolingTask) -> Pooled:
    """The layers that best reproduce, on their own inputs, those of the target and all sparser tickets.

    Beside the source: convolutions are merged too, as linear layers of their patches, and weights outside the target's
    mask stay zero, for the least squares are solved within the mask.
    """
    return best_of(task, rebuild, equal_shares(task.admissible))


def rebuild(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network of a recipe."""
    from lottery_pools.pooling.merging import regression_mean

    return regression_mean(task, [ticket for ticket, _ in ingredients], DIAGONAL)


METHODS = (
    Method(
        "regmean",
        regmean,
        label="RegMean",
        summary="layers that reproduce in least squares those of the target and all sparser tickets",
        paper="https://arxiv.org/abs/2212.09849",
        rank=104,
        rebuild=rebuild,
        needs=("samples",),
        chooses=False,
        evaluations=evaluations,
        passes=passes,
        colour="#56b4e9",
        marker="P",
    ),
)

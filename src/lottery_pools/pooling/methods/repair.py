"""REPAIR (Jordan et al., ICLR 2023): a mean of tickets whose channels vary as much as the tickets' own do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.soup import best_of, equal_shares, evaluations

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask


def repair(task: PoolingTask) -> Pooled:
    """The mean of the target and all sparser tickets, each channel scaled to the tickets' mean standard deviation.

    Where BatchNorm follows a layer, its recalibration does the same, and the scaling changes nothing.
    """
    return best_of(task, rebuild, equal_shares(task.admissible))


def rebuild(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network of a recipe."""
    from lottery_pools.pooling.merging import repaired_mean

    return repaired_mean(task, [ticket for ticket, _ in ingredients])


def passes(offer: Offer) -> int:
    """How often the search goes over `samples`: once a ticket, and once for the mean."""
    return 2 + offer.sparser if offer.sparser else 0


METHODS = (
    Method(
        "repair",
        repair,
        label="REPAIR",
        summary="the mean of the target and all sparser tickets, each channel scaled to vary as the tickets' do",
        paper="https://arxiv.org/abs/2211.08403",
        rank=108,
        rebuild=rebuild,
        needs=("samples",),
        chooses=False,
        evaluations=evaluations,
        passes=passes,
        colour="#56b4e9",
        marker="*",
    ),
)

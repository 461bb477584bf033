"""Uniform soups: means without a search, whatever they score (Wortsman et al., ICML 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method
from lottery_pools.pooling.soup import best_of, equal_shares, evaluations, mean

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask


def uniform_soup(task: PoolingTask) -> Pooled:
    """The mean of all tickets."""
    return best_of(task, mean, equal_shares(task.tickets))


def sparser_soup(task: PoolingTask) -> Pooled:
    """The mean of the target and all sparser tickets: where our own soups start."""
    return best_of(task, mean, equal_shares(task.admissible))


METHODS = (
    Method(
        "uniform-soup",
        uniform_soup,
        label="Uniform soup",
        summary="the mean of all tickets",
        paper="https://arxiv.org/abs/2203.05482",
        rank=70,
        rebuild=mean,
        chooses=False,
        evaluations=evaluations,
        colour="#cc79a7",
        marker="h",
        collapses=True,
    ),
    Method(
        "sparser-soup",
        sparser_soup,
        label="Mean of all sparser",
        summary="the mean of the target and all sparser tickets: our soups without their search",
        paper="https://arxiv.org/abs/2203.05482",
        rank=75,
        rebuild=mean,
        chooses=False,
        evaluations=evaluations,
        colour="#cc79a7",
        marker="H",
    ),
)

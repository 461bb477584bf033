"""The paper's baselines, running and exponential averages over neighbours: Algorithm 2 with fixed coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.algorithm2 import greedy
from lottery_pools.pooling.method import Method

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask

LOTTERY_POOLS = "https://arxiv.org/abs/2208.10842"


def swa(task: PoolingTask) -> Pooled:
    """Running average: α = n/(n + 1), so that each of the n + 1 tickets weighs the same."""
    return greedy(task, lambda n: (n / (n + 1),))


def ema(task: PoolingTask) -> Pooled:
    """Exponential moving average: α = 0.95."""
    return greedy(task, lambda n: (0.95,))


def ema_as_published(task: PoolingTask) -> Pooled:
    """The baseline of the paper's public code: its 0.95 weighs each new ticket, the network so far has 0.05."""
    return greedy(task, lambda n: (0.05,))


METHODS = (
    Method(
        "swa",
        swa,
        label="SWA (neighbours)",
        summary="running average of neighbours that do not lower validation",
        paper="https://arxiv.org/abs/1803.05407",
        rank=30,
        recipe="steps",
        stops_early=True,
        colour="#cc79a7",
        marker="<",
    ),
    Method(
        "ema",
        ema,
        label="EMA (neighbours)",
        summary="moving average, 0.95 for the network so far",
        paper=LOTTERY_POOLS,
        rank=40,
        recipe="steps",
        stops_early=True,
        colour="#e69f00",
        marker=">",
    ),
    Method(
        "ema-as-published",
        ema_as_published,
        label="EMA as published (inverted weight)",
        summary="the authors' code: the weight of `ema` inverted, 0.95 for each new ticket",
        paper=LOTTERY_POOLS,
        rank=50,
        recipe="steps",
        stops_early=True,
        colour="#e69f00",
        marker="4",
    ),
)

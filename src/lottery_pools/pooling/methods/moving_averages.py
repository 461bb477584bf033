"""Running and exponential averages over neighbours: the paper's baselines, and the same guarded by acceptance.

The paper's authors let every neighbour in, and choose among the averages on the way. With Algorithm 2's acceptance test
a neighbour that lowers the score stays out: these are called guarded. (`swa` and `ema` are the guarded ones, as in all
recipes and result rows so far.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.algorithm2 import accept_all, greedy
from lottery_pools.pooling.method import Method

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask

LOTTERY_POOLS = "https://arxiv.org/abs/2208.10842"


def swa(task: PoolingTask) -> Pooled:
    """Guarded running average: α = n/(n + 1), so that each of the n + 1 tickets weighs the same."""
    return greedy(task, lambda n: (n / (n + 1),))


def swa_unguarded(task: PoolingTask) -> Pooled:
    """Running average of all neighbours, as far as it scored best."""
    return accept_all(task, lambda n: n / (n + 1))


def ema(task: PoolingTask) -> Pooled:
    """Guarded exponential moving average: α = 0.95."""
    return greedy(task, lambda n: (0.95,))


def ema_unguarded(task: PoolingTask) -> Pooled:
    """Exponential moving average of all neighbours, α = 0.95, as far as it scored best."""
    return accept_all(task, lambda n: 0.95)


def ema_as_published(task: PoolingTask) -> Pooled:
    """The baseline of the paper's public code: its 0.95 weighs each new ticket, the network so far has 0.05."""
    return accept_all(task, lambda n: 0.05)


METHODS = (
    Method(
        "swa",
        swa,
        label="SWA (neighbours), guarded",
        summary="running average of the neighbours that do not lower validation",
        paper="https://arxiv.org/abs/1803.05407",
        rank=30,
        recipe="steps",
        stops_early=True,
        colour="#cc79a7",
        marker="<",
    ),
    Method(
        "swa-unguarded",
        swa_unguarded,
        label="SWA (neighbours)",
        summary="running average of all neighbours, as far as it is best on validation",
        paper="https://arxiv.org/abs/1803.05407",
        rank=35,
        recipe="steps",
        stops_early=True,
        colour="#cc79a7",
        marker="3",
    ),
    Method(
        "ema",
        ema,
        label="EMA (neighbours), guarded",
        summary="moving average of the neighbours that do not lower validation, 0.95 for the network so far",
        paper=LOTTERY_POOLS,
        rank=40,
        recipe="steps",
        stops_early=True,
        colour="#e69f00",
        marker=">",
    ),
    Method(
        "ema-unguarded",
        ema_unguarded,
        label="EMA (neighbours)",
        summary="moving average of all neighbours, 0.95 for the network so far, as far as it is best on validation",
        paper=LOTTERY_POOLS,
        rank=45,
        recipe="steps",
        stops_early=True,
        colour="#e69f00",
        marker="3",
    ),
    Method(
        "ema-as-published",
        ema_as_published,
        label="EMA as published (inverted weight)",
        summary="the authors' code: the weight of `ema-unguarded` inverted, 0.95 for each new ticket",
        paper=LOTTERY_POOLS,
        rank=50,
        recipe="steps",
        stops_early=True,
        colour="#e69f00",
        marker="4",
    ),
)

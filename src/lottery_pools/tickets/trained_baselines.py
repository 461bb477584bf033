"""Baselines that train instead of pooling: for each the settings at which it costs what the pool's tickets cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from lottery_pools.config.schema import Config
from lottery_pools.tickets import imp

Derive = Callable[[Config, int, int], Config]
"""(settings of the pool's run, training samples, level) → settings of the trained baseline."""


@dataclass(frozen=True)
class TrainedBaseline:
    """An entry of the table."""

    settings: Derive
    summary: str
    paper: str
    per_level: bool = False
    """Whether every level is a run of its own: trained for the targets of pooling only."""


def _copies(config: Config, samples: int, level: int) -> Config:
    return imp.equal_cost(config, 2, samples)


def _copies_of_swa(config: Config, samples: int, level: int) -> Config:
    return imp.equal_cost(_keeping(config, "swa"), 2, samples)


def _swa(config: Config, samples: int, level: int) -> Config:
    return _keeping(config, "swa")


def _ema(config: Config, samples: int, level: int) -> Config:
    return _keeping(config, "ema")


def _longer(config: Config, samples: int, level: int) -> Config:
    return imp.longer(config, level, samples)


def _keeping(config: Config, keep: Literal["swa", "ema"]) -> Config:
    return replace(config, training=replace(config.training, keep=keep))


TRAINED_BASELINES: dict[str, TrainedBaseline] = {
    "sms": TrainedBaseline(
        _copies,
        "Sparse Model Soups: two copies a level, all levels trained for less",
        "https://arxiv.org/abs/2306.16788",
    ),
    "swamp": TrainedBaseline(
        _copies_of_swa, "SWAMP: as sms, each copy a mean of its last epochs", "https://arxiv.org/abs/2305.14852"
    ),
    "swa-training": TrainedBaseline(
        _swa, "each ticket the mean of its last epochs; costs no more than tickets", "https://arxiv.org/abs/1803.05407"
    ),
    "ema-training": TrainedBaseline(
        _ema,
        "each ticket a moving average of its steps; costs no more than tickets",
        "https://arxiv.org/abs/2411.18704",
    ),
    "longer": TrainedBaseline(
        _longer, "every level trained for longer, until it costs as much as all tickets", "", per_level=True
    ),
}

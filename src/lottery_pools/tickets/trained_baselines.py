"""Baselines that train instead of pooling: for each the settings at which it costs what the pool's tickets cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from lottery_pools.config.schema import Config
from lottery_pools.tickets import training_costs

SettingsFor = Callable[[Config, int, int], Config]
"""Settings of the pool's run, size of the training set, level of the target → settings of the baseline's run."""


@dataclass(frozen=True)
class TrainedBaseline:
    """An entry of the table."""

    settings: SettingsFor
    per_level: bool = False
    """Whether every target of pooling has a run of its own. Otherwise one run gives the tickets of all levels."""


def sparse_model_soups(config: Config, samples: int, level: int) -> Config:
    """Two copies a level, averaged, all trained for less (SMS; Zimmer et al., ICLR 2024, arXiv 2306.16788)."""
    return training_costs.equal_cost(config, 2, samples)


def swamp(config: Config, samples: int, level: int) -> Config:
    """Sparse model soups of means over each copy's last epochs (SWAMP; Choi et al., ICLR 2024, arXiv 2305.14852)."""
    return training_costs.equal_cost(_keeping(config, "swa"), 2, samples)


def swa_training(config: Config, samples: int, level: int) -> Config:
    """Each ticket the mean of its last epochs (SWA; Izmailov et al., UAI 2018, arXiv 1803.05407): costs no more."""
    return _keeping(config, "swa")


def ema_training(config: Config, samples: int, level: int) -> Config:
    """Each ticket a moving average of its steps (EMA; Morales-Brotons et al., arXiv 2411.18704): costs no more."""
    return _keeping(config, "ema")


def longer(config: Config, samples: int, level: int) -> Config:
    """Every level up to the target trained for longer, until its ticket costs as much as all tickets of the pool."""
    return training_costs.longer(config, level, samples)


def _keeping(config: Config, keep: Literal["swa", "ema"]) -> Config:
    return replace(config, training=replace(config.training, keep=keep))


TRAINED_BASELINES: dict[str, TrainedBaseline] = {
    "sms": TrainedBaseline(sparse_model_soups),
    "swamp": TrainedBaseline(swamp),
    "swa-training": TrainedBaseline(swa_training),
    "ema-training": TrainedBaseline(ema_training),
    "longer": TrainedBaseline(longer, per_level=True),
}
"""Every trained baseline by the name that settings and results give it."""

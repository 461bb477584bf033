"""Baselines that train instead of pooling: for each the settings at which it costs what the pool's tickets cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from lottery_pools.config.schema import Config
from lottery_pools.tickets import training_costs
from lottery_pools.tickets.schedule import steps_per_epoch

SOUP_COPIES = 3
"""The copies of a level of Sparse Model Soups: the fewest of the 3, 5 and 10 that its authors report."""
LATEST_EPOCHS = 6
"""The epochs whose mean is LAWA, as its author has it."""
PARTICLES = 4
"""The particles of SWAMP that its authors train at each level."""

SettingsFor = Callable[[Config, int, int], Config]
"""Settings of the pool's run, size of the training set, level of the target → settings of the baseline's run."""


@dataclass(frozen=True)
class TrainedBaseline:
    """An entry of the table."""

    settings: SettingsFor
    per_level: bool = False
    """Whether every target of pooling has a run of its own. Otherwise one run gives the tickets of all levels."""


def sparse_model_soups(config: Config, samples: int, level: int) -> Config:
    """Sparse Model Soups at equal cost (SMS; Zimmer et al., ICLR 2024, arXiv 2306.16788).

    Each level starts from the pruned mean of the level before. Its three copies, which differ in their seed, are
    retrained by the adaptive linear learning rate of the same authors. The dense network has its full training, and
    retraining as many epochs as make the last ticket cost what the pool's tickets cost.
    """
    pruning = replace(config.pruning, after="fine-tune", fine_tune_rate="adaptive", copies=SOUP_COPIES)
    return training_costs.equal_cost(replace(config, pruning=pruning), _budget(config, samples), samples)


def swamp(config: Config, samples: int, level: int) -> Config:
    """SWAMP as published: four particles a level, each with the full training of a ticket, so at four times the cost.

    Sparse weight averaging with multiple particles (Choi et al., ICLR 2024, arXiv 2305.14852): particles start from
    the rewind point with the same mask and differ in their batches. Each is the mean over its last epochs (SWA), their
    mean is the ticket, and its magnitudes give the next mask.
    """
    averaged = _keeping(config, "swa")
    return replace(averaged, pruning=replace(config.pruning, after="rewind", copies=PARTICLES))


def swamp_equal_cost(config: Config, samples: int, level: int) -> Config:
    """SWAMP of two particles, each trained by a shorter schedule, so that it costs what the pool's tickets cost."""
    particles = swamp(config, samples, level)
    particles = replace(particles, pruning=replace(particles.pruning, copies=2))
    return training_costs.equal_cost(particles, _budget(config, samples), samples)


def learning_rate_rewinding(config: Config, samples: int, level: int) -> Config:
    """Each level goes on from its pruned weights, and only the learning rate is rewound (Renda et al., ICLR 2020).

    Gadhikar & Burkholz (ICLR 2024, arXiv 2402.19262) say why it is stronger than rewinding weights. It costs as much.
    """
    return replace(config, pruning=replace(config.pruning, after="learning-rate"))


def held_out_training(config: Config, samples: int, level: int) -> Config:
    """A control: the same tickets, trained on the held-out samples too, in the same number of steps."""
    return replace(config, data=replace(config.data, train_on_validation=True))


def latest_epochs(config: Config, samples: int, level: int) -> Config:
    """Each ticket the mean of its last six epochs (LAWA; Kaddour, arXiv 2209.14981): costs no more."""
    averaged = _keeping(config, "swa")
    first = max(0, config.training.epochs - LATEST_EPOCHS + 1)
    return replace(averaged, training=replace(averaged.training, average_from=first / config.training.epochs))


def tail_average(config: Config, samples: int, level: int) -> Config:
    """Each ticket an exponential moving average whose weights add up to three epochs' steps: costs no more.

    Its mean age is about that of `latest_epochs`.
    """
    averaged = _keeping(config, "ema")
    decay = 1 - 1 / max(2.0, LATEST_EPOCHS / 2 * steps_per_epoch(samples, config.training.batch))
    return replace(averaged, training=replace(averaged.training, ema_decay=decay))


def swa_training(config: Config, samples: int, level: int) -> Config:
    """Each ticket the mean of its last epochs (SWA; Izmailov et al., UAI 2018, arXiv 1803.05407): costs no more."""
    return _keeping(config, "swa")


def ema_training(config: Config, samples: int, level: int) -> Config:
    """Each ticket a moving average of its steps (EMA; Morales-Brotons et al., arXiv 2411.18704): costs no more."""
    return _keeping(config, "ema")


def longer(config: Config, samples: int, level: int) -> Config:
    """Every level up to the target trained for longer, until its ticket costs as much as all tickets of the pool."""
    return training_costs.longer(config, level, samples, _budget(config, samples))


def rigl(config: Config, samples: int, level: int) -> Config:
    """RigL: one sparse network with a moving mask, trained until it costs as much as all tickets of the pool.

    It keeps the weights of the last epoch: those of an earlier one may have another mask.
    """
    moving = replace(
        config,
        training=replace(config.training, keep="last"),
        pruning=replace(config.pruning, criterion="rigl"),
    )
    return training_costs.longer(moving, level, samples, _budget(config, samples))


def _budget(config: Config, samples: int) -> int:
    """The training images that all tickets of a run cost together."""
    return training_costs.train_images(config, samples, len(config.pruning.schedule()) - 1)


def _keeping(config: Config, keep: Literal["swa", "ema"]) -> Config:
    return replace(config, training=replace(config.training, keep=keep))


TRAINED_BASELINES: dict[str, TrainedBaseline] = {
    "sparse-model-soups": TrainedBaseline(sparse_model_soups),
    "swamp-full": TrainedBaseline(swamp),
    "swamp-equal-cost": TrainedBaseline(swamp_equal_cost),
    "learning-rate-rewinding": TrainedBaseline(learning_rate_rewinding),
    "longer": TrainedBaseline(longer, per_level=True),
    "rigl": TrainedBaseline(rigl, per_level=True),
    "lawa": TrainedBaseline(latest_epochs),
    "tail-ema": TrainedBaseline(tail_average),
    "swa-training": TrainedBaseline(swa_training),
    "ema-training": TrainedBaseline(ema_training),
    "held-out-training": TrainedBaseline(held_out_training),
}
"""Every trained baseline by the name that settings and results give it."""

RETIRED = {"sms": "sparse-model-soups", "swamp": "swamp-equal-cost"}
"""Names of earlier versions → what is nearest to them now. They trained two copies a level from the rewind point, and
shortened the dense network too: that was neither method as published. Their rows are still read, under other labels."""

"""When things happen in a training run: the steps of an epoch, the learning rate, the rewind point."""

from __future__ import annotations

import math

from lottery_pools.config.schema import Config, Training
from lottery_pools.errors import UserError

MASK_MOVES_UNTIL = 0.75
"""The share of the steps after which the mask of RigL rests (T_end of Evci et al., ICML 2020)."""
STEPS_BETWEEN_MOVES, LEAST_MOVES = 100, 40
"""The steps between two updates of the mask of RigL (ΔT there); fewer in a short run, which has so many updates."""


def steps_per_epoch(samples: int, batch: int) -> int:
    """The number of batches in an epoch, at least 1.

    The last batch may be smaller than the others, but one of a single sample is left out: BatchNorm needs two.

    Args:
        samples: The size of the training set.
        batch: The samples of a batch.
    """
    return max(1, samples // batch + (1 if samples % batch > 1 else 0))


def learning_rate(settings: Training, epoch: float) -> float:
    """The learning rate at a point of the schedule.

    `step`, `cosine` and `constant` rise linearly from zero to the peak during the warm-up. `one-cycle` rises linearly
    from 1/25 of the peak during the warm-up, then falls linearly to zero (Smith & Topin, arXiv 1708.07120).

    Args:
        settings: The settings of training.
        epoch: The epochs done, a fraction within an epoch: 1.5 is the middle of the second epoch.
    """
    if epoch < settings.warmup:
        risen = epoch / settings.warmup
        return settings.lr * (0.04 + 0.96 * risen if settings.schedule == "one-cycle" else risen)
    done = (epoch - settings.warmup) / (settings.epochs - settings.warmup)
    match settings.schedule:
        case "step":
            return settings.lr * settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
        case "cosine":
            return settings.lr * 0.5 * (1 + math.cos(math.pi * done))
        case "one-cycle":
            return settings.lr * (1 - done)
        case "constant":
            return settings.lr


def rewind_step(config: Config, samples: int) -> int:
    """The step of the rewind point: survivors return to the weights that the dense network had before that step.

    Args:
        config: The settings of the run.
        samples: The size of the training set.

    Returns:
        The step, counted from 0.

    Raises:
        UserError: If training ends before that step.
    """
    per_epoch = steps_per_epoch(samples, config.training.batch)
    step = config.pruning.rewind * (per_epoch if config.pruning.rewind_unit == "epochs" else 1)
    if step >= config.training.epochs * per_epoch:
        raise UserError(f"pruning.rewind is step {step}: training has only {config.training.epochs * per_epoch} steps")
    return step


def level_steps(config: Config, samples: int) -> tuple[int, int]:
    """The steps of the schedule at which a rewound level starts, and before which it stops.

    With `pruning.level_epochs` the schedule is shorter than the dense network's. The rewind point then lies at the same
    share of it, to the nearest step, so that the learning rate is the same as it was there.

    Args:
        config: The settings of the run.
        samples: The size of the training set.

    Raises:
        UserError: If training ends before the rewind point.
    """
    per_epoch, epochs = steps_per_epoch(samples, config.training.batch), config.training.epochs
    stop = (config.pruning.level_epochs or epochs) * per_epoch
    return min(round(rewind_step(config, samples) * stop / (epochs * per_epoch)), stop - 1), stop


def mask_updates(steps: int) -> range:
    """The steps of a run of so many before which RigL updates its mask.

    >>> mask_updates(6000)[:3], len(mask_updates(6000))
    (range(0, 300, 100), 45)
    """
    until = math.floor(MASK_MOVES_UNTIL * steps)
    return range(0, until, min(STEPS_BETWEEN_MOVES, max(1, until // LEAST_MOVES)))

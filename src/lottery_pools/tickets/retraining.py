"""How training goes on after a level is pruned: by which steps of which schedule, and at which learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from lottery_pools.config.schema import Config, Training
from lottery_pools.config.variants import scaled
from lottery_pools.data.dataset import Dataset
from lottery_pools.tickets.schedule import level_steps
from lottery_pools.tickets.ticket import Ticket
from lottery_pools.tickets.training import TrainingRun

WARM_UP = 0.1
"""The share of its steps in which the adaptive learning rate rises to its peak (Zimmer et al., ICLR 2023)."""


def training_run(
    config: Config, dataset: Dataset, seed: int, previous: Ticket, mask: Mapping[str, Tensor]
) -> TrainingRun:
    """From which step to which the level after a ticket is trained, and at which learning rate, by `pruning.after`.

    Args:
        config: The settings of the run.
        dataset: The data set that the settings name.
        seed: The seed of the run.
        previous: The ticket of the level before.
        mask: The mask of the level: the name of each prunable tensor → bool tensor of its shape, True where a weight
            survives.
    """
    pruning, level = config.pruning, previous.level + 1
    if pruning.after == "fine-tune" and pruning.fine_tune_rate == "adaptive":
        settings = adaptive(config.training, pruning.fine_tune_epochs, previous, mask)
        return TrainingRun(settings, dataset, seed, level)
    if pruning.after == "fine-tune":
        whole = TrainingRun(config.training, dataset, seed, level)
        stop = pruning.fine_tune_epochs * whole.steps_per_epoch
        return replace(whole, stop=stop, fixed_rate=whole.learning_rate(whole.end - 1))
    short = config if pruning.level_epochs is None else scaled(config, pruning.level_epochs)
    start = 0 if pruning.after == "reinitialise" else level_steps(config, dataset.epoch_size)[0]
    return TrainingRun(short.training, dataset, seed, level, start=start)


def epochs(config: Config, level: int) -> int:
    """The epoch of the schedule at whose end the training of a level ends."""
    if not level:
        return config.training.epochs
    if config.pruning.after == "fine-tune":
        return config.pruning.fine_tune_epochs
    return config.pruning.level_epochs or config.training.epochs


def adaptive(training: Training, duration: int, previous: Ticket, mask: Mapping[str, Tensor]) -> Training:
    """The settings of retraining by ALLR, adaptive linear learning rate restarting (Zimmer et al., ICLR 2023).

    The learning rate rises in a tenth of the steps to its peak, then falls linearly to zero. The peak is that of
    `training` times d / √s, where s is the share of the surviving weights that is pruned now, and d the norm of what is
    pruned, relative to that of all parameters: it is higher the more pruning has changed the network. It is at most the
    peak of `training`, and at least that peak times the share of the epochs (at most 1) that retraining has of them.

    Args:
        training: The settings of the dense network.
        duration: The epochs of retraining.
        previous: The ticket that is pruned.
        mask: What survives: the name of each prunable tensor → bool tensor of its shape.
    """
    lowest = training.lr * min(1.0, duration / training.epochs)
    peak = min(training.lr, max(lowest, training.lr * _relative_change(previous, mask)))
    return replace(training, epochs=duration, schedule="one-cycle", warmup=WARM_UP * duration, lr=peak)


def _relative_change(previous: Ticket, mask: Mapping[str, Tensor]) -> float:
    """d / √s of `adaptive`. Without a pruned weight it is 0."""
    floating = (tensor for name, tensor in previous.weights.items() if _is_parameter(name, tensor))
    total = sum(float(tensor.double().square().sum()) for tensor in floating)
    lost = sum(float(previous.weights[name][~kept].double().square().sum()) for name, kept in mask.items())
    before = sum(int(kept.sum()) for kept in previous.mask.values())
    pruned_share = 1 - sum(int(kept.sum()) for kept in mask.values()) / before
    return math.sqrt(lost / total / pruned_share) if total and pruned_share else 0.0


def _is_parameter(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a state is a weight or bias, not a running statistic of BatchNorm."""
    return tensor.is_floating_point() and not name.endswith(("running_mean", "running_var"))

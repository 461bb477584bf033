"""What tickets cost in training images, and settings at which other tickets cost the same."""

from __future__ import annotations

from dataclasses import replace

from lottery_pools.config.schema import Config
from lottery_pools.config.variants import scaled
from lottery_pools.errors import UserError
from lottery_pools.tickets.schedule import rewind_step, steps_per_epoch


def train_images(config: Config, samples: int, level: int) -> int:
    """The training images, repeats counted, that the ticket of a level costs with all levels before it and all copies.

    It is exactly the `train_images` in the origin of that ticket.

    Args:
        config: The settings of the run.
        samples: The size of the training set.
        level: The level of the ticket.

    Raises:
        UserError: If the rewind point lies after the end of training.
    """
    training, pruning = config.training, config.pruning
    epoch_images = _epoch_images(config, samples)
    dense_images = training.epochs * epoch_images
    if pruning.after == "fine-tune":
        network_images = pruning.fine_tune_epochs * epoch_images
    elif pruning.after == "reinitialise":
        network_images = dense_images
    else:
        epochs, steps = divmod(rewind_step(config, samples), steps_per_epoch(samples, training.batch))
        network_images = dense_images - epochs * epoch_images - steps * training.batch
    return dense_images + level * pruning.copies * network_images


def equal_cost(config: Config, copies: int, samples: int) -> Config:
    """`config` with several copies a level, each trained for less, so that the last ticket costs as many images.

    All that is counted in epochs is scaled in proportion: training, milestones, warm-up, rewind point, fine-tuning.
    Epochs are whole, so the costs differ by up to about copies / 2 epochs a level. `keep = "swa"` and `"ema"` cost no
    training images: they need no such change.

    Args:
        config: The settings whose cost is to be met.
        copies: Networks trained at each level but the dense one.
        samples: The size of the training set.
    """
    last_level = len(config.pruning.schedule()) - 1
    with_copies = replace(config, pruning=replace(config.pruning, copies=copies))
    return _scaled_to(train_images(config, samples, last_level), with_copies, samples, last_level)


def longer(config: Config, level: int, samples: int) -> Config:
    """`config` trained for longer, so that the ticket of `level` alone costs as many images as all tickets do.

    Scaled as in `equal_cost`. Levels after `level` are left out, and `level` is the only target of pooling.

    Args:
        config: The settings whose cost is to be met.
        level: The last level to train.
        samples: The size of the training set.

    Raises:
        UserError: If `config` has no such level.
    """
    pruning, last_level = config.pruning, len(config.pruning.schedule()) - 1
    if not 0 <= level <= last_level:
        raise UserError(f"level {level} cannot be trained for longer: this run has levels 0 to {last_level}")
    up_to_level = replace(
        config,
        pruning=replace(pruning, levels=level, densities=pruning.densities[:level]),
        pooling=replace(config.pooling, targets=(level,)),
    )
    return _scaled_to(train_images(config, samples, last_level), up_to_level, samples, level)


def _epoch_images(config: Config, samples: int) -> int:
    """The training images of an epoch: all samples, but for a last batch of a single one."""
    batch = config.training.batch
    return min(samples, steps_per_epoch(samples, batch) * batch)


def _scaled_to(images: int, config: Config, samples: int, level: int) -> Config:
    """`config` with that number of epochs at which its ticket of `level` costs most nearly `images`."""
    most_epochs = images // _epoch_images(config, samples)
    choices = (scaled(config, epochs) for epochs in range(1, most_epochs + 1))
    return min(choices, key=lambda choice: abs(train_images(choice, samples, level) - images))

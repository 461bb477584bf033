"""What tickets cost in training images, and settings at which other tickets cost the same."""

from __future__ import annotations

from dataclasses import replace

from lottery_pools.config.schema import Config
from lottery_pools.config.variants import scaled
from lottery_pools.errors import UserError
from lottery_pools.tickets.schedule import level_steps, mask_updates, steps_per_epoch


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
    if pruning.criterion == "rigl":
        return training.epochs * epoch_images + _update_images(config, samples, level)
    if pruning.after == "fine-tune":
        network_images = pruning.fine_tune_epochs * epoch_images
    elif pruning.after == "reinitialise":
        network_images = (pruning.level_epochs or training.epochs) * epoch_images
    else:
        start, stop = level_steps(config, samples)
        per_epoch = steps_per_epoch(samples, training.batch)
        epochs, steps = divmod(start, per_epoch)
        network_images = (stop // per_epoch - epochs) * epoch_images - steps * training.batch
    return training.epochs * epoch_images + level * pruning.copies * network_images


def equal_cost(config: Config, budget: int, samples: int) -> Config:
    """`config` with shorter training of all levels but the dense one, so that its last ticket costs `budget` images.

    The dense network has its full training. With `pruning.after = "fine-tune"` the epochs of fine-tuning are chosen, in
    other cases `pruning.level_epochs`, the epochs of the schedule of a level. Epochs are whole, so costs differ by up
    to half an epoch for each network of each level.

    Args:
        config: The settings to change, such as ones with several copies a level.
        budget: The training images that the ticket of the last level may cost.
        samples: The size of the training set.
    """
    pruning, last_level = config.pruning, len(config.pruning.schedule()) - 1

    def with_epochs(epochs: int) -> Config:
        if pruning.after == "fine-tune":
            return replace(config, pruning=replace(pruning, fine_tune_epochs=epochs))
        return replace(config, pruning=replace(pruning, level_epochs=epochs))

    most_epochs = max(1, budget // _epoch_images(config, samples))
    choices = map(with_epochs, range(1, most_epochs + 1))
    return min(choices, key=lambda choice: abs(train_images(choice, samples, last_level) - budget))


def longer(config: Config, level: int, samples: int, budget: int | None = None) -> Config:
    """`config` trained for longer, so that the ticket of `level` alone costs `budget` images.

    All that is counted in epochs is scaled in proportion, as by `variants.scaled`. Levels after `level` are left out,
    and `level` is the only target of pooling.

    Args:
        config: The settings whose cost is to be met.
        level: The last level to train.
        samples: The size of the training set.
        budget: The training images that it may cost; if None, those that all tickets of `config` cost.

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
    images = train_images(config, samples, last_level) if budget is None else budget
    return _scaled_to(images, up_to_level, samples, level)


def _update_images(config: Config, samples: int, level: int) -> int:
    """The training images whose gradients move a mask of RigL."""
    if config.pruning.schedule()[level] == 1:
        return 0
    steps = config.training.epochs * steps_per_epoch(samples, config.training.batch)
    return len(mask_updates(steps)) * min(config.training.batch, samples)


def _epoch_images(config: Config, samples: int) -> int:
    """The training images of an epoch: all samples, but for a last batch of a single one."""
    batch = config.training.batch
    return min(samples, steps_per_epoch(samples, batch) * batch)


def _scaled_to(images: int, config: Config, samples: int, level: int) -> Config:
    """`config` with that number of epochs at which its ticket of `level` costs most nearly `images`."""
    most_epochs = images // _epoch_images(config, samples)
    choices = (scaled(config, epochs) for epochs in range(1, most_epochs + 1))
    return min(choices, key=lambda choice: abs(train_images(choice, samples, level) - images))

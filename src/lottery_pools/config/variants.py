"""Settings derived from others: scaled to fewer epochs, or limited to try their code quickly."""

from __future__ import annotations

import dataclasses

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError


def scaled(config: Config, epochs: int) -> Config:
    """`config` with the dense network trained for `epochs`, and all else that is counted in epochs or steps in
    proportion: warm-up, milestones, rewind point, epochs of fine-tuning and of later levels.

    A rewind point after the first step stays after it, unless one epoch is all there is.

    >>> from lottery_pools.config.schema import Training
    >>> scaled(Config(training=Training(epochs=182, milestones=(91.0,))), 10).training.milestones
    (5.0,)
    """
    training, pruning = config.training, config.pruning

    def share(value: float) -> float:
        return value * epochs / training.epochs  # in this order: a whole epoch that stays whole is exact

    rewind = max(round(share(pruning.rewind)), min(pruning.rewind, 1))
    return dataclasses.replace(
        config,
        training=dataclasses.replace(
            training, epochs=epochs, warmup=share(training.warmup), milestones=tuple(map(share, training.milestones))
        ),
        pruning=dataclasses.replace(
            pruning,
            rewind=min(rewind, epochs - 1) if pruning.rewind_unit == "epochs" else rewind,
            fine_tune_epochs=max(1, round(share(pruning.fine_tune_epochs))),
            level_epochs=None if pruning.level_epochs is None else max(1, round(share(pruning.level_epochs))),
        ),
    )


def limited(config: Config, n: int) -> Config:
    """`config` made quick, to try its code: at most `n` images in each split and 2 epochs, all else in proportion.

    Levels, methods, corruptions and the network stay; `-limit-n` is added to the name. Raises `UserError` where `n` is
    below 2.
    """
    if n < 2:
        raise UserError(f"limit is {n}: give 2 or more images, for BatchNorm needs two a batch")

    def fewer(value: float | None) -> int:
        return n if value is None or value < 1 else min(n, int(value))

    data, evaluation = config.data, config.evaluation
    short = scaled(config, min(2, config.training.epochs))
    if short.pruning.rewind_unit == "steps":
        steps = short.training.epochs * max(1, fewer(data.train) // short.training.batch)
        rewind = min(short.pruning.rewind, steps // 2)
        short = dataclasses.replace(short, pruning=dataclasses.replace(short.pruning, rewind=rewind))
    return dataclasses.replace(
        short,
        name=f"{config.name}-limit-{n}",
        data=dataclasses.replace(
            data,
            train=fewer(data.train),
            validation=fewer(data.validation),
            test=fewer(data.test),
            decode=data.decode if data.name == "mnist1d" else "used",
        ),
        evaluation=dataclasses.replace(evaluation, corrupted=fewer(evaluation.corrupted)),
    )

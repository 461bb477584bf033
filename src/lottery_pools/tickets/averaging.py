"""Running means of weights: over the epochs or steps of one training run, and over the copies of a level."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from lottery_pools.config.schema import Training


def blend(mean: dict[str, Tensor], weights: Mapping[str, Tensor], share: float) -> None:
    """Move `mean` in place by `share` of the way to `weights`; integer tensors become those of `weights`.

    With shares 1, 1/2, 1/3, … it is the equal-weight mean. A weight that is zero in both stays zero.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            mean[name].lerp_(tensor.to(mean[name].device), share)
        else:
            mean[name].copy_(tensor)


def share(training: Training, step: int, start: int, stop: int, per_epoch: int) -> float:
    """How far the mean moves to the weights that a run from `start` to `stop` has after `step` steps; 0: it rests.

    `swa`: 1/n after the n-th averaged epoch, the first being ceil(average_from · epochs) (Izmailov et al., UAI 2018),
    or that in which the run starts if that is later. `ema`: (1 - d) / (1 - dⁿ) after the n-th step of the run, which
    is the moving average of decay d from zero with its bias corrected as in Adam, so the start weighs no more.
    """
    if training.keep == "ema":
        return (1 - training.ema_decay) / (1 - training.ema_decay ** (step - start))
    if training.keep != "swa" or (step % per_epoch and step < stop):
        return 0.0
    epoch, epochs = math.ceil(step / per_epoch), math.ceil(stop / per_epoch)
    first = max(math.ceil(round(training.average_from * epochs, 6)), start // per_epoch + 1)
    return 1 / (epoch - first + 1) if epoch >= first else 0.0

"""The loss of a batch, as the settings and the task of the data say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lottery_pools.config.schema import Task, Training
from lottery_pools.models import external

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs (n, outputs) float32 and labels, to a tensor of one number that can be differentiated."""


def of(settings: Training, task: Task, device: torch.device) -> Loss:
    """The loss that a network is trained on. It reads nothing back from the device.

    - `single-label`: the cross-entropy, with label smoothing and class weights; labels are (n,) int64.
    - `multi-label`: the mean binary cross-entropy of the labels; labels are (n, outputs) float32, 0 or 1. Smoothing
      moves them towards one half. A weight multiplies the part of a label where it is there.
    - `regression`: the mean squared error; labels are (n, outputs) float32. A weight multiplies the part of a number.
    - your own function, if `settings.loss` names one, with the same labels.

    Args:
        settings: Of the training.
        task: Of the data.
        device: That of the outputs and labels.

    Raises:
        UserError: If the user's function cannot be imported.
    """
    if settings.loss is not None:
        return external.function(settings.loss, "loss")
    weights = torch.tensor(settings.class_weights, device=device) if settings.class_weights else None
    smoothing = settings.label_smoothing

    def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weights, label_smoothing=smoothing)

    def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        targets = labels * (1 - smoothing) + smoothing / 2 if smoothing else labels
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)

    def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
        errors = (outputs - labels).square()
        return (errors if weights is None else errors * weights).mean()

    return {"single-label": cross_entropy, "multi-label": binary_cross_entropy, "regression": squared_error}[task]

"""What networks are compared by, one value a sample, for every task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lottery_pools.config.schema import Task
from lottery_pools.errors import UserError

Metric = Callable[[Tensor, Tensor], Tensor]
"""From outputs (n, outputs) float32 and labels, to one value a sample, (n,): higher is better."""

NAMES: dict[Task, str] = {"single-label": "accuracy", "multi-label": "accuracy", "regression": "r2"}
"""What the mean over samples is called."""


def of(task: Task) -> Metric:
    """The measure of a task: `hits`, `exact_matches` or `explained`."""
    measures: dict[Task, Metric] = {"single-label": hits, "multi-label": exact_matches, "regression": explained}
    return measures[task]


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Which samples are predicted correctly, (n,) bool: logits (n, classes), labels (n,) int64."""
    return logits.argmax(1) == labels


def exact_matches(logits: Tensor, labels: Tensor) -> Tensor:
    """Which samples have every label predicted correctly, (n,) bool: logits and labels (n, labels).

    Their share is what scikit-learn calls the accuracy of multi-label predictions.
    """
    return ((logits > 0) == (labels > 0.5)).all(1)


def explained(outputs: Tensor, labels: Tensor) -> Tensor:
    """What each sample adds to the coefficient of determination R², (n,): outputs and labels (n, numbers).

    The values are 1 - e² / v, where e is the error of a number and v its variance over these samples, averaged over the
    numbers of a sample. Their mean over the samples is R², the mean of that of the single numbers.

    Raises:
        UserError: If a number is the same in all samples, so that R² has no value.
    """
    labels = labels.double()
    variance = labels.var(0, correction=0)
    if not (variance > 0).all():
        raise UserError(
            "R² needs numbers that differ between samples, and one is the same in all of a split: leave it out"
        )
    return (1 - (outputs.double() - labels).square() / variance).mean(1).float()


def checked(metric: Metric, name: str) -> Metric:
    """A user's metric that says so, in one line, if it does not return one finite value a sample."""

    def measure(outputs: Tensor, labels: Tensor) -> Tensor:
        values = metric(outputs, labels)
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        if shape != (len(labels),):
            raise UserError(f"evaluation.metric {name!r} returned {shape}: return one value a sample, ({len(labels)},)")
        if not torch.isfinite(values).all():
            raise UserError(f"evaluation.metric {name!r} returned values that are NaN or infinite: return finite ones")
        return values.float()

    return measure

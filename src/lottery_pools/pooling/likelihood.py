"""How likely a network finds the labels, one value a sample: what our own searches compare networks by."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lottery_pools.config.schema import Task
from lottery_pools.errors import UserError

SHARPEST = 5.0
"""The factor of the logits lies between exp(-5) and exp(5)."""
HALVINGS = 25
"""Steps of the bisection that finds the factor: its logarithm is then exact to 3e-7."""
SMALLEST_VARIANCE = 1e-12
"""Variances of errors below this count as this."""


def inverse_temperature(logits: Tensor, labels: Tensor, task: Task = "single-label") -> float:
    """The factor of the logits at which the labels are likeliest (temperature scaling, Guo et al., ICML 2017).

    The loss is convex in the factor, so bisection of its slope finds it. Classes that are masked with logits of -inf
    play no part. Computed in float64 where the device has it (Apple's MPS has not).

    Args:
        logits: (n, classes); or (n, labels), of sigmoids.
        labels: (n,) int64, or probabilities, (n, classes); with several labels a sample (n, labels) floating, 0 or 1.
        task: `single-label` or `multi-label`.

    Returns:
        A number between exp(-5) and exp(5): above 1 where the classifier is not sure enough.
    """
    logits = _widest(logits.detach())
    finite = logits.masked_fill(logits == -torch.inf, 0)  # their probability is 0, but 0 · -inf would be NaN
    if task == "multi-label":
        return _best_factor(lambda factor: ((logits * factor).sigmoid() - labels).mul(finite).sum(1).mean())
    soft = labels.ndim == 2
    label_logits = (labels.to(finite) * finite).sum(1) if soft else logits.gather(1, labels[:, None])[:, 0]
    return _best_factor(lambda factor: (((logits * factor).softmax(1) * finite).sum(1) - label_logits).mean())


def log_likelihood(logits: Tensor, labels: Tensor, task: Task = "single-label") -> Tensor:
    """The log-probability of each label after temperature scaling on these very samples.

    As a score it compares classifiers better than loss or accuracy: an overconfident network gains nothing by being
    blurred, which plain loss rewards; and unlike accuracy it says how sure a prediction was, so that fewer samples tell
    two networks apart.

    Args:
        logits: (n, classes); with another task, outputs (n, labels) or (n, numbers).
        labels: (n,) int64, or probabilities, (n, classes), such as another network's: then the mean of the classes'
            log-probabilities, weighed by these; with another task, of the shape of the outputs, floating.
        task: `single-label`; `multi-label`: each label is there or not, with a probability of its own (Bernoulli), and
            the value is that of all labels of a sample; `regression`: the errors of each number are Gaussian, with mean
            zero and the variance that they have on these samples.

    Returns:
        (n,) float32, in nats, at most 0; of a regression the logarithm of a density, which may be above 0.

    Raises:
        UserError: If logits and labels do not go together, or there is one class alone.

    Example:
        ```python
        def score(model):
            return lp.log_likelihood(model.eval()(images), labels)
        ```
    """
    outputs = logits.float()
    _check(outputs, labels, task)
    if task == "regression":
        errors = (outputs - labels).square()
        variance = errors.mean(0).clamp(min=SMALLEST_VARIANCE)
        return -(errors / variance + (2 * math.pi * variance).log()).sum(1) / 2
    scaled = outputs * inverse_temperature(logits, labels, task)
    if task == "multi-label":
        return -F.binary_cross_entropy_with_logits(scaled, labels, reduction="none").sum(1)
    if labels.ndim == 2:
        log_probabilities = scaled.log_softmax(1).masked_fill(labels == 0, 0)  # 0 · -inf would be NaN
        return (labels.to(scaled) * log_probabilities).sum(1)
    return -F.cross_entropy(scaled, labels, reduction="none")


def _check(outputs: Tensor, labels: Tensor, task: Task) -> None:
    """Raise UserError unless `log_likelihood` can compare these."""
    if not isinstance(labels, Tensor):
        raise UserError(
            f"labels are a {type(labels).__name__}: give a tensor, such as the classes, int64 of shape (n,)"
        )
    shape, given = tuple(outputs.shape), f"labels are {labels.dtype} {tuple(labels.shape)}"
    if outputs.ndim != 2:
        raise UserError(f"logits are {shape}: give (n, classes), or (n, labels) with another task")
    if task != "single-label":
        if labels.shape != outputs.shape or not labels.is_floating_point():
            raise UserError(f"{given} for outputs {shape}: with task={task!r} give floating numbers of the same shape")
        return
    if shape[1] == 1:
        raise UserError(
            f"logits are {shape}: one class is always certain; if it is the logit of a label, give task='multi-label', "
            "and for numbers task='regression'"
        )
    if labels.shape not in (outputs.shape, outputs.shape[:1]) or (labels.ndim == 1 and labels.dtype != torch.int64):
        raise UserError(f"{given} for logits {shape}: give int64 of shape {shape[:1]}, or probabilities {shape}")
    if labels.ndim == 1 and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < shape[1]:
        raise UserError(
            f"labels are {int(labels.min())} to {int(labels.max())}, the logits are of {shape[1]} classes: give labels "
            f"from 0 to {shape[1] - 1}"
        )


def _best_factor(slope: Callable[[Tensor], Tensor]) -> float:
    """The factor at which the slope of a convex loss is zero, by bisection of its logarithm."""
    low, high = -SHARPEST, SHARPEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if float(slope(torch.tensor(middle).exp())) > 0 else (middle, high)
    return float(torch.tensor((low + high) / 2).exp())


def _widest(tensor: Tensor) -> Tensor:
    """`tensor` in float64, or in float32 on a device that has no float64."""
    try:
        return tensor.double()
    except TypeError:
        return tensor.float()

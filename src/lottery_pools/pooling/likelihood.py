"""How likely a classifier finds the labels, one value a sample: what our own searches compare networks by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHARPEST = 5.0
"""The factor of the logits lies between exp(-5) and exp(5)."""
HALVINGS = 25
"""Steps of the bisection that finds the factor: its logarithm is then exact to 3e-7."""


def inverse_temperature(logits: Tensor, labels: Tensor) -> float:
    """The factor of the logits at which the labels are likeliest (temperature scaling, Guo et al., ICML 2017).

    The loss is convex in the factor, so bisection of its slope finds it. Classes that are masked with logits of -inf
    play no part. Computed in float64 where the device has it (Apple's MPS has not).

    Args:
        logits: (n, classes).
        labels: (n,) int64, or probabilities, (n, classes).

    Returns:
        A number between exp(-5) and exp(5): above 1 where the classifier is not sure enough.
    """
    logits = _widest(logits.detach())
    finite = logits.masked_fill(logits == -torch.inf, 0)  # their probability is 0, but 0 · -inf would be NaN
    soft = labels.ndim == 2
    label_logits = (labels.to(finite) * finite).sum(1) if soft else logits.gather(1, labels[:, None])[:, 0]
    low, high = -SHARPEST, SHARPEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        probabilities = (logits * torch.tensor(middle).exp()).softmax(1)
        slope = ((probabilities * finite).sum(1) - label_logits).mean()
        low, high = (low, middle) if float(slope) > 0 else (middle, high)
    return float(torch.tensor((low + high) / 2).exp())


def log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-probability of each label after temperature scaling on these very samples.

    As a score it compares classifiers better than loss or accuracy: an overconfident network gains nothing by being
    blurred, which plain loss rewards; and unlike accuracy it says how sure a prediction was, so that fewer samples tell
    two networks apart.

    Args:
        logits: (n, classes).
        labels: (n,) int64, or probabilities, (n, classes), such as another network's: then the mean of the classes'
            log-probabilities, weighed by these.

    Returns:
        (n,) float32, in nats, at most 0.

    Example:
        ```python
        def score(model):
            return lp.log_likelihood(model.eval()(images), labels)
        ```
    """
    scaled = logits.float() * inverse_temperature(logits, labels)
    if labels.ndim == 2:
        log_probabilities = scaled.log_softmax(1).masked_fill(labels == 0, 0)  # 0 · -inf would be NaN
        return (labels.to(scaled) * log_probabilities).sum(1)
    return -F.cross_entropy(scaled, labels, reduction="none")


def _widest(tensor: Tensor) -> Tensor:
    """`tensor` in float64, or in float32 on a device that has no float64."""
    try:
        return tensor.double()
    except TypeError:
        return tensor.float()

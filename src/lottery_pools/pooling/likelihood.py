"""How well a classifier predicts, a sample each: what our own searches compare networks by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHARPEST, HALVINGS = 5.0, 25


def inverse_temperature(logits: Tensor, labels: Tensor) -> float:
    """The factor of the logits, between exp(-5) and exp(5), at which the labels are likeliest (Guo et al., ICML 2017).

    `logits` (n, classes), `labels` (n,) int64. The loss is convex in the factor, so bisection of its slope finds it.
    """
    logits = logits.detach().double()
    of_labels = logits.gather(1, labels[:, None])[:, 0]
    low, high = -SHARPEST, SHARPEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = ((logits * torch.tensor(middle).exp()).softmax(1) * logits).sum(1)
        low, high = (low, middle) if float((expected - of_labels).mean()) > 0 else (middle, high)
    return float(torch.tensor((low + high) / 2).exp())


def log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-probability of each label after temperature scaling on these very samples: (n,), nats, at most 0.

    `logits` (n, classes), `labels` (n,) int64. An overconfident network gains nothing by being blurred, which plain
    validation loss rewards; and unlike accuracy it says how sure a prediction was, so that fewer samples tell two
    networks apart.
    """
    scaled = logits.float() * inverse_temperature(logits, labels)
    return -F.cross_entropy(scaled, labels, reduction="none")

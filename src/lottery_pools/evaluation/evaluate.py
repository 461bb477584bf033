"""One evaluator: a network's predictions on a split, counted once, from which every measure follows.

A sample of a multi-label set is predicted correctly if all of its labels are. The confidence of that prediction is the
product of the probabilities of its labels, for each has a probability of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lottery_pools.config.schema import Task, Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.evaluation.metrics import calibration_error, reliability
from lottery_pools.runs.rows import Bins
from lottery_pools.tickets.forward import logits


@dataclass(frozen=True)
class Measured:
    """What a network does on a split."""

    hits: NDArray[np.bool_]
    """(n,) whether each sample was predicted correctly, in the order of the split."""
    loss: float
    """Mean negative log-likelihood, nats."""
    ece: float
    """Expected calibration error, 0 to 1."""
    bins: Bins
    """Samples, correct and mean confidence by confidence."""

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, 0 to 1."""
        return float(self.hits.mean())


def evaluate(model: nn.Module, dataset: Dataset, split: Split, training: Training, batch: int = 500) -> Measured:
    """Measure `model` on `split`, under the precision it was trained with."""
    outputs = logits(model, dataset, split, training, batch).cpu()
    return measured(log_probabilities(outputs, dataset.task), split.labels)


def log_probabilities(logits: Tensor, task: Task = "single-label") -> Tensor:
    """Log-probabilities of logits (n, classes): (n, classes); for multi-label (n, labels, 2), of absent and present."""
    if task == "multi-label":
        return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=-1)
    return logits.log_softmax(1)


def measured(log_probabilities: Tensor, labels: Tensor) -> Measured:
    """Measures of predictions.

    Args:
        log_probabilities: (n, classes) float32 on the CPU; for multi-label (n, labels, 2).
        labels: (n,) int64; for multi-label (n, labels), 0 or 1.
    """
    choices = log_probabilities if log_probabilities.ndim == 3 else log_probabilities[:, None]  # (n, choices, options)
    chosen = labels.cpu().long().reshape(choices.shape[:2])
    top, predicted = choices.max(2)
    confidence = top.sum(1).exp().double().numpy()
    hits = (predicted == chosen).all(1).numpy()
    loss = -choices.gather(2, chosen[:, :, None]).sum((1, 2)).double().mean().item()
    return Measured(hits, loss, calibration_error(confidence, hits), reliability(confidence, hits))

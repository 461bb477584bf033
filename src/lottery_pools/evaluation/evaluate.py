"""One evaluator: a network's predictions on a split, counted once, from which every measure follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lottery_pools.config.schema import Training
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
    return measured(logits(model, dataset, split, training, batch).cpu().log_softmax(1), split.labels)


def measured(log_probabilities: Tensor, labels: Tensor) -> Measured:
    """Measures of predictions: log-probabilities (n, classes) float32 on the CPU, labels (n,)."""
    labels = labels.cpu()
    top, predicted = log_probabilities.max(1)
    confidence = top.exp().double().numpy()
    hits = (predicted == labels).numpy()
    loss = -log_probabilities.gather(1, labels[:, None]).double().mean().item()
    return Measured(hits, loss, calibration_error(confidence, hits), reliability(confidence, hits))

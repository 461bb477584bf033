"""The batches of an epoch, made at once: which samples, how each is augmented, and the learning rate of each step.

All that is random is drawn here, on the CPU, and moved to the device of the training in one go. After that, no step of
the epoch copies anything to the device, so that a GPU never waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.data.augment import Draws


@dataclass(frozen=True, eq=False)
class Batch:
    """The samples of one step."""

    samples: Tensor
    """Indices into the training set, (n,) int64."""
    draws: Draws
    """How each of the n samples is augmented."""
    learning_rate: float | Tensor
    """The learning rate of the step: a number, or a tensor () on the device of the training."""


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of consecutive steps of one epoch.

    Example:
        ```python
        for place in range(len(batches)):
            batch = batches.at(place)
        ```
    """

    samples: Tensor
    """Indices into the training set in the order of the steps, (all samples,) int64."""
    draws: Draws
    """How each of these samples is augmented."""
    learning_rates: tuple[float, ...]
    """The learning rate of each step."""
    size: int
    """Samples of a batch; the last batch may have fewer."""

    def __len__(self) -> int:
        return len(self.learning_rates)

    def size_of(self, place: int) -> int:
        """The number of samples of the batch at a place, counted from 0."""
        return min(self.size, len(self.samples) - place * self.size)

    def at(self, place: int) -> Batch:
        """The batch at a place, counted from 0."""
        rows = slice(place * self.size, place * self.size + self.size_of(place))
        return Batch(self.samples[rows], self.draws.map(lambda tensor: tensor[rows]), self.learning_rates[place])

    def map(self, function: Callable[[Tensor], Tensor]) -> Batches:
        """These batches with a function applied to their tensors."""
        return Batches(function(self.samples), self.draws.map(function), self.learning_rates, self.size)

    def to(self, device: torch.device) -> Batches:
        """These batches on a device. The host does not wait for a copy to a GPU, which is from pinned memory."""
        if device.type != "cuda":
            return self.map(lambda tensor: tensor.to(device))
        return self.map(lambda tensor: tensor.pin_memory().to(device, non_blocking=True))

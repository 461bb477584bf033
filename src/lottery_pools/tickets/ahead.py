"""Training steps whose batches are read and augmented in a thread of their own, while the step before is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor

from lottery_pools.tickets.batches import Batch, Batches

AHEAD = 2
"""Batches that are ready or in the making beside the one that is trained on, which bounds the memory."""

T = TypeVar("T")


class AheadSteps(Generic[T]):
    """Steps for data that are too large for the memory: while one is computed, the images of the next are read.

    All random numbers were drawn beforehand (`batches`), so the results are those of `PlainSteps`, to the bit.

    Args:
        read: What makes the inputs of a step from its batch, in the thread: reading, cropping, mirroring, normalising.
        train: What trains the network on these inputs, and returns the loss, a tensor ().
    """

    def __init__(self, read: Callable[[Batch], T], train: Callable[[T], Tensor]) -> None:
        self._read, self._train = read, train

    def begin(self, batches: Batches) -> None:
        """Begin to read the first batches of an epoch."""
        self._batches = batches
        self._losses: list[Tensor] = []
        self._waiting: deque[Future[T]] = deque()
        self._reader = ThreadPoolExecutor(1, "lottery-pools reader")
        # What the thread asks of a GPU is done in the order of the training: before the step that needs it.
        cuda = batches.samples.is_cuda
        self._stream = torch.cuda.current_stream(batches.samples.device) if cuda else None
        for place in range(min(AHEAD, len(batches))):
            self._ask_for(place)

    def take(self, place: int) -> None:
        """Train the network on the batch at a place of the epoch; places come in their order."""
        if place + AHEAD < len(self._batches):
            self._ask_for(place + AHEAD)
        self._losses.append(self._train(self._waiting.popleft().result()))

    def losses(self) -> Tensor:
        """The loss of each step since `begin`, (steps,)."""
        self._reader.shutdown()
        return torch.stack(self._losses)

    def _ask_for(self, place: int) -> None:
        self._waiting.append(self._reader.submit(self._read_in_order, self._batches.at(place)))

    def _read_in_order(self, batch: Batch) -> T:
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            return self._read(batch)

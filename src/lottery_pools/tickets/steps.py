"""How the steps of a training run are taken: one after another, or recorded once as a CUDA graph and then repeated.

A step of a small network is hundreds of short kernels, and to launch them one by one takes a GPU's host longer than the
GPU needs to run them. A CUDA graph is the recording of all kernels of a step; to repeat it is a single launch.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from lottery_pools.errors import Notice
from lottery_pools.tickets.batches import Batch, Batches
from lottery_pools.tickets.recording import Record, RecordingError, observed

WARM_UP = 2
"""Steps of each batch size before the one that is observed; libraries set themselves up in them."""

TrainBatch = Callable[[Batch], Tensor]
"""What trains the network on one batch, and returns its loss, a tensor ()."""


class Steps(Protocol):
    """What takes the steps of a training run."""

    def begin(self, batches: Batches) -> None:
        """Get ready for the batches of an epoch, which are on the device of the training."""
        ...

    def take(self, place: int) -> None:
        """Train the network on the batch at a place of the epoch."""
        ...

    def losses(self) -> Tensor:
        """The loss of each step since `begin`, (steps,)."""
        ...


class PlainSteps:
    """Steps that are taken one after another, on any device."""

    def __init__(self, train_batch: TrainBatch) -> None:
        self._train_batch = train_batch

    def begin(self, batches: Batches) -> None:
        self._batches = batches
        self._losses: list[Tensor] = []

    def take(self, place: int) -> None:
        self._losses.append(self._train_batch(self._batches.at(place)))

    def losses(self) -> Tensor:
        return torch.stack(self._losses)


class RecordedSteps:
    """Steps that are recorded once for each batch size, and repeated from then on.

    A recording repeats the same kernels on the same memory. The batches of an epoch are therefore copied into buffers
    that stay where they are, and a step finds its batch by a counter on the device.

    The first steps of each size are taken plainly, the last of them under observation: a network that waits for the
    device within a step, draws random numbers on the host, or counts something in Python would not do so when a
    recording is repeated. Such a network is trained by plain steps throughout, and a notice says why. Either way the
    same kernels run in the same order.

    Args:
        train_batch: What trains the network on one batch.
        model: The network, for the observation.
        capacity: The samples of a whole epoch.
        record: What records a step: `recording.cuda_graph` on a GPU.
    """

    def __init__(self, train_batch: TrainBatch, model: nn.Module, capacity: int, record: Record) -> None:
        self._train_batch, self._model, self._capacity, self._record = train_batch, model, capacity, record
        self._recorded: dict[int, Callable[[], None]] = {}
        self._taken: Counter[int] = Counter()  # steps of each batch size so far
        self._obstacle: str | None = None
        self._buffers: Batches | None = None

    def begin(self, batches: Batches) -> None:
        if self._buffers is None:
            self._buffers = self._allocate(batches)
        self._batches = batches
        self._buffers.samples[: len(batches.samples)].copy_(batches.samples)
        for buffer, draws in zip(self._buffers.draws.tensors(), batches.draws.tensors(), strict=True):
            buffer[: len(draws)].copy_(draws)
        rates = torch.tensor(batches.learning_rates, pin_memory=self._rates.is_cuda)
        self._rates[: len(rates)].copy_(rates, non_blocking=True)

    def take(self, place: int) -> None:
        size = self._batches.size_of(place)
        self._place.fill_(place)
        if size not in self._recorded and self._obstacle is None and self._taken[size] > WARM_UP:
            self._try_to_record(size)
        if size in self._recorded:
            self._recorded[size]()
        elif self._obstacle is None and self._taken[size] == WARM_UP:
            with observed(self._model, self._place.device) as obstacles:
                self._step(size)
            if obstacles:
                self._stay_plain(obstacles[0])
        else:
            self._step(size)
        self._taken[size] += 1

    def losses(self) -> Tensor:
        return self._losses[: len(self._batches)].clone()

    def _allocate(self, batches: Batches) -> Batches:
        """Make the buffers of a whole epoch, of which `batches` may be a part. Returns those of the batches."""
        steps, device = -(-self._capacity // batches.size), batches.samples.device
        self._rates = torch.zeros(steps, device=device)
        self._losses = torch.zeros(steps, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._places = torch.arange(steps, device=device)
        return batches.map(lambda tensor: tensor.new_zeros(self._capacity, *tensor.shape[1:]))

    def _step(self, size: int) -> None:
        """Train on the batch, of `size` samples, at the place that the device's counter says."""
        buffers, place = self._buffers, self._place
        assert buffers is not None
        rows = place * buffers.size + torch.arange(size, device=place.device)
        draws = buffers.draws.map(lambda tensor: tensor.index_select(0, rows))
        rate = self._rates.index_select(0, place)[0]
        loss = self._train_batch(Batch(buffers.samples.index_select(0, rows), draws, rate))
        self._losses.copy_(torch.where(self._places == place, loss, self._losses))  # other ways wait for the GPU

    def _try_to_record(self, size: int) -> None:
        try:
            self._recorded[size] = self._record(lambda: self._step(size))
        except RecordingError as error:
            self._stay_plain(str(error))

    def _stay_plain(self, obstacle: str) -> None:
        self._obstacle = obstacle
        warnings.warn(
            f"training steps are launched one by one, not as a CUDA graph, since the network {obstacle}: "
            "the results are the same, but slower",
            Notice,
            stacklevel=2,
        )

"""Batches read ahead: the bits of plain steps, in a thread of their own, few at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lottery_pools.data import sources
from lottery_pools.data.augment import Draws
from lottery_pools.data.dataset import LARGE
from lottery_pools.experiment.run import Run
from lottery_pools.runs.disk import digest
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import imp, training
from lottery_pools.tickets.ahead import AHEAD, AheadSteps
from lottery_pools.tickets.batches import Batch, Batches
from tests.test_stages import tiny


def test_tickets_are_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny()
    dataset = sources.load(config.data)
    digests = []
    for name, large in (("plain", LARGE), ("ahead", 0)):
        monkeypatch.setattr(training, "LARGE", large)
        run = Run(config, 0, RunFolder(tmp_path / name), "cpu")
        list(imp.tickets(config, dataset, run.folder, 0))
        digests.append([digest(run.folder.ticket(level)) for level in run.levels])
    assert digests[0] == digests[1]


def batches(steps: int) -> Batches:
    return Batches(torch.arange(4 * steps), Draws(), (0.1,) * steps, 4)


def test_few_batches_are_read_ahead_in_another_thread() -> None:
    read: list[int] = []
    trained: list[int] = []
    furthest = 0

    def read_batch(batch: Batch) -> int:
        assert threading.current_thread() is not threading.main_thread()
        read.append(int(batch.samples[0]) // 4)
        return read[-1]

    def train(place: int) -> Tensor:
        nonlocal furthest
        furthest = max(furthest, len(read) - place)
        trained.append(place)
        return torch.tensor(float(place))

    steps = AheadSteps(read_batch, train)
    for _ in range(2):
        read.clear()
        steps.begin(batches(7))
        for place in range(7):
            steps.take(place)
        assert steps.losses().tolist() == list(range(7))
    assert trained == [*range(7)] * 2
    assert furthest <= AHEAD + 1


def test_what_goes_wrong_in_the_thread_is_raised_by_its_step() -> None:
    def read_batch(batch: Batch) -> None:
        if int(batch.samples[0]) == 4:
            raise OSError("the disk is gone")

    steps = AheadSteps(read_batch, lambda ready: torch.zeros(()))
    steps.begin(batches(3))
    steps.take(0)
    with pytest.raises(OSError, match="the disk is gone"):
        steps.take(1)

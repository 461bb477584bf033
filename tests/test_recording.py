"""What observation finds, on the CPU. Recording itself needs a GPU: tests/gpu/test_graphs.py."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from lottery_pools.tickets.recording import observed, training_stream

CPU = torch.device("cpu")


@pytest.mark.parametrize("draw", [random.random, lambda: np.random.rand(), lambda: torch.rand(1)])
def test_random_numbers_of_the_host_are_noticed(draw: object) -> None:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    with observed(nn.Linear(1, 1), CPU) as obstacles:
        draw()  # type: ignore[operator]
    assert obstacles == ["draws random numbers on the host"]
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def test_attributes_that_change_are_noticed_by_name() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.25))
    with observed(model, CPU) as obstacles:
        setattr(model[1], "p", 0.5)  # noqa: B010 (mypy takes it for a tensor)
    assert obstacles == ["changes its attribute 1.p"]


def test_ordinary_work_meets_no_obstacle() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with observed(model, CPU) as obstacles:
        model(torch.ones(3, 2)).sum().backward()
    assert obstacles == []


def test_other_devices_than_gpus_have_no_streams() -> None:
    with training_stream(CPU):
        assert torch.ones(1).item() == 1

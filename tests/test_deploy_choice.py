"""The choice between compiled and dense: measured once, remembered on disk, and the faster one taken."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lottery_pools.deploy import choice, compiler
from lottery_pools.deploy.choice import Choice
from lottery_pools.deploy.library import CompiledNetwork


class Program:
    """A program that takes its time and counts its calls."""

    def __init__(self, pause: float) -> None:
        self.networks: dict[int, CompiledNetwork] = {}
        self.pause, self.calls = pause, 0

    def __call__(self, x: Tensor, threads: int) -> Tensor:
        self.calls += 1
        time.sleep(self.pause)
        return x


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path))
    known = compiler.Compiler("cc", "cc 1", (), "processor", "plain")
    monkeypatch.setattr(compiler, "find", lambda: known)


@pytest.mark.parametrize("slow", [False, True])
def test_times_are_measured_once_and_remembered(slow: bool, tmp_path: Path) -> None:
    program, dense = Program(0.02 if slow else 0.0), Program(0.0 if slow else 0.02)

    def compute(x: Tensor) -> Tensor:
        return dense(x, 1)

    x = torch.zeros(200, 3)
    first = Choice()
    times = first.times(x, program, compute, 1)
    assert times.samples == 64
    assert (times.dense < times.compiled) is slow
    calls = program.calls
    assert first.times(x[:100], program, compute, 1) == times
    assert Choice().times(x, program, compute, 1) == times, "from the cache"
    assert program.calls == calls
    assert len(list(tmp_path.rglob("*.json"))) == 1
    assert Choice().times(x[:5], program, compute, 1).samples == 1  # few samples are another question
    assert program.calls > calls
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_a_damaged_memory_is_measured_anew(tmp_path: Path) -> None:
    program = Program(0.0)
    Choice().times(torch.zeros(1, 3), program, lambda x: x, 1)
    (path,) = tmp_path.rglob("*.json")
    for damage in ("{", "[]", '{"samples": 1}'):
        path.write_text(damage, encoding="utf-8")
        calls = program.calls
        Choice().times(torch.zeros(1, 3), program, lambda x: x, 1)
        assert program.calls > calls
        assert set(json.loads(path.read_text(encoding="utf-8"))) == {"samples", "compiled", "dense"}


def test_the_least_time_counts() -> None:
    pauses = iter([0.05, 0.05, 0.0, 0.05])
    assert choice.seconds(lambda: time.sleep(next(pauses)), runs=3) < 0.04

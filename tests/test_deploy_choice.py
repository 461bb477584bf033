"""The choice between compiled and dense: measured once, remembered on disk, and the fastest taken."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lottery_pools.deploy import compiler
from lottery_pools.deploy.choice import Choice, Times, timed
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
    first, orders = Choice(), {"contiguous": compute}
    times = first.times(x, program, orders, 1)
    assert times.samples == 256
    assert (times.dense < times.compiled) is slow
    assert times.fastest == ("contiguous" if slow else "compiled")
    calls = program.calls
    assert first.times(x[:100], program, orders, 1) == times
    assert Choice().times(x, program, orders, 1) == times, "from the cache"
    assert program.calls == calls
    assert len(list(tmp_path.rglob("*.json"))) == 1
    assert Choice().times(x[:1], program, orders, 1).samples == 1  # one sample is another question
    assert program.calls > calls
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_a_class_of_batch_sizes_is_timed_by_the_one_that_wastes_most() -> None:
    sizes = {n: timed(n, lanes=16) for n in (1, 2, 4, 5, 8, 9, 16, 17, 32, 33, 63, 64, 65, 1000)}
    assert sizes == {
        1: 1,
        2: 4,
        4: 4,
        5: 8,
        8: 8,
        9: 9,
        16: 9,
        17: 24,
        32: 24,
        33: 40,
        63: 40,
        64: 64,
        65: 72,
        1000: 72,
    }
    assert {timed(n, lanes=64) for n in range(9, 64)} == {9, 17, 33}
    assert [timed(n, lanes=64) for n in (5, 100)] == [5, 68], "four alone take as long as 64 side by side"
    assert timed(20, lanes=1) == 32, "one at a time nothing is wasted: as many as dense PyTorch likes best"


def test_a_batch_smaller_than_the_size_that_is_timed_is_repeated() -> None:
    sizes: list[int] = []

    def compute(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x

    program = Program(0.0)
    assert Choice().times(torch.zeros(17, 3), program, {"contiguous": compute}, 1).samples == 32
    assert set(sizes) == {32}


@pytest.mark.parametrize(
    ("times", "fastest", "dense"),
    [
        (Times(1, 1.0, 1.0, 1.0), "compiled", 1.0),
        (Times(1, 2.0, 1.5, 1.0), "channels_last", 1.0),
        (Times(1, 2.0, 1.5), "contiguous", 1.5),
    ],
)
def test_the_fastest_order_of_memory_counts(times: Times, fastest: str, dense: float) -> None:
    assert (times.fastest, times.dense) == (fastest, dense)


def test_a_damaged_memory_is_measured_anew(tmp_path: Path) -> None:
    program, orders = Program(0.0), {"contiguous": lambda x: x}
    Choice().times(torch.zeros(1, 3), program, orders, 1)
    (path,) = tmp_path.rglob("*.json")
    of_other_types = '{"samples": 1, "compiled": "x", "contiguous": [], "channels_last": {}}'
    not_finite = '{"samples": 1, "compiled": NaN, "contiguous": 1.0, "channels_last": null}'
    for damage in ("{", "[]", '{"samples": 1}', of_other_types, not_finite, "[" * 5000, '{"samples": 1' + "0" * 5000):
        path.write_text(damage, encoding="utf-8")
        calls = program.calls
        Choice().times(torch.zeros(1, 3), program, orders, 1)
        assert program.calls > calls
        assert set(json.loads(path.read_text(encoding="utf-8"))) == {
            "samples", "compiled", "contiguous", "channels_last"
        }  # fmt: skip

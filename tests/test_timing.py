"""Speeds: seconds a unit of work, the mean of workers side by side; costs add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lottery_pools.experiment import stages, timing
from lottery_pools.experiment.timing import Cost, Speed, measured
from lottery_pools.runs import engine
from tests.test_stages import ONE, tiny


def test_speeds_are_per_unit_and_costs_add_up() -> None:
    calls = []

    def sleepless(n: int) -> int:
        calls.append(n)
        return 10 * n if n < 64 else 640

    assert 0 < timing._each(sleepless) < 1e-3
    assert calls[:4] == [1, 1, 2, 4]
    assert calls[-1] <= 128  # what gets no longer is not tried for ever
    assert Cost(1, 2, 3) + Cost(4, written=5) == Cost(5, 2, 3, 0, 0, 5)
    assert math.isclose(Speed(3, 2, 1, 0.5, 0.1).seconds(Cost(1, 2, 3, 4, 5, 6)), 12.5)


def test_workers_that_slow_one_another_down_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run_tasks(function: Any, tasks: Sequence[Any], workers: int, threads: int, cluster: str | None) -> Any:
        seen.extend((function, len(tasks), workers, threads))
        yield from ((Speed(1, 2, 3, 4, 5), 0.0), (Speed(3, 2, 1, 0, 0), 1e9))

    monkeypatch.setattr(engine, "run_tasks", run_tasks)
    run = stages.checked(tiny(), tmp_path / "run", ONE)[0]
    assert measured(run, 2, 1, None) == Speed(2, 2, 2, 2, 2.5, start=0)
    assert seen == [timing.of_process, 2, 2, 1]

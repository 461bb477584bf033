"""Speeds: seconds a unit of work, the mean of a cluster's workers side by side; costs add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lottery_pools.experiment import opening, timing
from lottery_pools.experiment.timing import Cost, Speed, measured
from lottery_pools.runs import engine
from tests.test_stages import ONE, tiny


def test_speeds_are_per_unit_and_costs_add_up() -> None:
    calls = []

    def sleepless(n: int) -> int:
        calls.append(n)
        return 10 * n if n < 64 else 640

    assert 0 < timing.seconds_a_unit(sleepless, first=1) < 1e-3
    assert calls[:4] == [1, 1, 2, 4]
    assert calls[-1] <= 128  # what gets no longer is not tried for ever
    assert Cost(1, 2, 3) + Cost(4, written=5) == Cost(5, 2, 3, 0, 0, 5)
    assert math.isclose(Speed(3, 2, 1, 0.5, 0.1).seconds(Cost(1, 2, 3, 4, 5, 6)), 12.5)


def test_a_slow_first_try_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def slow(n: int) -> int:
        calls.append(n)
        return n

    monkeypatch.setattr(timing, "LONG_SECONDS", -1.0)
    timing.seconds_a_unit(slow, 2)
    assert calls == [2]


def test_only_the_kinds_that_are_asked_for_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-3)
    experiment = opening.resolve(tiny(), tmp_path / "run", ONE)
    of = (experiment.runs[0], experiment.network)
    speed = measured(*of, ("forwarded", "mixed"), (1, 1))
    assert min(speed.forwarded, speed.mixed) > 0
    assert (speed.trained, speed.recalibrated, speed.corrupted, speed.start) == (0, 0, 0, 0)
    everything = measured(*of, timing.KINDS[:4], (2, 1))
    assert min(everything.trained, everything.recalibrated, everything.start) > 0


def test_workers_that_slow_one_another_down_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def each(function: Any, tasks: Sequence[Any], workers: int, threads: int, cluster: str | None) -> Any:
        seen.extend((function, len(tasks), workers, threads))
        yield from (Speed(1, 2, 3, 4, 5), Speed(3, 2, 1, 0, 0))

    monkeypatch.setattr(engine, "run_tasks", each)
    experiment = opening.resolve(tiny(), tmp_path / "run", ONE)
    of = (experiment.runs[0], experiment.network)
    assert measured(*of, timing.KINDS, (2, 1), "tcp://scheduler") == Speed(2, 2, 2, 2, 2.5, start=0)
    assert seen == [timing.of_process, 2, 2, 1]

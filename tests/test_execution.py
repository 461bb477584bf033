"""Doing tasks: those that are left, in their order; work is foreseen for a live terminal only."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lottery_pools.experiment import execution, plan, pricing, stages
from lottery_pools.experiment.plan import Part, Task
from lottery_pools.runs.engine import Workers
from tests.test_stages import ONE, tiny


def double(n: int) -> int:
    return 2 * n


def test_what_is_left_is_done_in_order_and_kept() -> None:
    kept: list[tuple[int, int]] = []
    part = Part("pooling", double, [Task((n,), 1, int(n == 2)) for n in (3, 2, 1)])
    execution.do(part, Workers(ONE), lambda task, result: kept.append((task.arguments[0], result)))
    assert kept == [(3, 6), (1, 2)]


def test_without_a_terminal_nothing_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("costs are foreseen for a terminal and --dry-run only")

    monkeypatch.setattr(plan, "parts", refuse)
    monkeypatch.setattr(pricing, "price", refuse)
    stages.run(tiny(), tmp_path / "run", ONE)


def test_in_a_terminal_the_progress_is_of_all_that_the_run_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[tuple[Sequence[Path], Mapping[str, float]]] = []

    @contextmanager
    def watch(folders: Sequence[Path], work: Mapping[str, float], console: Console) -> Iterator[None]:
        watched.append((folders, work))
        yield

    monkeypatch.setattr(execution, "watch", watch)
    monkeypatch.setattr(
        execution, "Console", lambda stderr: Console(file=io.StringIO(), force_terminal=True, stderr=False)
    )
    stages.run(tiny(), tmp_path / "run", ONE)
    stages.run(tiny(), tmp_path / "run", ONE)
    (folders, work), (none_left, nothing) = watched
    assert folders == [tmp_path / "run"]
    assert list(work) == ["training", "pooling", "evaluation"]
    assert min(work.values()) > 0
    assert (none_left, nothing) == ([], {})

"""Events read from the files of a run: every one once, in order, and an observer that fails holds up nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lottery_pools.errors import Notice
from lottery_pools.experiment import stages
from lottery_pools.experiment.execution import Watching
from lottery_pools.runs import results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.events import Appended, Event, followed, observed, of_log
from lottery_pools.runs.folder import RunFolder
from tests.test_stages import ONE, tiny


def test_observers_are_told_every_level_epoch_ticket_pool_and_row(tmp_path: Path) -> None:
    events: list[Event] = []
    stages.run(tiny(), tmp_path, ONE, Watching(observers=(events.append,)))
    told = [(event.kind, event.level) for event in events if event.kind in ("level", "epoch", "ticket")]
    # after level 0, the rewind point is after the first of two epochs
    assert told == [
        ("level", 0), ("epoch", 0), ("epoch", 0), ("ticket", 0),
        ("level", 1), ("epoch", 1), ("ticket", 1),
        ("level", 2), ("epoch", 2), ("ticket", 2),
    ]  # fmt: skip
    pools = [(event.values["method"], event.level) for event in events if event.kind == "pool"]
    assert pools == [(method, level) for method in tiny().pooling.methods for level in range(3)]
    rows = [event.values for event in events if event.kind == "row"]
    assert [row["correct"] for row in rows] == [row.correct for row in results.read(tmp_path / "results.jsonl")]
    assert {event.run for event in events} == {tmp_path}

    stages.run(tiny(), tmp_path, ONE, Watching(observers=(lambda event: pytest.fail(f"{event} is not new"),)))


def test_events_have_numbers_for_curves() -> None:
    run = Path("runs/one")
    values = {"stage": "training", "time": 9.0, "level": 2, "epoch": 3, "epochs": 5, "loss": 0.5, "accuracy": None}
    epoch = of_log(run, values)
    assert epoch is not None
    assert (epoch.kind, epoch.step, epoch.metrics) == ("epoch", 13, {"epoch/loss": 0.5})
    copy = of_log(run, {**values, "copy": 1, "accuracy": 0.25})
    assert copy is not None
    assert copy.metrics == {"epoch/copy/1/loss": 0.5, "epoch/copy/1/accuracy": 0.25}
    row = Event("row", run, 0.0, {"method": "average", "level": 4, "split": "test", "corruption": "fog", "severity": 3,
                                  "accuracy": 0.5, "loss": 1.0, "ece": 0.1, "correct": 5, "n": 10})  # fmt: skip
    assert row.step == 4
    assert row.metrics["row/average/test/fog/3/accuracy"] == 0.5
    assert of_log(run, {"stage": "pooling", "time": 0.0, "level": 1, "method": "average"}) is None, "it only begins"
    assert of_log(run, {"stage": "evaluation", "time": 0.0, "level": 1, "done": 5}) is None, "its rows are told"


def test_an_observer_that_fails_is_not_called_again(tmp_path: Path) -> None:
    calls: list[Event] = []
    folder = RunFolder(tmp_path)

    def fails(event: Event) -> None:
        calls.append(event)
        raise ConnectionError("no route")

    others: list[Event] = []

    def three_tickets() -> None:
        with observed([tmp_path], [fails, others.append]):
            for level in range(3):
                folder.event(stage="ticket", level=level, density=1.0)

    with pytest.warns(Notice, match=r"the observer .*fails failed, and is not called again .*no route"):
        three_tickets()
    assert len(calls) == 1
    assert [event.level for event in others] == [0, 1, 2]


def test_what_was_there_is_not_told_and_a_torn_line_is_completed(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"stage": "ticket", "level": 0}\n{"stage": "tick')
    lines: list[object] = []
    with followed([tmp_path], lambda run, line: lines.append((run, line["level"]))), log.open("a") as file:
        file.write('et", "level": 1}\n')
        file.write(json.dumps({"stage": "ticket", "level": 2}) + "\n")
    assert lines == [(tmp_path, 1), (tmp_path, 2)]
    reader = Appended(log)
    reader.skip()
    assert reader.new() == []


def test_events_of_worker_processes_are_told_too(tmp_path: Path) -> None:
    saved: list[tuple[str, int]] = []

    def observe(event: Event) -> None:
        if event.kind == "ticket":
            saved.append((event.run.name, event.level))

    config = tiny(seeds=(0, 1))
    stages.tickets(config, tmp_path, Machine("cpu", workers=2, threads=1), Watching(observers=(observe,)))
    assert sorted(saved) == [(f"seed_{seed}", level) for seed in (0, 1) for level in range(3)]

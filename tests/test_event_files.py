"""Events as files of other software: lines that W&B logs, and curves that TensorBoard shows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lottery_pools.errors import UserError
from lottery_pools.reporting.event_files import JsonLines, TensorBoard, observers
from lottery_pools.runs.events import Event


def events(run: Path) -> list[Event]:
    epochs = [
        Event("epoch", run, 100.0 + n, {"level": 1, "epoch": n, "epochs": 4, "loss": 1 / n, "accuracy": None})
        for n in (1, 2)
    ]
    return [*epochs, Event("pool", run, 110.0, {"level": 3, "method": "average", "accuracy": 0.75})]


def test_lines_of_json_are_those_of_weights_and_biases(tmp_path: Path) -> None:
    first, last = JsonLines(), JsonLines()
    for event in events(tmp_path)[:2]:
        first(event)
    last(events(tmp_path)[2])  # a run that is continued goes on counting
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines == [
        {"_step": 0, "_timestamp": 101.0, "_runtime": 0.0, "level": 1, "epoch/loss": 1.0},
        {"_step": 1, "_timestamp": 102.0, "_runtime": 1.0, "level": 1, "epoch/loss": 0.5},
        {"_step": 2, "_timestamp": 110.0, "_runtime": 9.0, "level": 3, "pool/average/accuracy": 0.75},
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own imports
def test_curves_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (observer,) = observers(("tensorboard",))
    for event in events(tmp_path):
        observer(event)
    written = EventAccumulator(str(tmp_path / "tensorboard"))
    written.Reload()
    assert [(point.step, point.value) for point in written.Scalars("epoch/loss")] == [(5, 1.0), (6, 0.5)]
    assert [(point.step, point.value) for point in written.Scalars("pool/average/accuracy")] == [(3, 0.75)]


def test_tensorboard_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'lottery-pools\[tensorboard\]'"):
        TensorBoard()

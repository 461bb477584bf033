"""Progress without a terminal: a line a level, few others, and none if it is to be quiet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lottery_pools.cli import commands
from lottery_pools.config import toml
from lottery_pools.experiment import stages
from lottery_pools.experiment.execution import Watching
from lottery_pools.reporting.pace import Pace
from lottery_pools.reporting.plain_progress import Teller
from tests.test_stages import ONE, tiny


def test_a_line_a_level_and_the_beginning_of_each_stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stages.run(tiny(), tmp_path / "seven", ONE, Watching("everywhere"))
    printed = [re.sub(r"(, accuracy [\d.]+ %)? \(.*", "", line) for line in capfd.readouterr().err.splitlines()]
    assert [line for line in printed if "level" in line] == [
        "seven: level 0 trained, density 100 %",
        "seven: level 1 trained, density 70 %",
        "seven: level 2 trained, density 48.9 %",
    ]
    assert [line.split(":")[0] for line in printed] == ["seven"] * 3 + ["pooling", "evaluation"]


def test_quiet_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.toml").write_text(toml.to_toml(tiny()))
    words = ["--preset", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run"), "--workers", "1", "--quiet"]
    commands.dispatch(["tickets", *words])
    assert capfd.readouterr().err == ""
    commands.dispatch(["evaluate", str(tmp_path / "run"), "--workers", "1"])
    assert capfd.readouterr().err.startswith("evaluation: ")


def test_times_are_told_once_they_can_be_known() -> None:
    teller = Teller(Pace({"training": 30.0, "pooling": 60.0}, now=0.0))
    run = Path("runs/seed_3")
    trained = {"stage": "ticket", "level": 1, "density": 0.512, "accuracy": 0.7134}
    assert teller.told(run, {"stage": "training", "level": 0, "epoch": 1, "done": 10.0}, 5.0) is None
    assert teller.told(run, trained, 5.0) == "seed_3: level 1 trained, density 51.2 %, accuracy 71.3 % (5 s)"
    assert teller.told(run, {"stage": "training", "level": 1, "epoch": 1, "done": 20.0}, 15.0) is None
    pooling = {"stage": "pooling", "level": 1, "method": "average"}
    assert teller.told(run, pooling, 15.0) == "pooling: 33 % of all the work is done (15 s, about 30 s left)"
    assert teller.told(run, {**pooling, "done": 15.0}, 40.0) is None, "less than a minute after the last line"
    assert teller.told(run, {**pooling, "done": 15.0}, 80.0) is not None

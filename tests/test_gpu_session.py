"""A session on a GPU: stages share out the time; one that is cut off or fails stops no other, and saves what it has."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_session
from benchmarks.gpu_session import Places, Stage
from lottery_pools.cli import commands, parsing
from lottery_pools.cli.options import OPTIONS
from lottery_pools.config import toml
from lottery_pools.experiment import report as reports
from lottery_pools.experiment import stages
from tests.test_stages import ONE, tiny

SLEEP = gpu_session.python("-c", "import time; time.sleep(1000)")
FAIL = gpu_session.python("-c", "raise SystemExit('no such card')")


def touch(path: Path) -> gpu_session.Command:
    """A command that makes a file."""
    return gpu_session.python("-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()", str(path))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of 40 seconds is interrupted after one second, and has time to end and to save."""
    monkeypatch.setattr(gpu_session, "GRACE", 20.0)
    monkeypatch.setattr(gpu_session, "SAVING", 19.0)


def test_a_stage_may_take_half_as_long_again_as_its_share() -> None:
    first, second, last = (Stage(name, expected, ()) for name, expected in (("a", 100), ("b", 100), ("c", 200)))
    assert gpu_session.share([first, second, last], 800) == 300
    assert gpu_session.share([second, last], 600) == 300
    assert gpu_session.share([last], 50) == 50


def test_a_stage_that_fails_stops_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    published = tmp_path / "published"
    chosen = [Stage("broken", 1, FAIL), Stage("whole", 1, touch(tmp_path / "made"), publish=touch(published))]
    assert not gpu_session.session(chosen, tmp_path / "out", 600)
    assert (tmp_path / "made").exists()
    assert published.exists()
    lines = [json.loads(line) for line in (tmp_path / "out/session.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["ended"]) for line in lines] == [("broken", "failed (1)"), ("whole", "done")]
    assert (tmp_path / "out/broken.log").read_text() == "no such card\n"
    assert "no such card\n== broken: failed (1) after " in capfd.readouterr().out


@pytest.mark.usefixtures("impatient")
def test_a_stage_that_is_cut_off_saves_what_it_has(tmp_path: Path) -> None:
    rescued, published = tmp_path / "rescued", tmp_path / "published"
    stage = Stage("endless", 1, SLEEP, rescue=touch(rescued), publish=touch(published))
    assert gpu_session.do(stage, tmp_path / "log", 40) == "cut off"
    assert rescued.exists()
    assert published.exists()


def test_a_stage_that_ended_well_is_not_rescued_and_says_if_it_was_not_published(tmp_path: Path) -> None:
    rescued = tmp_path / "rescued"
    stage = Stage("unpublished", 1, touch(tmp_path / "made"), rescue=touch(rescued), publish=FAIL)
    assert gpu_session.do(stage, tmp_path / "log", 600) == "not published"
    assert not rescued.exists()


def test_a_stage_for_which_no_time_is_left_is_left_out(tmp_path: Path) -> None:
    assert not gpu_session.session([Stage("late", 1, touch(tmp_path / "made"))], tmp_path, gpu_session.LEAST - 1)
    assert not (tmp_path / "made").exists()
    assert json.loads((tmp_path / "session.jsonl").read_text())["ended"] == "left out"


def test_what_does_not_end_when_it_is_interrupted_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_session, "GRACE", 0.2)
    assert gpu_session.call(("sh", "-c", "trap '' INT; sleep 1000"), tmp_path / "log", time.monotonic()) == "cut off"


def test_nothing_is_left_behind_that_would_hold_the_card(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    with os.fdopen(os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as held:
        command = ("sh", "-c", "echo started >held; sleep 1000 >held &")
        assert gpu_session.call(("env", "-C", str(tmp_path), *command), tmp_path / "log", time.monotonic() + 600)
        assert held.read(8) == b"started\n"
        select.select([held], [], [], 60)
        assert held.read() == b"", "a process still has it open"


def test_the_commands_of_the_studies_are_understood(tmp_path: Path) -> None:
    places = Places(tmp_path, tmp_path / "cifar100", tmp_path / "runs", tmp_path / "results")
    options = ("--device", "cpu", "--limit", "20", "--pruning.levels", "1")
    known = {stage.name: stage for stage in gpu_session.stages(places, options)}
    assert list(known) == ["tests", "benchmark", "cifar100-vgg16", "cifar100-resnet18"]
    for stage in list(known.values())[2:]:
        assert stage.rescue is not None
        assert stage.publish is not None
        python, module, program, name, *words = stage.command
        assert (python, module, program, name) == (sys.executable, "-m", "lottery_pools", "run")
        given = parsing.run_options(words, commands.COMMANDS["run"])
        assert (given.config.name, given.config.data.name) == (f"{stage.name}-limit-20", str(places.data))
        for command in (stage.rescue, stage.publish):
            name, *words = command[3:]
            parsed: Any = parsing.parse(OPTIONS[name], words, commands.COMMANDS[name])
            assert parsed.folder == given.folder
        assert stage.rescue[-2:] == ("--device", "cpu")


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_study_that_is_cut_off_is_published_as_far_as_it_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_session, "GRACE", 520.0)
    monkeypatch.setattr(gpu_session, "SAVING", 499.0)
    (tmp_path / "tiny.toml").write_text(toml.to_toml(tiny()))
    places = Places(tmp_path, Path("mnist1d"), tmp_path / "runs", tmp_path / "results")
    stage = gpu_session.study(tmp_path / "tiny.toml", 1, places, ("--device", "cpu"))
    stages.tickets(tiny(), places.runs / "tiny", ONE)
    assert gpu_session.do(dataclasses.replace(stage, command=SLEEP), tmp_path / "log", 1020) == "cut off"
    _, rows, _ = reports.read(places.results / "tiny")
    assert {row.method for row in rows} == {"ticket", "recalibrated", "ensemble", "admissible"}

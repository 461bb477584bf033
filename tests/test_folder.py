"""A run's folder: files complete or absent, one writer at a time."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lottery_pools.errors import Notice, UserError
from lottery_pools.runs import folder as folder_module
from lottery_pools.runs.disk import failed_write, write
from lottery_pools.runs.folder import RunFolder, lock


def test_layout(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    paths = (folder.config, folder.results, folder.log, folder.ticket(3), folder.pool("average", 12))
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "config.toml",
        "results.jsonl",
        "log.jsonl",
        "tickets/level_03.safetensors",
        "pools/average/level_12.safetensors",
    ]


def test_events_are_logged_with_their_time(tmp_path: Path) -> None:
    folder, start = RunFolder(tmp_path / "new"), time.time()
    folder.event(stage="training", level=1)
    folder.event(stage="pooling")
    first, second = map(json.loads, folder.log.read_text().splitlines())
    assert (first["stage"], first["level"], second["stage"]) == ("training", 1, "pooling")
    assert start - 0.01 <= first["time"] <= second["time"] <= time.time() + 0.01


def test_what_a_kill_left_unfinished_goes_when_the_folder_is_next_held(tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / ".level_01.safetensors.123.tmp").write_text("half")
    with lock(tmp_path):
        assert list((tmp_path / "tickets").iterdir()) == []


def test_what_a_kill_left_between_a_level_and_its_cleaning_goes_too(tmp_path: Path) -> None:
    for place in ("tickets", "trained_baselines/sparse-model-soups/tickets"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        levels = ("level_00", "level_01.copy_1", "level_01.partial", "level_01.copy_2.partial", "level_01", "rewind")
        unfinished = ("level_02.partial", "level_02.copy_0", "level_02.copy_1.partial")  # has no ticket yet: goes on
        others = ("level_01.mine", "mine.partial", "level_01.copy_x")
        for name in (*levels, *unfinished, *others):
            (folder / f"{name}.safetensors").touch()
        with lock(tmp_path):
            left = {path.name.removesuffix(".safetensors") for path in folder.iterdir()}
        assert left == {"level_00", "level_01", "rewind", *unfinished, *others}


def test_a_line_of_the_log_that_a_kill_cut_off_costs_no_other(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.event(number=1)
    with folder.log.open("a") as file:
        file.write('{"time": 3, "num')
    folder.event(number=2)
    lines = folder.log.read_text().splitlines()
    assert [json.loads(line)["number"] for line in (lines[0], lines[2])] == [1, 2]
    assert len(lines) == 3


def test_what_others_left_stays(tmp_path: Path) -> None:
    for name in ("other/.precious.7.tmp", "tickets/.mine.tmp", ".mine.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    unfinished = (
        "seed_3/tickets/.a.1.tmp",
        "seed_3/.a.1.tmp",
        "pools/swa/.a.1.tmp",
        "trained_baselines/longer/level_01/.a.1.tmp",
    )
    for name in unfinished:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with lock(tmp_path):
        remaining = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tmp")}
    assert remaining == {"other/.precious.7.tmp", "tickets/.mine.tmp", ".mine.tmp"}


@pytest.mark.parametrize("below", ["seed_0", "trained_baselines/longer/level_01"])
def test_a_run_and_those_it_lies_in_are_not_worked_on_at_once(tmp_path: Path, below: str) -> None:
    for folder in (tmp_path, tmp_path / below, tmp_path / "seed_1"):
        with lock(folder):
            (folder / "config.toml").touch()
    with lock(tmp_path):
        (tmp_path / below / ".a.1.tmp").touch()
        with pytest.raises(UserError, match="another process works on"), lock(tmp_path / below):
            pass
        assert (tmp_path / below / ".a.1.tmp").exists()
    with lock(tmp_path / below):
        with pytest.raises(UserError, match="another process works on"), lock(tmp_path):
            pass
        with lock(tmp_path / "seed_1"):  # beside it
            pass
    with lock(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_what_the_system_says_of_a_failed_write_is_passed_on(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    expected = str(failed_write("it", OSError(number, os.strerror(number)), "write elsewhere")).partition("it: ")[2]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        patch.setattr(Path, "open", refuse)
        patch.setattr(folder_module, "open", refuse, raising=False)
        with pytest.raises(UserError) as of_file:
            write(tmp_path / "file", "content", "write elsewhere")
        with pytest.raises(UserError) as of_log:
            RunFolder(tmp_path).event(stage="training")
    assert str(of_file.value) == f"cannot write {tmp_path / 'file'}: {expected}"
    expected = expected.replace("write elsewhere", "choose another folder")
    assert str(of_log.value) == f"cannot write {tmp_path / 'log.jsonl'}: {expected}"


HOLD = """
import sys, time
from pathlib import Path
from lottery_pools.runs.folder import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(UserError, match=r"another process works on .*run: wait for it"), lock(folder):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    with lock(folder):
        pass
    with lock(folder):  # and released in good order too
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("lottery_pools.runs.folder.fcntl.flock", flock)
    with pytest.warns(Notice, match=f"{tmp_path} is where files cannot be locked"), lock(tmp_path):
        write(tmp_path / "a", "b")
    assert (tmp_path / "a").read_text() == "b"


def test_a_system_without_fcntl_is_told_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lottery_pools.runs.folder.fcntl", None)
    with pytest.warns(Notice, match="this system has no file locks"), lock(tmp_path):
        pass


def test_another_failure_of_the_lock_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("lottery_pools.runs.folder.fcntl.flock", flock)
    with pytest.raises(UserError, match=f"cannot write to {tmp_path}"), lock(tmp_path):
        pass

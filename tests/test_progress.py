"""Live progress, told by the logs of other processes."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lottery_pools.reporting import progress
from lottery_pools.reporting.pace import Pace
from lottery_pools.runs.events import Appended

EVENT = {"time": 0.0, "stage": "training", "level": 3, "epoch": 2, "epochs": 9, "accuracy": 0.713, "done": 1.0}
WORK = {"training": 7.0, "pooling": 3.0}


def log(folder: Path, *events: object, end: str = "\n") -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(event) + "\n" for event in events).removesuffix("\n") + end)


def screen() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=100, height=20, color_system=None), file


def wait_for(text: str, file: io.StringIO) -> None:
    deadline = time.monotonic() + 5
    while text not in file.getvalue():
        assert time.monotonic() < deadline, f"{text!r} was never shown"
        time.sleep(0.02)


def test_progress_is_silent_without_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    log(tmp_path / "seed-0", EVENT)
    with progress.watch([tmp_path / "seed-0"], WORK, Console(file=file)), progress.watch([tmp_path / "seed-0"], WORK):
        log(tmp_path / "seed-0", EVENT)
    assert file.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_progress_sums_new_work_and_shows_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SETTLING", 0.5)
    folders = [tmp_path / name for name in ("seed-0", "seed-1", "seed-2")]
    log(folders[0], EVENT)  # of an earlier call: no part of what is left
    console, file = screen()
    with progress.watch(folders, WORK, console):
        wait_for("0%", file)
        wait_for("and 3 waiting", file)
        wait_for("not known yet", file)
        assert "10%" not in file.getvalue()
        log(folders[0], {**EVENT, "level": 4, "done": 2.0})
        wait_for("20%", file)
        wait_for("s left", file)
        log(folders[1], {**EVENT, "stage": "pooling", "method": "average", "epoch": None, "accuracy": None, "done": 1})
        wait_for("80%", file)  # pooling has begun, so training is over
    shown = file.getvalue()
    assert "3 runs" in shown
    for words in ("seed-0", "level 4", "epoch 2/9", "71.3 %", "seed-1", "pooling average", "and 1 waiting"):
        assert words in shown


def test_lines_fit_the_screen_and_the_last_to_change_are_shown(tmp_path: Path) -> None:
    folders = [tmp_path / f"run-{n}" for n in range(20)]
    latest = {folder: {**EVENT, "time": float(n)} for n, folder in enumerate(folders[:12])}
    console, file = screen()
    console.print(progress._lines(folders, latest, 5))
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["run-8", "run-9", "run-10", "run-11", "and"]
    assert "and 16 waiting or done" in file.getvalue()
    latest[folders[11]] = {"stage": "ticket", "level": 3, "time": 99.0}
    trained_baseline = tmp_path / "run-0/trained_baselines/sms"
    latest[trained_baseline] = {**EVENT, "time": 50.0}
    console, file = screen()
    console.print(progress._lines([*folders, trained_baseline], latest, 3))
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["run-10", "run-0/sms", "and"]


def test_each_stage_is_timed_by_itself() -> None:
    pace = Pace({"training": 60.0, "nothing": 0.0, "pooling": 30.0}, now=100.0)
    assert pace.seconds_left(105.0) is None
    pace.add("ticket", 0.0, 105.0)  # no work of its own
    pace.add("training", 20.0, 110.0)
    assert pace.share == pytest.approx(20 / 90)
    assert pace.seconds_left(110.0) == pytest.approx(35.0)  # 40 + 30 units at 2 a second
    assert pace.seconds_left(112.0) == pytest.approx(33.0)
    pace.add("training", 20.0, 120.0)
    pace.add("pooling", 0.0, 121.0)  # 20 units of training that never came are over
    assert pace.share == pytest.approx(60 / 90)
    assert pace.seconds_left(121.0) == pytest.approx(30 / 2 - 1)
    pace.add("pooling", 5.0, 130.0)  # half a unit a second since 120
    assert pace.seconds_left(130.0) == pytest.approx(50.0)
    pace.add("pooling", 500.0, 135.0)
    assert (pace.share, pace.seconds_left(136.0)) == (1.0, 0.0)


def test_the_start_of_workers_is_soon_no_part_of_the_speed() -> None:
    pace = Pace({"training": 100.0}, now=0.0)
    for second in range(11, 23):  # one a second, after ten in which workers started
        pace.add("training", 1.0, float(second))
    assert pace.seconds_left(22.0) == pytest.approx(88 * 22 / 12)
    pace.add("training", 1.0, 23.0)
    assert pace.seconds_left(23.0) == pytest.approx(87.0)


def test_an_error_in_the_body_goes_through_the_display(tmp_path: Path) -> None:
    console, _ = screen()
    with pytest.raises(KeyError, match="lost"), progress.watch([tmp_path], WORK, console):
        raise KeyError("lost")


def test_torn_lines_wait_or_are_skipped(tmp_path: Path) -> None:
    reader = Appended(tmp_path / "log.jsonl")
    assert reader.new() == []
    log(tmp_path, EVENT, {"stage": "tor"}, end="")
    assert reader.new() == [EVENT]
    log(tmp_path, EVENT)
    log(tmp_path, EVENT)
    assert reader.new() == [EVENT], "the torn line and what was glued to it are no event"


@given(st.data())
def test_events_are_read_once_each_wherever_writes_are_cut(data: st.DataObject) -> None:
    import tempfile

    events = data.draw(st.lists(st.fixed_dictionaries({"stage": st.text(max_size=4), "level": st.integers(0, 9)})))
    content = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        reader = Appended(path)
        seen = []
        for start, stop in zip([0, *cuts], [*cuts, len(content)], strict=True):
            with path.open("ab") as file:
                file.write(content[start:stop])
            seen += reader.new()
    assert seen == events


def test_a_piece_of_another_stage_between_two_of_one_divides_by_nothing() -> None:
    pace = Pace(WORK, now=0.0)
    pace.add("training", 1.0, now=1.0)
    pace.add("pooling", 1.0, now=2.0)
    pace.add("training", 1.0, now=30.0)  # of another run, which is behind
    left = pace.seconds_left(30.0)
    assert left is not None
    assert left > 0

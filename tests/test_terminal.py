"""Tables in pipes and terminals; progress told by the logs of other processes."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lottery_pools.reporting import terminal

EVENT = {"time": 0.0, "stage": "training", "level": 3, "epoch": 2, "epochs": 9, "accuracy": 0.713, "done": 1.0}


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


def test_a_piped_table_is_plain_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "[bold]" + 300 * "x" + ":smile:"
    terminal.table("A title", ("Name", "Value"), [(wide, "1.5"), ("short", "12.25")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "A title"
    assert any(wide in line for line in lines)
    assert any(line.endswith(" 1.5") for line in map(str.rstrip, lines))
    assert not any("\x1b" in line or "…" in line for line in lines)


def test_progress_is_silent_without_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    log(tmp_path / "seed-0", EVENT)
    with terminal.watch([tmp_path / "seed-0"], 10, Console(file=file)), terminal.watch([tmp_path / "seed-0"], 10):
        log(tmp_path / "seed-0", EVENT)
    assert file.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_progress_sums_old_and_new_work_and_shows_each_run(tmp_path: Path) -> None:
    folders = [tmp_path / "seed-0", tmp_path / "seed-1"]
    log(folders[0], EVENT)
    console, file = screen()
    with terminal.watch(folders, 10, console):
        wait_for("10%", file)
        wait_for("waiting", file)
        log(folders[0], {**EVENT, "level": 4, "done": 2.0})
        log(folders[1], {**EVENT, "stage": "pooling", "method": "average", "epoch": None, "accuracy": None})
        wait_for("40%", file)
    shown = file.getvalue()
    assert "2 runs" in shown
    for words in ("seed-0", "level 4", "epoch 2/9", "71.3 %", "seed-1", "pooling average"):
        assert words in shown


def test_an_error_in_the_body_goes_through_the_display(tmp_path: Path) -> None:
    console, _ = screen()
    with pytest.raises(KeyError, match="lost"), terminal.watch([tmp_path], 1, console):
        raise KeyError("lost")


def test_torn_lines_wait_or_are_skipped(tmp_path: Path) -> None:
    reader = terminal._Log(tmp_path / "log.jsonl")
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
        reader = terminal._Log(path)
        seen = []
        for start, stop in zip([0, *cuts], [*cuts, len(content)], strict=True):
            with path.open("ab") as file:
                file.write(content[start:stop])
            seen += reader.new()
    assert seen == events

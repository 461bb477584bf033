"""Tables and sentences in pipes and terminals: nothing is lost in a pipe, nothing is broken in a terminal."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lottery_pools.reporting import tables, terminal
from lottery_pools.reporting.table import Table
from tests.test_tables import MANY, make_gain, make_rows


def printed(
    content: Table, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """The lines of a table in a terminal of so many columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    capsys.readouterr()
    terminal.show(content)
    return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()


def headings(lines: list[str]) -> str:
    """All words above the rule."""
    rule = next(number for number, line in enumerate(lines) if "─" in line)
    return " ".join(" ".join(lines[:rule]).split())


def test_a_piped_table_is_plain_and_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    wide = "[bold]" + 300 * "x" + ":smile:"
    terminal.table("A title", ("Name", "Value"), [(wide, "1.5"), ("short", "12.25")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "A title"
    assert any(wide in line for line in lines)
    assert any(line.endswith(" 1.5") for line in map(str.rstrip, lines))
    assert not any("\x1b" in line or "…" in line for line in lines)


def test_the_main_table_shows_the_defaults_gain_first_and_more_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = ("ticket", "recalibrated", "admissible", "interpolation", "trimmed-soup")
    gains = [make_gain(method, level) for method in methods[3:] for level in range(4)]
    table = tables.by_level(make_rows(methods), gains)
    names = (*("Level", "Density", "Recalibrated", "Trimmed soup (ours)"), "gain")
    at_80 = printed(table, 80, monkeypatch, capsys)
    assert max(map(len, at_80)) <= 80
    rows = [line.split() for line in at_80 if re.match(r" +\d ", line)]
    assert rows[0] == ["0", "100", "%", "51.20", "54.20", "+1.00", "[+0.50,", "+1.50]"]
    assert "No room here for: Ticket, Best admissible, Interpolation, Interpolation: gain." in " ".join(at_80)
    at_100 = printed(table, 100, monkeypatch, capsys)
    assert max(map(len, at_100)) <= 100
    for lines, missing in ((at_80, ("Ticket", "Interpolation")), (at_100, ("Interpolation",))):
        shown = headings(lines).removeprefix("Test accuracy by level (%), and gain over the recalibrated ticket")
        assert all(word in shown for name in names for word in name.split())
        assert not any(name in shown for name in missing)
    assert "No room here for: Interpolation, Interpolation: gain." in " ".join(at_100)
    assert "No room" not in " ".join(printed(table, 140, monkeypatch, capsys))


@pytest.mark.parametrize("columns", [30, 60, 80, 100, 160])
def test_no_number_and_no_word_is_broken(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gains = [make_gain(method, level, gain=-1.0) for method in MANY[2:] for level in (0, 1, 2, None)]
    rows = make_rows(MANY, levels=3)
    plan = Table(
        "Plan", ("part", "what", "about"), (("pooling", "2 seeds × interpolation, 31.6 % to 5.76 %", "2 min"),)
    )
    for table in (tables.by_level(rows, gains), tables.summary(rows, gains), tables.overall(gains), plan):
        lines = printed(replace(table, note=""), columns, monkeypatch, capsys)
        assert max(map(len, lines)) <= max(columns, 33), "one column is shown at least"
        text = "\n".join(lines)
        known = {word for cell in (*table.columns, *(c for row in table.rows for c in row)) for word in cell.split()}
        body = lines[next(n for n, line in enumerate(lines) if "─" in line) + 1 :]
        for line in body[: next((n for n, line in enumerate(body) if line.startswith("No room")), None)]:
            assert set(line.split()) <= known, "a word was broken"
        assert not re.search(r"\[[^\]]*\n", text), "an interval was broken"
        assert not re.search(r"\d\s*\n\s*%", text)


def test_a_note_is_told_below_its_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(Table("T", ("a",), (("1",),), "A note of some words."), 12, monkeypatch, capsys)
    assert lines[-2:] == ["A note of", "some words."]


def test_sentences_wrap_between_words_in_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.say("One 95 % interval.", "Two.")
    assert capsys.readouterr().out == "One 95 % interval.\nTwo.\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "8")
    terminal.say("One 95 % interval.")
    assert capsys.readouterr().out == "One 95 %\ninterval.\n"


def test_a_minus_sign_that_the_output_cannot_hold_becomes_a_hyphen(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, sign in (("ascii", b"-"), ("utf-8", "−".encode())):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, errors="replace"))
        terminal.table("T", ("Gain",), [("−0.25 [−0.50, +0.00]",)])
        sys.stdout.flush()
        assert sign + b"0.25 [" + sign + b"0.50, +0.00]" in written.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(alphabet="ab 1%", min_size=1, max_size=12), min_size=1, max_size=5),
    st.integers(10, 60),
)
def test_any_table_is_printed_in_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cells: list[str], columns: int
) -> None:
    content = Table("t", tuple(cells), (tuple(cells),))
    lines = printed(content, columns, monkeypatch, capsys)
    table = lines[: next((n for n, line in enumerate(lines) if line.startswith("No room")), None)]
    assert max(map(len, table)) <= max(columns, 16)

"""Speeds are kept beside a ticket, belong to exactly that ticket, and damaged files are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lottery_pools.errors import UserError
from lottery_pools.runs import speeds
from lottery_pools.runs.speeds import Speed, SpeedRow

SPEED = Speed(64, 1, 0.001, 0.004, "a processor")


def test_what_is_kept_beside_a_ticket_is_found(tmp_path: Path) -> None:
    ticket = tmp_path / "level_03.safetensors"
    ticket.write_bytes(b"ticket")
    assert speeds.of_ticket(ticket) == []
    path = speeds.keep([SPEED], ticket, speeds.compiled_folder(ticket))
    assert path == tmp_path / "level_03.compiled" / "speed.json"
    assert speeds.of_ticket(ticket) == [SPEED]
    ticket.write_bytes(b"another ticket")
    assert speeds.of_ticket(ticket) == [], "of an earlier ticket"


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"ticket": "x"}',
        '{"ticket": "x", "speeds": [{"samples": 1}]}',
        '{"ticket": "x", "speeds": [{"samples": 0, "threads": 1, "compiled": 1.0, "dense": 1.0, "processor": "p"}]}',
        '{"ticket": "x", "speeds": [{"samples": 1, "threads": 1, "compiled": 0.0, "dense": 1.0, "processor": "p"}]}',
        '{"ticket": "x", "speeds": [{"samples": 1, "threads": 1, "compiled": "a", "dense": 1.0, "processor": "p"}]}',
        '{"ticket": "x", "speeds": [{"samples": 1, "threads": 1, "compiled": 1.0, "dense": 1.0, "processor": 5}]}',
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    ticket = tmp_path / "level_03.safetensors"
    ticket.write_bytes(b"ticket")
    speeds.keep([SPEED], ticket, speeds.compiled_folder(ticket)).write_text(damage, encoding="utf-8")
    with pytest.raises(UserError, match=r"speed.json is damaged .*: delete it, or run `lottery-pools compile"):
        speeds.of_ticket(ticket)


def test_published_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "speeds.jsonl"
    assert speeds.read(path) == []
    rows = [SpeedRow(0, "ticket", 3, 0.512, SPEED), SpeedRow(1, "trimmed-soup", 4, 0.41, SPEED)]
    path.write_text(speeds.to_lines(rows), encoding="utf-8")
    assert speeds.read(path) == rows
    for change in ({"density": 2}, {"method": 3}, {"level": "3"}, {"more": 1}):
        path.write_text(json.dumps({**json.loads(speeds.to_lines(rows[:1])), **change}) + "\n", encoding="utf-8")
        with pytest.raises(UserError, match="damaged"):
            speeds.read(path)

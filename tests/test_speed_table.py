"""The table of speeds: one line a network and batch, with the machines below."""

from __future__ import annotations

from lottery_pools.reporting import speed_table
from lottery_pools.runs.speeds import Speed, SpeedRow

SPEEDS = [Speed(1, 1, 0.0005, 0.001, "A processor"), Speed(64, 2, 0.002, 0.008, "A processor")]


def test_milliseconds_and_samples_a_second() -> None:
    table = speed_table.measured(SPEEDS)
    assert table.rows == (
        ("1", "1", "0.5", "2.0", "1,000", "2,000"),
        ("64", "8", "2", "4.0", "8,000", "32,000"),
    )
    assert table.note.startswith("A processor, 1 thread; A processor, 2 threads. Dense is PyTorch")


def test_networks_are_named() -> None:
    rows = [SpeedRow(3, "trimmed-soup", 2, 0.64, SPEEDS[0]), SpeedRow(3, "ticket", 2, 0.64, SPEEDS[0])]
    table = speed_table.speeds(rows)
    assert [row[:5] for row in table.rows] == [
        ("Trimmed soup (ours)", "2", "3", "64.0 %", "1"),
        ("Ticket", "2", "3", "64.0 %", "1"),
    ]
    assert table.note.count("A processor") == 1
    assert speed_table.speeds([]).rows == ()

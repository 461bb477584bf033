"""How fast the networks are that were compiled, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lottery_pools.reporting.names import label, percent
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.words import plural
from lottery_pools.runs.speeds import Speed, SpeedRow

_NETWORK = ("Network", "Level", "Seed", "Density")
_SPEED = ("Batch", "Dense, ms", "Compiled, ms", "Times as fast", "Dense, samples/s", "Compiled, samples/s")


def speeds(rows: Sequence[SpeedRow]) -> Table:
    """One line a network and batch size: milliseconds a batch and samples a second, dense by PyTorch and compiled."""
    lines = [
        (label(row.method), str(row.level), str(row.seed), percent(row.density), *_cells(row.speed)) for row in rows
    ]
    note = f"Measured by `lottery-pools compile` when it was run, on: {_where(row.speed for row in rows)}. {_DENSE}"
    return Table("Speed of the networks that were compiled", (*_NETWORK, *_SPEED), tuple(lines), note)


def measured(speeds: Sequence[Speed]) -> Table:
    """The speed of one network: one line a batch size."""
    lines = tuple(_cells(speed) for speed in speeds)
    return Table("Speed", _SPEED, lines, f"{_where(speeds)}. {_DENSE}")


_DENSE = "Dense is PyTorch, for which zeros are numbers like others; compiled predictions differ by rounding only."


def _where(speeds: Iterable[Speed]) -> str:
    """The machines."""
    machines = dict.fromkeys((speed.processor, speed.threads) for speed in speeds)
    return "; ".join(f"{processor}, {plural(threads, 'thread')}" for processor, threads in machines)


def _cells(speed: Speed) -> tuple[str, ...]:
    return (
        str(speed.samples),
        f"{1000 * speed.dense:.3g}",
        f"{1000 * speed.compiled:.3g}",
        f"{speed.dense / speed.compiled:.1f}",
        f"{speed.samples / speed.dense:,.0f}",
        f"{speed.samples / speed.compiled:,.0f}",
    )

"""How fast compiled tickets are: measured by `compile`, kept beside the ticket, shown by `report`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_pools.errors import UserError
from lottery_pools.runs import strict_json
from lottery_pools.runs.disk import digest, write

FILE = "speed.json"
SUFFIX = ".compiled"
"""The folder of a ticket `level_03.safetensors` that was compiled is `level_03.compiled`."""


@dataclass(frozen=True)
class Speed:
    """What one batch takes on one machine."""

    samples: int
    """Samples of the batch."""
    threads: int
    compiled: float
    """Seconds, compiled."""
    dense: float
    """Seconds of PyTorch, for which zeros are numbers like others."""
    processor: str
    """What the machine's processor is called."""


@dataclass(frozen=True)
class SpeedRow:
    """The speed of one network of a run."""

    seed: int
    method: str
    """`ticket`, or the method that pooled it."""
    level: int
    density: float
    """Surviving / prunable weights, 0 to 1."""
    speed: Speed


def compiled_folder(ticket: Path) -> Path:
    """The folder beside a ticket's file into which it is compiled.

    >>> compiled_folder(Path("runs/demo/seed_0/tickets/level_03.safetensors")).name
    'level_03.compiled'
    """
    return ticket.with_suffix(SUFFIX)


def keep(speeds: Sequence[Speed], ticket: Path, folder: Path) -> Path:
    """Write the speeds of a ticket as `FILE` into a folder; returns the file."""
    path = folder / FILE
    content = {"ticket": digest(ticket), "speeds": [dataclasses.asdict(speed) for speed in speeds]}
    write(path, json.dumps(content, indent=1) + "\n")
    return path


def of_ticket(ticket: Path) -> list[Speed]:
    """The speeds that were kept beside a ticket; none where there are none, or they are of an earlier ticket.

    Raises:
        UserError: The file is damaged.
    """
    path = compiled_folder(ticket) / FILE
    if not path.exists():
        return []
    try:
        content = strict_json.parse(path.read_bytes())
        speeds = [_speed(values) for values in content["speeds"]]
        current = content["ticket"] == digest(ticket)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, or run `lottery-pools compile {ticket}`") from error
    return speeds if current else []


def to_lines(rows: Iterable[SpeedRow]) -> str:
    """Rows as text, one JSON object a line."""
    return "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)


def read(path: Path) -> list[SpeedRow]:
    """Read the rows of a published run; none where there is no such file.

    Raises:
        UserError: The file is damaged.
    """
    if not path.exists():
        return []
    rows = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = strict_json.parse(line)
            rows.append(SpeedRow(**{**values, "speed": _speed(values["speed"])}))
            if type(rows[-1].method) is not str or type(rows[-1].level) is not int or not 0 <= rows[-1].density <= 1:
                raise ValueError("a row names no network")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or publish the run again") from error
    return rows


def _speed(values: dict[str, Any]) -> Speed:
    """A speed from a file; raises ValueError or TypeError where it cannot be one."""
    speed = Speed(**values)
    counts, seconds = (speed.samples, speed.threads), (speed.compiled, speed.dense)
    if any(type(count) is not int or count < 1 for count in counts) or type(speed.processor) is not str:
        raise ValueError("a speed has no batch, no threads or no processor")
    if any(type(value) is not float or not 0 < value < math.inf for value in seconds):
        raise ValueError("a speed has times that cannot be")
    return speed

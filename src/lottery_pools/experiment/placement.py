"""Whether files are those that their place in a run's folder says: tickets of that level, seed, run and method, and
rows of that seed.

A file that was copied to another place is whole in itself, and would be pooled, measured and reported as another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_pools.config.schema import Config
from lottery_pools.config.toml import identity
from lottery_pools.errors import UserError, shown
from lottery_pools.pooling.methods import METHODS, PAPERS_RULE, RETIRED_METHODS
from lottery_pools.runs.rows import CONTROLS, MetricRow, Row
from lottery_pools.tickets import imp

TRAINED = ""
"""The method of a ticket that was trained, not pooled."""


@dataclass(frozen=True)
class Place:
    """What a file must be, by where it lies."""

    path: Path
    level: int
    method: str = TRAINED
    """The method that pooled it, as its folder is called."""
    seed: int | None = None
    """Seed of the run; none: of another run, it may be any."""
    config: str | None = None
    """What identifies the settings of the run that tickets depend on; none: of another run, they may be any."""


def place(path: Path, level: int, config: Config, seed: int, method: str = TRAINED) -> Place:
    """The place of a file of a run with these settings."""
    return Place(path, level, method, seed, identity(imp.tickets_config(config)))


def check(place: Place, level: int, origin: Mapping[str, Any]) -> None:
    """Raise UserError unless a file of this level and origin is what its place says.

    What an origin does not say is not compared: files of early versions, and tickets of other software, say less.
    """
    wanted = {"level": place.level, "seed": place.seed, "config": place.config, "method": _made_by(place.method)}
    claims = {**origin, "level": level, "method": origin.get("method", TRAINED)}
    for key, value in wanted.items():
        if value is not None and claims.get(key, value) != value:
            raise UserError(
                f"{place.path} is not what its place says: its {_WORDS[key]} is {_named(claims[key])}, not "
                f"{_named(value)}; put the right file there, or delete it to have it made again"
            )


def check_rows(path: Path, rows: Sequence[Row | MetricRow], seeds: Sequence[int]) -> None:
    """Raise UserError unless the rows of a file are of these seeds, of one run, and those of a seed of the same data.

    Rows that do not say which data they are of, as those of early versions, are not compared.
    """
    if odd := next((row for row in rows if row.seed not in seeds), None):
        raise UserError(
            f"{path} has rows of seed {odd.seed}, its place is for {', '.join(map(str, seeds))}: {_restore(path)}"
        )
    runs = sorted({row.run for row in rows})
    if len(runs) > 1:
        raise UserError(f"{path} has rows of {_named(runs[0])} and of {_named(runs[1])}: {_restore(path)}")
    data: dict[int, str] = {}
    for row in rows:
        if row.data and data.setdefault(row.seed, row.data) != row.data:
            raise UserError(f"{path} has rows of seed {row.seed} on two different sets of data: {_restore(path)}")


def _restore(path: Path) -> str:
    """What is to be done about rows that do not belong together."""
    return f"restore the file, or delete {path.name} and evaluate again"


_WORDS = {"level": "level", "seed": "seed", "config": "run", "method": "method of pooling"}
"""What messages call the things that are compared."""


def _made_by(method: str) -> str | None:
    """The method that a pool's file names, by the name of its folder; none: it cannot be told."""
    if method in CONTROLS:
        return PAPERS_RULE
    return method if method in (*METHODS, *RETIRED_METHODS, TRAINED) else None


def _named(value: object) -> str:
    return "none (it was trained)" if value == TRAINED else shown(value, 40).strip("'")

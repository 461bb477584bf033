"""The rows that a run leaves: one JSON object a measurement; append them, read them back, compare them later."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import lzma
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lottery_pools.errors import UserError

BASELINES = ("ticket", "recalibrated", "admissible")
"""What pooled networks are held against, as the rows name it: the ticket, itself recalibrated, the best admissible."""
CONTROLS = ("other-seed", "other-run")
"""Pools with the tickets of another run: of the experiment's next seed, or of a run that is named."""
ENSEMBLE = "ensemble"
"""The naive ensemble of all tickets."""

Bins = tuple[tuple[int, int, float], ...]
"""(samples, correct, mean confidence) of each of 15 equal bins of confidence; (0, 0, 0) of an empty one."""


@dataclass(frozen=True)
class Row:
    """One network measured on one set of samples."""

    run: str
    seed: int
    method: str
    """`ticket`, `recalibrated` (the ticket with BatchNorm re-estimated), `admissible`, or a method of pooling."""
    level: int
    density: float
    split: str
    """`validation` or `test`."""
    corruption: str
    """`none`, or the name of the corruption or shift."""
    severity: int
    """0 for clean samples."""
    n: int
    correct: int
    loss: float
    """Mean negative log-likelihood, nats."""
    accuracy: float
    """Share of correct predictions, 0 to 1."""
    ece: float
    """Expected calibration error, 15 equal bins of confidence, 0 to 1."""
    source: int
    """Level of the ticket that stands here: `level`, or for `admissible` that of the ticket taken over."""
    train_images: int
    """Training images forwarded and back-propagated to get this network, its earlier levels included."""
    search_images: int
    """Images forwarded in search of this network, recalibration included."""
    flops: int
    """Multiply-adds of one forward pass of one sample, pruned weights left out; times the passes for an ensemble."""
    hits: str
    """Which samples were predicted correctly, in order: packed bits as base64; makes paired comparisons possible."""
    bins: Bins = ()
    """Reliability on clean test samples; none elsewhere, and in the rows of earlier versions."""

    @property
    def key(self) -> tuple[str, int, str, str, int]:
        """What the row measures, within its run."""
        return self.method, self.level, self.split, self.corruption, self.severity


@dataclass(frozen=True)
class Gain:
    """The mean difference of accuracy between a method and what it is held against, on the same samples."""

    method: str
    against: str
    level: int | None
    """None: the mean over all levels that both have."""
    density: float | None
    corruption: str
    """`none`, or `all`: the mean over all corruptions and severities."""
    gain: float
    """Percentage points, the mean over seeds, levels and samples."""
    low: float
    high: float
    """Ends of the 95 % interval, percentage points."""
    seeds: int
    n: int
    """Samples a seed."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a method at a level."""

    method: str
    level: int
    density: float
    """Of the level: also where the best admissible ticket is a sparser one."""
    corruption: str
    """`none`, or `all`: the mean over all corruptions and severities."""
    mean: float
    """Percent, the mean over seeds."""
    low: float
    high: float
    """Ends of the 95 % interval of the mean over seeds, percent; of one seed no wider than its mean."""
    seeds: int


@dataclass(frozen=True)
class PoolRow:
    """How one pooled network came about."""

    seed: int
    method: str
    level: int
    density: float
    steps: tuple[tuple[int, float], ...]
    """The recipe: (level of the candidate, α) in the order in which they were accepted."""
    search_images: int
    scored_by: str = "accuracy"
    """What the search compared networks by: accuracy, or log-likelihood in nats."""
    optimism: float | None = None
    """By how much the selected score is estimated to be too good, in its unit; none: not estimated."""


def clean(rows: Sequence[Row]) -> list[Row]:
    """The rows measured on the uncorrupted test samples."""
    return [row for row in rows if row.split == "test" and row.corruption == "none"]


def corrupted(rows: Sequence[Row]) -> list[Row]:
    """The rows measured on corrupted or shifted test samples."""
    return [row for row in rows if row.split == "test" and row.corruption != "none"]


def complete(rows: Sequence[Row]) -> list[Row]:
    """The rows of each method at each level where it has every (seed, corruption, severity) that any row has.

    Means of others would be over other samples or seeds than those beside them.
    """
    cells = {(row.seed, row.corruption, row.severity) for row in rows}
    found: dict[tuple[str, int], set[tuple[int, str, int]]] = {}
    for row in rows:
        found.setdefault((row.method, row.level), set()).add((row.seed, row.corruption, row.severity))
    return [row for row in rows if len(found[row.method, row.level]) == len(cells)]


def common_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows at the levels, seeds, corruptions and severities that all methods have, so that all their means compare.

    Every level that is left has every seed, corruption and severity that is left.
    """
    places: dict[str, set[tuple[int, int, str, int]]] = {}
    for row in rows:
        places.setdefault(row.method, set()).add((row.level, row.seed, row.corruption, row.severity))
    common = set.intersection(*places.values()) if places else set()
    cells = {place[1:] for place in common}
    levels = {level for level, *_ in common if all((level, *cell) in common for cell in cells)}
    return [row for row in rows if row.level in levels and (row.seed, row.corruption, row.severity) in cells]


def pack_hits(correct: NDArray[np.bool_]) -> str:
    """One bit a sample, (n,) bool, as base64."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack_hits(row: Row) -> NDArray[np.bool_]:
    """The samples that `row`'s network predicted correctly, (n,) bool."""
    return unpack(row.hits, row.n)


def unpack(hits: str, n: int) -> NDArray[np.bool_]:
    """The inverse of `pack_hits`: (n,) bool."""
    return np.unpackbits(np.frombuffer(base64.b64decode(hits), np.uint8))[:n].astype(bool)


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, all or none, and wait until they are on disk."""
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab", buffering=0) as file:
            left = memoryview(to_lines(rows).encode())
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, before)
        raise UserError(f"cannot write {path}: {error.strerror}; free some space, then run the same again") from error


def to_lines(rows: Iterable[Row] | Iterable[PoolRow]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(_plain(row)) + "\n" for row in rows)


def _plain(row: Row | PoolRow) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    if not values.get("bins", True):
        del values["bins"]
    return values


def read(path: Path) -> list[Row]:
    """The rows of a file, which may be compressed (`.xz`), none where it does not exist.

    A last line without its end, left by a kill in mid-write, is no row; `mend` removes it. Raises UserError for
    a line that is no row.
    """
    rows = []
    names = {field.name for field in dataclasses.fields(Row)}
    content = path.read_bytes() if path.exists() else b""
    if path.suffix == ".xz":
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as error:
            raise UserError(f"{path} is truncated or damaged ({error}): restore it") from error
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            values: dict[str, Any] = json.loads(line)
            values["bins"] = tuple((n, correct, mean) for n, correct, mean in values.get("bins", ()))
            rows.append(Row(**{key: value for key, value in values.items() if key in names}))
        except (ValueError, TypeError, AttributeError) as error:  # ValueError: no JSON, or no text at all
            raise UserError(
                f"{path}, line {number} is not a result row: {error}; restore or delete the file"
            ) from error
    return rows


def mend(path: Path) -> None:
    """Cut off a last line that a kill left unfinished."""
    if path.exists() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


def read_pools(path: Path) -> list[PoolRow]:
    """The pools of a published file, as `to_lines` wrote them."""
    found = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            found.append(PoolRow(**{**values, "steps": tuple((level, share) for level, share in values["steps"])}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): restore it, or publish the run again") from error
    return found

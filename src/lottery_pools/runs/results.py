"""The files of rows: one JSON object a line; appended during a run, read for reports, compressed when published."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import lzma
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lottery_pools.errors import UserError
from lottery_pools.runs.folder import failed_write
from lottery_pools.runs.rows import PoolRow, Row

_ROW_FIELDS = frozenset(field.name for field in dataclasses.fields(Row))


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, all or none of them, and wait until they are on the disk.

    Raises:
        UserError: The file cannot be written. It is as it was before.
    """
    size_before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab", buffering=0) as file:
            unwritten = memoryview(to_lines(rows).encode())
            while unwritten:
                unwritten = unwritten[file.write(unwritten) :]
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, size_before)
        raise failed_write(path, error) from error


def to_lines(rows: Iterable[Row] | Iterable[PoolRow]) -> str:
    """Return rows as text, one JSON object a line."""
    return "".join(json.dumps(_fields(row)) + "\n" for row in rows)


def read(path: Path) -> list[Row]:
    """Read the rows of a file.

    A last line that does not end, as a process leaves it that is killed while writing, is ignored; `mend` removes it.
    Unknown fields, as later versions may write them, are ignored too.

    Args:
        path: The file; with the suffix `.xz`, compressed.

    Returns:
        The rows in the order of the lines; none if the file does not exist.

    Raises:
        UserError: A line is not a row (the message says which), or a compressed file is damaged.

    Examples:
        >>> rows = read(Path("docs/results/cifar10-resnet/results.jsonl.xz"))
        >>> rows[0].method, rows[0].level, rows[0].split
        ('ticket', 0, 'validation')
    """
    content = path.read_bytes() if path.exists() else b""
    if path.suffix == ".xz":
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as error:
            raise UserError(f"{path} is truncated or damaged ({error}): restore it") from error
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            rows.append(_row(line))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number} is not a result row: {error}; restore or delete the file"
            ) from error
    return rows


def mend(path: Path) -> None:
    """Cut off a last line that does not end, as a process leaves it that is killed while writing."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def read_pools(path: Path) -> list[PoolRow]:
    """Read the pools of a published run, one JSON object a line as `to_lines` writes them.

    Raises:
        UserError: The file is missing or damaged.
    """
    pools = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            steps = tuple((level, coefficient) for level, coefficient in values["steps"])
            pools.append(PoolRow(**{**values, "steps": steps}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): restore it, or publish the run again") from error
    return pools


def _fields(row: Row | PoolRow) -> dict[str, Any]:
    """The fields of a row as they are written: empty `bins` are left out."""
    values = dataclasses.asdict(row)
    if not values.get("bins", True):
        del values["bins"]
    return values


def _row(line: bytes) -> Row:
    """The row that a line holds; raises ValueError (no JSON, or no text), TypeError or AttributeError if it is none."""
    values: dict[str, Any] = json.loads(line)
    bins = tuple((n, correct, confidence) for n, correct, confidence in values.get("bins", ()))
    return Row(**{**{name: value for name, value in values.items() if name in _ROW_FIELDS}, "bins": bins})

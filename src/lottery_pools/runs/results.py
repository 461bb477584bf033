"""The files of rows: one JSON object a line; appended during a run, read for reports, compressed when published."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import lzma
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lottery_pools.errors import UserError
from lottery_pools.runs import ranks, strict_json
from lottery_pools.runs.disk import failed_write, no_link
from lottery_pools.runs.row_checks import check
from lottery_pools.runs.rows import AnyRow, MetricRow, PoolRow, Row

MAX_RATIO = 64
"""A compressed file is refused if it holds more than so many times its own size. Published rows hold 6 to 13 times."""
MAX_BYTES = 4 << 30
"""A compressed file is refused if it holds more bytes than this."""
_MIN_BYTES = 1 << 20
"""So many bytes may be held by a compressed file of any size."""
_DECODER_BYTES = 128 << 20
"""The memory that decompression itself may take; the highest standard setting of xz needs 65 MiB."""
_LEFT_OUT: dict[str, object] = {"bins": (), "part": "all", "nonzero": None, "data": "", "tensors": ""}
"""Fields of a row that are not written where they have these values, so that rows of old versions keep their bytes."""
_KNOWN: dict[type, frozenset[str]] = {
    kind: frozenset(field.name for field in dataclasses.fields(kind)) for kind in (Row, MetricRow)
}
"""The fields of the kinds of rows."""
_CHECK = re.compile(rb', "check": "([0-9a-f]{16})"}')
"""How a line ends that carries a digest of itself."""


def append(path: Path, rows: Iterable[AnyRow]) -> None:
    """Add rows to a file, all or none of them, and wait until they are on the disk.

    Each line ends with a digest of itself, `check`: the first sixteen hexadecimal digits of the SHA-256 of the line as
    it would be without that key. Of several processes that share the work of a run (`ranks`), only the first writes.

    Raises:
        UserError: The file cannot be written, or a row contradicts itself. The file is as it was before.
    """
    if not ranks.of_this_process().leads:
        return
    lines = b"".join(_signed(line) for line in to_lines(rows).encode().splitlines())
    size_before = path.stat().st_size if path.exists() else 0
    try:
        with open(path, "ab", buffering=0, opener=no_link) as file:
            unwritten = memoryview(lines)
            while unwritten:
                unwritten = unwritten[file.write(unwritten) :]
            os.fsync(file.fileno())
    except OSError as error:
        if not path.is_symlink():
            with contextlib.suppress(OSError):
                os.truncate(path, size_before)
        raise failed_write(path, error) from error


def to_lines(rows: Iterable[Row | PoolRow | MetricRow]) -> str:
    """Return rows as text, one JSON object a line, without digests.

    Raises:
        UserError: A row contradicts itself (`row_checks.check`), so that it could not be read again.
    """
    lines = []
    for row in rows:
        try:
            check(row)
            lines.append(json.dumps(_fields(row), allow_nan=False) + "\n")
        except ValueError as error:
            raise UserError(
                f"cannot write the row of {row.method} at level {row.level}: {error}; see what measured it"
            ) from error
    return "".join(lines)


def read(path: Path) -> list[Row]:
    """Read the rows of a file.

    A last line that does not end, as a process leaves it that is killed while writing, is ignored; `mend` removes it.
    Unknown fields, as later versions may write them, are ignored too. A digest is compared where a line has one; lines
    without one, of old versions, come first in a file. Compressed rows, which are published, have none.

    Args:
        path: The file; with the suffix `.xz`, compressed.

    Returns:
        The rows in the order of the lines; none if the file does not exist.

    Raises:
        UserError: A line is not a row, contradicts itself or its digest, or measures what an earlier line did (the
            message says which), or a compressed file is damaged or holds more than `MAX_RATIO` times its size.

    Examples:
        >>> rows = read(Path("docs/results/cifar10-resnet/results.jsonl.xz"))
        >>> rows[0].method, rows[0].level, rows[0].split
        ('ticket', 0, 'validation')
    """
    return _read(path, Row)


def read_metrics(path: Path) -> list[MetricRow]:
    """Read the rows of a file whose networks are measured by another metric than accuracy; as `read`."""
    return _read(path, MetricRow)


def _read(path: Path, kind: type[AnyRow]) -> list[AnyRow]:
    content = path.read_bytes() if path.exists() else b""
    if path.suffix == ".xz":
        content = _decompressed(path, content)
    rows: list[AnyRow] = []
    lines: dict[tuple[object, ...], int] = {}
    are_signed = False
    for number, line in enumerate(_lines(path, content), start=1):
        try:
            row: AnyRow = _row(line, kind)
            is_signed = _CHECK.search(line) is not None
            if not is_signed and path.suffix != ".xz" and (are_signed or row.tensors):
                raise ValueError("it lacks the digest `check` that it was written with")
            are_signed = are_signed or is_signed
            measured = row.run, row.seed, row.part, *row.key
            if (before := lines.setdefault(measured, number)) != number:
                raise ValueError(f"it measures what line {before} does")
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number} is not a result row: {error}; restore or delete the file"
            ) from error
        rows.append(row)
    return rows


def mend(path: Path) -> None:
    """Cut off a last line that does not end, as a process leaves it that is killed while writing."""
    if not ranks.of_this_process().leads:
        return
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        try:
            with open(path, "r+b", opener=no_link) as file:
                file.truncate(content.rfind(b"\n") + 1)
        except OSError as error:
            raise failed_write(path, error) from error


def read_pools(path: Path) -> list[PoolRow]:
    """Read the pools of a published run, one JSON object a line as `to_lines` writes them.

    Raises:
        UserError: The file is missing or damaged.
    """
    pools = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = strict_json.parse(line)
            steps = tuple((level, coefficient) for level, coefficient in values["steps"])
            values.pop("optimism", None)  # an estimate that earlier versions made
            pools.append(PoolRow(**{**values, "steps": steps}))
            check(pools[-1])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): restore it, or publish the run again") from error
    return pools


def _fields(row: Row | PoolRow | MetricRow) -> dict[str, Any]:
    """The fields of a row as they are written: those that were added later are left out where they have no value."""
    values = dict(vars(row))  # `asdict` would copy what is within, which takes most of the time of writing
    if isinstance(row, Row):
        for name, empty in _LEFT_OUT.items():
            if values[name] == empty:
                del values[name]
    return values


def _row(line: bytes, kind: type[AnyRow]) -> AnyRow:
    """The row that a line holds; raises ValueError (no JSON, or no text), TypeError or AttributeError if it is none."""
    if (end := _CHECK.search(line)) and (end.end() < len(line) or _digest(line[: end.start()] + b"}") != end[1]):
        raise ValueError("it is not what its digest `check` was made of")
    values: dict[str, Any] = strict_json.parse(line)
    if "check" in values and not end:
        raise ValueError("its digest `check` is not at its end")
    known = _KNOWN[kind]
    values = {name: value for name, value in values.items() if name in known}
    if "bins" in values:
        values["bins"] = tuple((n, correct, confidence) for n, correct, confidence in values["bins"])
    row = kind(**values)
    check(row)
    return row


def _signed(line: bytes) -> bytes:
    """A line of JSON with its digest and its end."""
    return line.removesuffix(b"}") + b', "check": "' + _digest(line) + b'"}\n'


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest()[:16].encode()


def _lines(path: Path, content: bytes) -> Iterator[bytes]:
    """The lines of a file, one at a time, but for a last one that does not end."""
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        yield content[start:end]
        start = end + 1
    if (whole := _CHECK.search(content, start)) and whole.end() < len(content):
        raise UserError(f"{path} is damaged after its last whole line: restore or delete the file")


def _decompressed(path: Path, content: bytes) -> bytes:
    """The content of an xz file, decompressed only as far as it may be large."""
    limit = min(max(MAX_RATIO * len(content), _MIN_BYTES), MAX_BYTES)
    parts: list[bytes] = []
    size = 0
    try:
        while content or not parts:
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _DECODER_BYTES)
            parts.append(decoder.decompress(content, limit - size + 1))
            size += len(parts[-1])
            if size > limit:
                raise UserError(f"{path} holds more than {limit:,} bytes, too many for a file of its size: restore it")
            if not decoder.eof:
                raise lzma.LZMAError("it ends too early")
            content = decoder.unused_data
    except lzma.LZMAError as error:
        raise UserError(f"{path} is truncated or damaged ({error}): restore it") from error
    return b"".join(parts)

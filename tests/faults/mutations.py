"""Damaged files: what the package does with files of every kind in which something was changed.

`run` makes many such files and counts. A file is either refused with one line, or read with the content that it had.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.changes import ANY, Random
from tests.faults.kinds import Kind

MEGABYTE = 1 << 20
MOST_SECONDS = 5.0
"""No file may take longer to read."""
MOST_MEGABYTES = 300
"""No file may take more memory than this beyond three times its size."""


@dataclass
class Counts:
    """What became of the damaged files of one kind."""

    tried: int = 0
    unchanged: int = 0
    """Read, with the content that the undamaged file has."""
    refused: int = 0
    """Refused with one line that names the file."""
    shortened: int = 0
    """Rows that were cut off at the end, as a kill leaves them: the rows before were read."""
    unsigned: int = 0
    """Read with other content, where the file carries no digest, or one that was made anew after the change."""
    wrongly_accepted: int = 0
    """Read with other content: must be 0."""
    tracebacks: int = 0
    """Any other error, or a refusal that is not one line naming the file: must be 0."""
    seconds: float = 0.0
    """The longest that one file took, in seconds of the processor."""
    megabytes: float = 0.0
    """By how much the memory of the process grew at most beyond three times a file's size."""
    failures: list[str] = field(default_factory=list)
    """What led to the first wrongly accepted files and tracebacks."""


def attempt(kind: Kind, path: Path, content: bytes, expected: Any, is_signed: bool, counts: Counts) -> None:
    """Read a damaged file, and count what happened.

    Args:
        kind: What the file was.
        path: Where to put it.
        content: The damaged file.
        expected: What the undamaged file holds, as `kind.read` gives it.
        is_signed: Whether its digests were made anew after the change.
        counts: Changed in place.
    """
    path.write_bytes(content)
    before, start = _peak_megabytes(), time.process_time()
    counts.tried += 1
    try:
        value = kind.read(path)
    except kind.refusals as error:
        reason = _mistake_in(str(error), kind, path)
        counts.refused += not reason
        counts.tracebacks += bool(reason)
        counts.failures += [f"{reason}: {str(error)[:2000]}"] if reason else []
    except Exception:
        counts.tracebacks += 1
        counts.failures.append(traceback.format_exc())
    else:
        if repr(value) == repr(expected):  # NaN equals NaN so
            counts.unchanged += 1
        elif kind.may_be_cut and value == expected[: len(value)]:
            counts.shortened += 1
        elif is_signed or not kind.has_digests:
            counts.unsigned += 1
        else:
            counts.wrongly_accepted += 1
            counts.failures.append(f"{value!r}"[:500])
    counts.seconds = max(counts.seconds, time.process_time() - start)
    counts.megabytes = max(counts.megabytes, _peak_megabytes() - before - 3 * len(content) / MEGABYTE)
    counts.failures = counts.failures[:5]


def _mistake_in(message: str, kind: Kind, path: Path) -> str:
    """What is wrong with the message of a refusal; empty: nothing."""
    if not message.isprintable():
        return "not one line of printable characters"
    named = kind.names_file == "no" or str(path.parent if kind.names_file == "folder" else path) in message
    if not named and path.name not in message:
        return "does not name the file"
    return "" if len(message) < 1000 else "longer than people read"


def _peak_megabytes() -> float:
    """The most memory that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def damaged(kind: Kind, content: bytes, draw: Random) -> tuple[bytes, bool, str]:
    """A damaged copy of a file, whether its digests were made anew, and the name of the change."""
    change = draw.choice((*ANY, *kind.changes))
    result = change(content, draw)
    signed = kind.sign(result) if draw.random() < 0.3 else result
    return signed, signed != result, change.__name__


def run(folder: Path, kind: Kind, numbers: range, counts: Counts, seed: int = 0) -> None:
    """Damage files of a kind, read them, and count what happened.

    Args:
        folder: Where the files are put, one at a time.
        kind: The kind of file.
        numbers: Of the damaged files: each decides its change, together with `seed`.
        counts: Changed in place.
        seed: Decides all changes.
    """
    path = folder / kind.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    kind.write(path)
    content, expected = path.read_bytes(), kind.read(path)
    for number in numbers:
        changed, is_signed, name = damaged(kind, content, Random(f"{kind.name} {seed} {number}"))
        failures = len(counts.failures)
        attempt(kind, path, changed, expected, is_signed, counts)
        counts.failures[failures:] = [f"{name}, number {number}: {text}" for text in counts.failures[failures:]]

"""Damaged files: what the package does with files of every kind in which something was changed.

`run` makes many such files and counts. A file is either refused with one line, or read with the content that it had.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.changes import ANY, Random
from tests.faults.kind import Kind

MEGABYTE = 1 << 20
MOST_SECONDS = 5.0
"""No file may take longer to read."""
MOST_WAITING = 60.0
"""Seconds by the clock after which a file that is not read yet counts as one that is never read."""
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
    before, start = _forget_peak(), time.process_time()
    counts.tried += 1
    try:
        try:
            value = kind.read(path)
        finally:  # before the value is compared, which takes more than reading a large one
            counts.seconds = max(counts.seconds, time.process_time() - start)
            counts.megabytes = max(counts.megabytes, peak_megabytes() - before - 3 * len(content) / MEGABYTE)
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
    counts.failures = counts.failures[:5]


def _mistake_in(message: str, kind: Kind, path: Path) -> str:
    """What is wrong with the message of a refusal; empty: nothing."""
    if not message.isprintable():
        return "not one line of printable characters"
    named = kind.names_file == "no" or str(path.parent if kind.names_file == "folder" else path) in message
    if not named and path.name not in message:
        return "does not name the file"
    return "" if len(message) < 1000 else "longer than people read"


def _forget_peak() -> float:
    """Let the peak of this process's memory begin anew, where the system can, and return the memory it has now, MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_megabytes()


def peak_megabytes() -> float:
    """The most memory that this process had since its start, or since `_forget_peak`, in MB."""
    try:
        (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(line) / 1024
    except OSError:  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MEGABYTE if sys.platform == "darwin" else 1024)


def damaged(kind: Kind, content: bytes, draw: Random) -> tuple[bytes, bool, str]:
    """A damaged copy of a file, whether its digests were made anew, and the name of the change."""
    change = draw.choice((*ANY, *kind.changes))
    result = change(content, draw)
    signed = kind.sign(result) if draw.random() < 0.3 else result
    return signed, signed != result, change.__name__


def run_apart(folder: Path, kind: Kind, numbers: range, counts: Counts, seed: int = 0) -> None:
    """As `run`, in a copy of this process: one that crashes or hangs is a traceback, and the next file comes."""
    while len(numbers):
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            _report_each(folder, kind, numbers, counts, seed, writing)
        os.close(writing)
        started, ended = counts.tried, ""
        with os.fdopen(reading) as answers:
            while select.select([answers], [], [], MOST_WAITING)[0]:
                if not (line := answers.readline()):
                    break
                vars(counts).update(json.loads(line))
            else:
                os.kill(process, signal.SIGKILL)
                ended = f"no end within {MOST_WAITING} s"
        _, status = os.waitpid(process, 0)
        numbers = numbers[counts.tried - started :]
        if len(numbers):
            ended = ended or f"the process ended with {os.waitstatus_to_exitcode(status)}"
            counts.tried, counts.tracebacks = counts.tried + 1, counts.tracebacks + 1
            counts.failures.append(f"number {numbers[0]}: {ended}")
            numbers = numbers[1:]


def _report_each(folder: Path, kind: Kind, numbers: range, counts: Counts, seed: int, writing: int) -> None:
    """In the copy: damage and read one file after another, write the counts after each, and end."""
    try:
        with os.fdopen(writing, "w", buffering=1) as answers:
            run(folder, kind, numbers, counts, seed, lambda: print(json.dumps(asdict(counts)), file=answers))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def run(
    folder: Path,
    kind: Kind,
    numbers: range,
    counts: Counts,
    seed: int = 0,
    after_each: Callable[[], object] = lambda: None,
) -> None:
    """Damage files of a kind, read them, and count what happened.

    Args:
        folder: Where the files are put, one at a time.
        kind: The kind of file.
        numbers: Of the damaged files: each decides its change, together with `seed`.
        counts: Changed in place.
        seed: Decides all changes.
        after_each: Called after each file.
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
        after_each()

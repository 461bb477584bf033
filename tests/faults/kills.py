"""Commands that are killed, stopped, or refused a file operation, again and again until one is done.

Whatever happens, the run that is finished at last must have the same bytes as one that was never disturbed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.server import Command, Ended

_SMALL = (
    *("--preset", "demo", "--seeds", "0", "--limit", "20", "--pruning.levels", "1", "--workers", "1", "--out", "out"),
    *("--pooling.methods", "average", "trimmed-soup", "--evaluation.trained-baselines", "sparse-model-soups"),
    *("--model.arguments.width", "4", "--model.arguments.depth", "2"),
)
SCRIPT = (
    ("tickets", *_SMALL),
    ("pool", "out", "--workers", "1"),
    ("evaluate", "out", "--workers", "1"),
    ("report", "out"),
)
"""All stages of a small run: tickets, a baseline that trains copies, pools, rows, report."""
ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EACCES", "EROFS", "EMFILE", "EINTR")
"""What a disk refuses with."""
SIGNALS = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}
"""Signals, and the exit code that follows them."""


@dataclass
class Counts:
    """What became of the disturbed commands."""

    runs: int = 0
    """Runs that were finished at last."""
    faults: int = 0
    """Commands that were killed, or refused a file operation."""
    by_kind: dict[str, int] = field(default_factory=dict)
    ended: int = 0
    """Commands that had ended before the fault came."""
    bytes_differing: int = 0
    """Of files that differ from those of an undisturbed run, or are missing: must be 0."""
    leftovers: int = 0
    """Files of unfinished work that a finished run still has: must be 0."""
    tracebacks: int = 0
    """Commands that ended otherwise than with the exit code and the one line that are right: must be 0."""
    failures: list[str] = field(default_factory=list)


class Server(contextlib.AbstractContextManager["Server"]):
    """The process that runs commands (`tests/faults/server.py`)."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def run(self, command: Command) -> Ended:
        """Run a command, and say how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(command)) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def undisturbed(server: Server, folder: Path) -> dict[str, bytes]:
    """The files of a run that nothing disturbs."""
    folder.mkdir(parents=True)
    for arguments in SCRIPT:
        ended = server.run(Command(list(arguments), str(folder)))
        assert ended.code == 0, ended.errors
    return kept(folder)


def one_run(server: Server, folder: Path, fault: str, expected: Mapping[str, bytes], counts: Counts) -> None:
    """Disturb a run until it is done, and count what came of it.

    Args:
        server: Runs the commands.
        folder: Where the run is.
        fault: `kill` or `errno`.
        expected: The files of an undisturbed run.
        counts: Changed in place; the number of the run decides all faults.
    """
    draw = random.Random(f"{fault} {counts.runs}")
    folder.mkdir(parents=True)
    for arguments in SCRIPT:
        for attempt in range(1000):
            command = _disturbed(draw, arguments, folder, fault, patience=attempt)
            if not _count(command, server.run(command), counts):
                break
    files = kept(folder)
    differing = sum(_differing(files.get(name, b""), expected.get(name, b"")) for name in {*files, *expected})
    left = leftovers(folder)
    counts.runs += 1
    counts.bytes_differing += differing
    counts.leftovers += len(left)
    if differing or left:
        counts.failures.append(f"run {counts.runs - 1}: {differing} bytes differ, left over: {', '.join(left)}")


def _disturbed(draw: random.Random, arguments: Sequence[str], folder: Path, fault: str, patience: int) -> Command:
    """A command and its fault, which comes the later the more faults the run has had, so that it is done some time."""
    kind = draw.choice(ERRORS) if fault == "errno" else draw.choice(("SIGKILL", "SIGKILL", *SIGNALS))
    if fault == "errno" or draw.random() < 0.7:
        return Command(list(arguments), str(folder), kind, at=draw.randint(1, 12 + patience))
    return Command(list(arguments), str(folder), kind, seconds=draw.uniform(0.0, 0.4 + 0.02 * patience))


def _count(command: Command, ended: Ended, counts: Counts) -> bool:
    """Count how a disturbed command ended; whether the fault came before its end."""
    if ended.code == 0 and not ended.traceback:
        counts.ended += 1
        return False
    counts.faults += 1
    counts.by_kind[command.kind] = counts.by_kind.get(command.kind, 0) + 1
    wanted = SIGNALS.get(command.kind, 2)
    lines = ended.errors.strip().splitlines()
    if ended.code != wanted or ended.traceback or (wanted > 0 and len(lines) != 1):
        counts.tracebacks += 1
        counts.failures.append(
            f"{command.kind} at {command.at or command.seconds}: {ended.code}: {ended.errors[-1500:]}"
        )
    return True


def kept(folder: Path) -> dict[str, bytes]:
    """What a run leaves that must not depend on faults: its tickets, pools, rows and report, by their path in it."""
    patterns = ("*.safetensors", "results.jsonl", "report.*", "config.toml")
    paths = {path for pattern in patterns for path in (folder / "out").rglob(pattern)}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def leftovers(folder: Path) -> list[str]:
    """Files that only an unfinished run has."""
    patterns = ("*.tmp", ".*.tmp", "*.partial.safetensors", "*.copy_*.safetensors")
    return sorted({str(path.relative_to(folder)) for pattern in patterns for path in folder.rglob(pattern)})


def _differing(first: bytes, second: bytes) -> int:
    """How many bytes of two files differ, those that one lacks included."""
    if hashlib.sha256(first).digest() == hashlib.sha256(second).digest():
        return 0
    return sum(a != b for a, b in zip(first, second, strict=False)) + abs(len(first) - len(second))

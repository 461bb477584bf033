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

from tests.faults.injection import OPERATIONS
from tests.faults.server import Command, Ended

SMALL = (
    *("--preset", "demo", "--limit", "20", "--pruning.levels", "1", "--quiet"),
    *("--model.arguments.width", "4", "--model.arguments.depth", "2"),
    *("--pooling.methods", "average", "trimmed-soup", "--evaluation.trained-baselines", "sparse-model-soups"),
)
"""Settings of a small run."""
SCRIPT = (
    ("tickets", *SMALL, "--seeds", "0", "--workers", "1", "--out", "out"),
    ("pool", "out", "--workers", "1", "--quiet"),
    ("evaluate", "out", "--workers", "1", "--quiet"),
    ("diagnose", "out", "--points", "3", "--workers", "1", "--quiet"),
    ("report", "out", "--publish", "published"),
)
"""All stages of it: tickets, a baseline that trains copies, pools, rows, diagnosis, report, publication."""
ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EACCES", "EROFS", "EMFILE")
"""What a disk refuses with."""
STAYING = ("ENOSPC", "EROFS")
"""What goes on, once it has begun: a full disk, and a read-only one."""
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
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def undisturbed(server: Server, folder: Path) -> dict[str, bytes]:
    """The files of a run that nothing disturbs."""
    folder.mkdir(parents=True)
    for arguments in SCRIPT:
        ended = server.run(Command(list(arguments), str(folder)))
        assert ended.code == 0, ended.errors
    return kept(folder)


def one_run(
    server: Server, folder: Path, draw: random.Random, fault: str, expected: Mapping[str, bytes], counts: Counts
) -> None:
    """Disturb a run until it is done, and count what came of it.

    Args:
        server: Runs the commands.
        folder: Where the run is.
        draw: Decides all faults.
        fault: `kill` or `errno`.
        expected: The files of an undisturbed run.
        counts: Changed in place.
    """
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
    """A command and its fault, which comes the later the more faults the run has had, so that it is done some time.

    It comes at a random operation, at one of a random kind (the first removals are those after a level was saved), or,
    if it is a signal, after a random time.
    """
    kind = draw.choice(ERRORS) if fault == "errno" else draw.choice(("SIGKILL", "SIGKILL", *SIGNALS))
    if fault == "kill" and draw.random() < 0.3:
        return Command(list(arguments), str(folder), kind, seconds=draw.uniform(0.0, 0.4 + 0.02 * patience))
    stays = kind in STAYING and draw.random() < 0.5
    operation = draw.choice(("open", "write", *OPERATIONS)) if draw.random() < 0.5 else ""
    at = draw.randint(1, (2 if operation else 6) + patience)
    return Command(list(arguments), str(folder), kind, at, operation=operation, stays=stays)


def _count(command: Command, ended: Ended, counts: Counts) -> bool:
    """Count how a disturbed command ended; whether the fault came before its end."""
    if ended.code == 0 and not ended.traceback:
        counts.ended += 1
        return False
    counts.faults += 1
    name = {"ENOSPC": "full disk", "EROFS": "read-only disk"}[command.kind] if command.stays else command.kind
    counts.by_kind[name] = counts.by_kind.get(name, 0) + 1
    wanted = SIGNALS.get(command.kind, 2)
    lines = ended.errors.strip().splitlines()
    if ended.code != wanted or ended.traceback or (wanted > 0 and len(lines) != 1):
        counts.tracebacks += 1
        place = f"{command.operation or 'operation'} {command.at}" if command.at else f"{command.seconds:.3f} s"
        how = f"{command.kind} at {place}{' and on' if command.stays else ''}"
        counts.failures.append(f"{command.arguments[0]}, {how}: {ended.code}: {ended.errors[-1500:]}")
    return True


def kept(folder: Path) -> dict[str, bytes]:
    """What a run leaves that must not depend on faults: all but its log, by path."""
    patterns = ("*.safetensors", "*.json", "results.*", "pools.jsonl", "report.*", "config.toml")
    paths = {path for pattern in patterns for path in folder.rglob(pattern)}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def leftovers(folder: Path) -> list[str]:
    """Files that only an unfinished run has."""
    patterns = ("*.tmp", ".*.tmp", "*.partial.*", "*.copy_*")
    return sorted({str(path.relative_to(folder)) for pattern in patterns for path in folder.rglob(pattern)})


def _differing(first: bytes, second: bytes) -> int:
    """How many bytes of two files differ, those that one lacks included."""
    if hashlib.sha256(first).digest() == hashlib.sha256(second).digest():
        return 0
    return sum(a != b for a, b in zip(first, second, strict=False)) + abs(len(first) - len(second))

"""Commands with worker processes: stopped as a terminal or a scheduler stops them, and started twice at once.

They are real processes in a session of their own, so that one that outlives the command is seen.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.kills import SIGNALS, SMALL, kept, leftovers

MOST_SECONDS = 20.0
"""So long may a process live on after its command was killed, by the clock of a busy machine."""


@dataclass
class Counts:
    """What became of commands with workers."""

    tried: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    orphans: int = 0
    """Processes that outlived their command: must be 0."""
    tracebacks: int = 0
    """Commands that ended otherwise than with the exit code and the one line that are right: must be 0."""
    bytes_differing: int = 0
    """Files that differ from those of an undisturbed run when the run was finished at last: must be 0."""
    failures: list[str] = field(default_factory=list)


def command(folder: Path) -> list[str]:
    """The command: tickets of two seeds on two workers."""
    options = [*SMALL[:-2], "--seeds", "0", "1", "--workers", "2", "--threads", "1", "--out", str(folder / "out")]
    return [sys.executable, "-m", "lottery_pools", "tickets", *options]


def started(folder: Path) -> subprocess.Popen[str]:
    """The command, in a session of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "LOTTERY_POOLS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def listen() -> None:  # whoever started us in the background may have us ignore interrupts
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        command(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=environment, preexec_fn=listen,
    )  # fmt: skip


def of_session(number: int) -> list[int]:
    """The processes of a session that are still there."""
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it has just ended
                continue
            if int(session) == number and state != "Z":
                processes.append(int(entry.name))
    return processes


def one(scratch: Path, draw: random.Random, counts: Counts) -> None:
    """Disturb one command, run it to its end, compare with an undisturbed run, and count what happened."""
    kind = draw.choice((*SIGNALS, "started twice"))
    folder = scratch / f"processes_{counts.tried}"
    counts.tried += 1
    counts.by_kind[kind] = counts.by_kind.get(kind, 0) + 1
    if kind == "started twice":
        _start_twice(folder, draw, counts)
    else:
        _stop(folder, kind, draw.uniform(0, 3), counts)
    for place in (folder, scratch / "undisturbed"):
        if place == folder or not place.exists():
            process = started(place)
            _, errors = process.communicate()
            if process.returncode:
                counts.tracebacks += 1
                counts.failures.append(f"after {kind}: {process.returncode}: {errors[-1500:]}")
    files, expected = kept(folder), kept(scratch / "undisturbed")
    differing = [name for name in {*files, *expected} if files.get(name) != expected.get(name)]
    left = leftovers(folder)
    counts.bytes_differing += len(differing)
    if differing or left:
        counts.failures.append(f"{kind}: other files: {sorted(differing)}; left over: {left}")


def _stop(folder: Path, kind: str, seconds: float, counts: Counts) -> None:
    """Stop the command some time after its work began: an interrupt reaches all its processes, as in a terminal."""
    process = started(folder)
    while process.poll() is None and not (folder / "out").exists():
        time.sleep(0.01)
    time.sleep(seconds)
    if process.poll() is None:
        number = getattr(signal, kind)
        os.killpg(process.pid, number) if kind == "SIGINT" else process.send_signal(number)
    _, errors = process.communicate()
    _count_end(process, SIGNALS[kind], errors, kind, counts)


def _start_twice(folder: Path, draw: random.Random, counts: Counts) -> None:
    """Start the command twice: one does the work, the other is refused, or finds it done."""
    first = started(folder)
    time.sleep(draw.uniform(0, 2))
    second = started(folder)
    ends = [(process, process.communicate()[1]) for process in (first, second)]
    if 0 not in [process.returncode for process, _ in ends]:
        counts.failures.append(f"started twice: nobody did the work: {[errors for _, errors in ends]}"[-1500:])
        counts.tracebacks += 1
    for process, errors in ends:
        _count_end(process, 2, errors, "started twice", counts)


def _count_end(process: subprocess.Popen[str], wanted: int, errors: str, kind: str, counts: Counts) -> None:
    """Count a command that did not end as it should, and processes that it left behind."""
    lines = [line for line in errors.splitlines() if line.startswith("lottery-pools: ")]
    signs = ["Traceback", "Error"]
    if process.returncode != -signal.SIGKILL:  # else Python's own helper says that it removes the command's semaphores
        signs.append("semaphore")
    others = [line for line in errors.splitlines() if any(sign in line for sign in signs)]
    right = process.returncode in (0, wanted) and not others and len(lines) == (process.returncode > 0)
    if not right:
        counts.tracebacks += 1
        counts.failures.append(f"{kind}: {process.returncode}: {errors[-1500:]}")
    end = time.monotonic() + MOST_SECONDS
    while (left := of_session(process.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    counts.orphans += len(left)
    if left:
        counts.failures.append(f"{kind}: processes {left} outlived the command")
        for number in left:
            os.kill(number, signal.SIGKILL)

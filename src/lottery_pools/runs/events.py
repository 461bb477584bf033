"""What happens in a run while it is at work, read from the files that its processes append to; and who is told of it.

Worker processes, on this machine or on others, write to the log and the rows of a run's folder. One process, the one
that gave out the work, reads what is new there and tells its observers. So an observer need not know where the work is
done, and need not be sent to the workers.
"""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lottery_pools.errors import Notice
from lottery_pools.runs.folder import RunFolder

SECONDS_BETWEEN_READINGS = 0.25
"""How often the files are read."""

Kind = Literal["level", "epoch", "ticket", "pool", "row"]
"""What happened: a level was begun, an epoch of training was done, a ticket was saved, a target was pooled, or the row
of a measurement was written."""
Line = Mapping[str, Any]
"""One line of a log: what happened, as `RunFolder.event` wrote it."""

_NUMBERS: dict[Kind, tuple[str, ...]] = {
    "level": ("density",),
    "epoch": ("loss", "accuracy"),
    "ticket": ("density", "accuracy"),
    "pool": ("accuracy",),
    "row": ("accuracy", "loss", "ece", "correct", "n"),
}
"""The numbers of each kind of event that are worth a curve."""


@dataclass(frozen=True)
class Event:
    """One thing that happened in a run.

    Example:
        ```python
        def observe(event: Event) -> None:
            print(event.run.name, event.kind, event.step, event.metrics)
        ```
    """

    kind: Kind
    run: Path
    """Folder of the run: of one seed, or of a trained baseline."""
    time: float
    """Seconds since 1970."""
    values: Line
    """All that is known of it, as the log or the row has it: `level`, and by kind `epoch`, `epochs`, `loss`,
    `accuracy`, `density`, `method`, `split`, `corruption`, `severity` and others."""

    @property
    def level(self) -> int:
        """The level that it is about."""
        return int(self.values["level"])

    @property
    def step(self) -> int:
        """A count for the horizontal axis of curves: epochs of all levels so far for epochs, else the level."""
        if self.kind != "epoch":
            return self.level
        return self.level * int(self.values["epochs"]) + int(self.values["epoch"])

    @property
    def metrics(self) -> dict[str, float]:
        """Its numbers under names that loggers group by the slashes: `epoch/loss`, `pool/average/accuracy`,
        `row/average/test/accuracy`, `row/ticket/test/fog/3/loss`."""
        values = self.values
        parts: list[str] = [self.kind, *(str(values[key]) for key in ("method", "split") if values.get(key))]
        if values.get("severity"):
            parts += [str(values["corruption"]), str(values["severity"])]
        if values.get("copy"):
            parts += ["copy", str(values["copy"])]
        numbers = {name: values.get(name) for name in _NUMBERS[self.kind]}
        return {"/".join([*parts, name]): float(value) for name, value in numbers.items() if value is not None}


Observer = Callable[[Event], None]
"""What is told of events, one after the other. It is called in a thread of its own, so that it holds up no work."""


class Appended:
    """A file of JSON lines that other processes append to, read from where the last reading stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def skip(self) -> None:
        """Leave out the whole lines that are there already."""
        self._whole_lines()

    def new(self) -> list[dict[str, Any]]:
        """The lines since the last call; a line not yet finished waits, one that a kill cut short is skipped."""
        lines = []
        for line in self._whole_lines():
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict):
                lines.append(values)
        return lines

    def _whole_lines(self) -> list[bytes]:
        """The lines since the last call that are finished, as they are in the file."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self.offset += len(data)
        return data.splitlines()


def of_log(run: Path, line: Line) -> Event | None:
    """The event that a line of a run's log stands for; None if observers are not told of it."""
    kind: Kind
    match line.get("stage"):
        case "training":
            kind = "epoch" if line.get("epoch") else "level"
        case "ticket":
            kind = "ticket"
        case "pooling" if line.get("done"):
            kind = "pool"
        case _:
            return None
    return Event(kind, run, float(line["time"]), line)


def of_row(run: Path, row: Line, now: float) -> Event:
    """The event that a new row stands for; rows do not say when they were written, so the time is that of reading."""
    return Event("row", run, now, row)


@contextmanager
def followed(runs: Sequence[Path], receive: Callable[[Path, Line], None]) -> Iterator[None]:
    """Give new lines of the logs of runs to `receive`, in a thread, while the body runs; all of them by its end."""
    logs = {run: Appended(RunFolder(run).log) for run in runs}
    for log in logs.values():
        log.skip()

    def read() -> None:
        for run, log in logs.items():
            for line in log.new():
                receive(run, line)

    with _repeated(read):
        yield


@contextmanager
def observed(runs: Sequence[Path], observers: Sequence[Observer]) -> Iterator[None]:
    """Tell observers what happens in runs while the body runs; they have been told everything by its end.

    An observer that raises an exception is not called again, and a `Notice` says so: the work goes on.
    """
    listening = list(observers)
    logs = {run: Appended(RunFolder(run).log) for run in runs}
    rows = {run: Appended(RunFolder(run).results) for run in runs}
    for file in (*logs.values(), *rows.values()):
        file.skip()

    def tell(event: Event | None) -> None:
        for observer in [*listening] if event is not None else ():
            try:
                observer(event)  # type: ignore[arg-type]
            except Exception as error:
                listening.remove(observer)
                name = getattr(observer, "__qualname__", type(observer).__name__)
                warnings.warn(f"the observer {name} failed, and is not called again ({error!r})", Notice, stacklevel=1)

    def read() -> None:
        for run in runs:
            for line in logs[run].new():
                tell(of_log(run, line))
            for row in rows[run].new():
                tell(of_row(run, row, time.time()))

    if not listening:
        yield
        return
    with _repeated(read):
        yield


@contextmanager
def _repeated(read: Callable[[], None]) -> Iterator[None]:
    """Call a function again and again in a thread while the body runs, and a last time at its end."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(SECONDS_BETWEEN_READINGS):
            read()

    thread = threading.Thread(target=repeat, daemon=True, name="lottery-pools events")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        read()

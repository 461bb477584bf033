"""Tables and live progress in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from lottery_pools.reporting.tables import Table

_UNBOUNDED = 10_000
"""Columns given to a table that goes to a file or a pipe."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to standard output: plain text of any width where that is not a terminal."""
    content = Table(title, tuple(columns), tuple(map(tuple, rows)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNBOUNDED)
    grid = Grid(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for column, numeric in zip(content.columns, content.numeric, strict=True):
        grid.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in content.rows:
        grid.add_row(*map(Text, row))
    console.print(grid)


@contextmanager
def watch(folders: Sequence[Path], total: float, console: Console | None = None) -> Iterator[None]:
    """Show, while the body runs, how far the runs in `folders` are, as their `log.jsonl` files tell.

    `total` is the whole work of all runs, in the unit of the events' `done`: what each has finished, to be summed.
    Work logged before the start fills the bar but does not count for the time left. Does nothing where the
    console, by default standard error, is not a terminal.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    logs = {folder: _Log(folder / "log.jsonl") for folder in folders}
    latest: dict[Path, Mapping[str, Any]] = {}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
        speed_estimate_period=600,
    )

    def poll() -> float:
        done = 0.0
        for folder, log in logs.items():
            for event in log.new():
                done += event.get("done") or 0
                latest[folder] = event
        return done

    task = bar.add_task(f"{len(folders)} run{'' if len(folders) == 1 else 's'}", total=total)
    bar.tasks[0].completed = poll()  # not `update`, which would take work of the past for speed

    def display() -> RenderableType:
        if done := poll():  # nothing is no sample of the speed
            bar.advance(task, done)
        lines = Grid.grid(padding=(0, 2))
        for folder in logs:
            lines.add_row(*map(Text, (folder.name, *_state(latest.get(folder, {})))))
        return Group(bar, lines)

    # Live's own thread, a daemon, calls display four times a second.
    with Live(get_renderable=display, console=console, refresh_per_second=4, transient=True):
        yield


class _Log:
    """A log that other processes append to, read from where the last reading stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def new(self) -> list[dict[str, Any]]:
        """The events since the last call; a line not yet finished waits, one that a kill tore is skipped."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self.offset += len(data)
        events = []
        for line in data.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events


def _state(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """What a run is doing, in words: stage, level, epoch, accuracy."""
    stage = " ".join(str(event[key]) for key in ("stage", "method") if event.get(key)) or "waiting"
    level = f"level {event['level']}" if event.get("level") is not None else ""
    epoch = f"epoch {event['epoch']}/{event['epochs']}" if event.get("epoch") and event.get("epochs") else ""
    accuracy = f"{100 * event['accuracy']:.1f} %" if event.get("accuracy") is not None else ""
    return stage, level, epoch, accuracy

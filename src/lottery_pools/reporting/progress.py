"""Live progress in the terminal, from the logs that the working processes write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from lottery_pools.reporting.pace import SETTLING, Pace
from lottery_pools.reporting.words import MINUS, duration, plural
from lottery_pools.runs.events import Appended, Line

LINES = 10
"""The most lines shown below the bar."""


@contextmanager
def watch(folders: Sequence[Path], work: Mapping[str, float], console: Console | None = None) -> Iterator[None]:
    """Show, while the body runs, how far the runs in `folders` are, as new lines of their `log.jsonl` tell.

    `work` is how much is to be done in all runs together, for each stage in their order, in the unit in which the
    log's events count what is `done`. Shows nothing where the console (standard error by default) is not a terminal.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    screen = _Screen(folders, Pace(work, time.monotonic()), console)
    # A thread of Live, a daemon, calls the function four times a second.
    with Live(get_renderable=screen.draw, console=console, refresh_per_second=4, transient=True):
        yield


class _Screen:
    """What is on the screen: the bar over all the work, and a line for each run at work."""

    def __init__(self, folders: Sequence[Path], pace: Pace, console: Console) -> None:
        self.folders, self.pace, self.console = folders, pace, console
        self.logs = {folder: Appended(folder / "log.jsonl") for folder in folders}
        for log in self.logs.values():
            log.skip()  # what earlier calls did is no part of this work
        self.latest: dict[Path, dict[str, Any]] = {}
        """The last event of each run."""
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            auto_refresh=False,
        )
        self.task = self.bar.add_task(plural(len(folders), "run"), total=1.0, left="")

    def draw(self) -> RenderableType:
        """Read what is new in the logs; the bar and the lines as they are now."""
        now = time.monotonic()
        for folder, log in self.logs.items():
            for event in log.new():
                self.latest[folder] = {**_kept(self.latest.get(folder, {}), event), **event}
                self.pace.add(str(event.get("stage")), event.get("done") or 0.0, now)
        seconds = self.pace.seconds_left(now)
        early = seconds is None or now - self.pace.start < SETTLING
        left = "time left: not known yet" if early else f"about {duration(seconds or 0.0)} left"
        self.bar.update(self.task, completed=self.pace.share, left=left)
        return Group(self.bar, _lines(self.folders, self.latest, min(LINES, self.console.height - 3)))


def _kept(before: Line, event: Line) -> dict[str, Any]:
    """The last accuracy, which the next event of the same stage may lack but a reader still wants to see."""
    same = before.get("stage") == event.get("stage")
    return {"accuracy": before["accuracy"]} if same and before.get("accuracy") is not None else {}


def _lines(folders: Sequence[Path], latest: Mapping[Path, Line], most: int) -> Grid:
    """A line for each run that has begun, `most` lines in all.

    Where there are more runs, those at work and the last to change are shown, and the others counted.
    """
    begun = [folder for folder in folders if folder in latest]

    def interest(folder: Path) -> tuple[bool, float]:
        return latest[folder].get("stage") != "ticket", latest[folder].get("time", 0.0)

    shown = set(sorted(begun, key=interest)[-max(1, most - 1) :])
    root = os.path.commonpath([folder.parent for folder in folders]) if folders else ""
    lines = Grid.grid(padding=(0, 2))
    for folder in folders:
        if folder in shown:
            name = os.path.relpath(folder, root).replace("trained_baselines/", "")
            lines.add_row(*map(Text, (name, *_state(latest[folder]))))
    if hidden := len(folders) - len(shown):
        lines.add_row(Text(f"and {hidden} {'waiting' if len(begun) == len(shown) else 'waiting or done'}"))
    return lines


def _state(event: Line) -> tuple[str, str, str, str]:
    """What a run is doing, in words: stage, level, epoch, accuracy."""
    words = {**event, "stage": "trained" if event.get("stage") == "ticket" else event.get("stage")}
    stage = " ".join(str(words[key]) for key in ("stage", "method") if words.get(key)) or "waiting"
    level = f"level {event['level']}" if event.get("level") is not None else ""
    epoch = f"epoch {event['epoch']}/{event['epochs']}" if event.get("epoch") and event.get("epochs") else ""
    value, accuracy = event.get("accuracy"), ""
    if value is not None:  # below zero it is the log-likelihood of a search that compares by it
        accuracy = f"{100 * value:.1f} %" if value >= 0 else f"{value:.3f} nats".replace("-", MINUS)
    elif event.get("loss") is not None:
        accuracy = f"loss {event['loss']:.3f}"
    return stage, level, epoch, accuracy

"""Tables and live progress in the terminal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from lottery_pools.reporting.names import mixes_in_turn
from lottery_pools.reporting.tables import Table

_UNBOUNDED = 10_000
"""Columns given to a table that goes to a file or a pipe."""
SETTLING = 10.0
"""Seconds before which workers that start make any estimate of the time left too long."""
LINES = 10
"""Shown below the bar at most."""


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
def watch(folders: Sequence[Path], work: Mapping[str, float], console: Console | None = None) -> Iterator[None]:
    """Show, while the body runs, how far the runs in `folders` are, as what is added to their `log.jsonl` tells.

    `work` is what is to be done in all runs by stage, in their order, in the unit of the events' `done`: what each has
    finished, to be summed. Does nothing where the console, by default standard error, is not a terminal.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    logs = {folder: _Log(folder / "log.jsonl") for folder in folders}
    for log in logs.values():
        log.skip()  # what was done earlier
    latest: dict[Path, dict[str, Any]] = {}
    pace = Pace(work, time.monotonic())
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        auto_refresh=False,
    )
    task = bar.add_task(f"{len(folders)} run{'s' * (len(folders) != 1)}", total=1.0, left="")

    def display() -> RenderableType:
        now = time.monotonic()
        for folder, log in logs.items():
            for event in log.new():
                latest[folder] = {**_kept(latest.get(folder, {}), event), **event}
                pace.add(str(event.get("stage")), event.get("done") or 0.0, now)
        seconds = pace.seconds_left(now)
        early = seconds is None or now - pace.start < SETTLING
        left = "time left: not known yet" if early else f"about {duration(seconds or 0.0)} left"
        bar.update(task, completed=pace.share, left=left)
        return Group(bar, _lines(folders, latest, min(LINES, console.height - 3)))

    # Live's own thread, a daemon, calls display four times a second.
    with Live(get_renderable=display, console=console, refresh_per_second=4, transient=True):
        yield


class Pace:
    """How much of the work is done, and how long the rest takes at the speeds so far.

    The units of stages take different times: the stage under way is timed by itself, and those to come by all that was
    done. A stage is timed from its beginning, or, once it has gone on for longer than its first piece took, from when
    that was done: workers have to start first.
    """

    def __init__(self, work: Mapping[str, float], now: float) -> None:
        self.left = {stage: amount for stage, amount in work.items() if amount > 0}
        self.total = sum(self.left.values())
        self.stage = ""
        self.done = {"": 0.0}
        """By stage."""
        self.start = self.begun = self.changed = now
        self.first = (now, 0.0)
        """When the stage under way finished its first piece, and how much that was."""

    @property
    def share(self) -> float:
        """Of all the work, 0 to 1."""
        return 1 - sum(self.left.values()) / self.total if self.total else 0.0

    def add(self, stage: str, done: float, now: float) -> None:
        """Count what one event says is done."""
        if stage not in self.left:
            return
        if stage not in self.done:
            stages = list(self.left)
            for earlier in stages[: stages.index(stage)]:  # they are over, whatever was foreseen
                self.left[earlier] = 0.0
            self.begun, self.stage, self.done[stage] = self.changed, stage, 0.0
        self.left[stage] = max(0.0, self.left[stage] - done)
        self.done[stage] += done
        if done:
            self.changed = now
            if self.done[stage] == done:
                self.first = (now, done)

    def seconds_left(self, now: float) -> float | None:
        """An estimate; none while nothing is done."""
        done, spent = sum(self.done.values()), self.changed - self.start
        if not done:
            return None
        own_done, own_spent = self.done[self.stage], self.changed - self.begun
        if not own_done:
            own_done, own_spent = done, spent
        elif self.changed - self.first[0] > self.first[0] - self.begun:
            own_done, own_spent = own_done - self.first[1], self.changed - self.first[0]
        own = self.left[self.stage]
        rest = sum(self.left.values()) - own
        return max(0.0, own * own_spent / own_done + rest * spent / done - (now - self.changed))


def duration(seconds: float) -> str:
    """A time in words, to two places: `3 h 20 min`."""
    for size, large, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(round(seconds / smaller), size // smaller)
            return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
    return f"{seconds:.0f} s"


def size(n: float) -> str:
    """Bytes in words: `3.1 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = next((i for i in range(len(units)) if n < 999.5 * 1000**i), len(units) - 1)
    return f"{n / 1000**power:.3g} {units[power]}"


def bar(share: float, width: int = 20) -> str:
    """A share from 0 to 1 as a bar, to an eighth of a character; what is not zero shows."""
    whole, eighths = divmod(max(round(8 * width * share), share > 0), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths] * (eighths > 0)


def lineage(origin: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a ticket came from, in words, as its file says; a part for each line."""
    found = []
    recipe = [(int(level), float(part)) for level, part in origin.get("recipe", ())]
    if "recipe" in origin:
        if not recipe:
            found.append(("recipe", "nothing mixed in: the target, recalibrated"))
        for n, (level, part) in enumerate(recipe):
            if mixes_in_turn(origin.get("method", "")):
                before = "so far" if n else f"level {origin.get('target')}"
                words = f"{part:.2f} · {before} + {1 - part:.2f} · level {level}"
            else:
                words = f"{'+ ' if n else ''}{part:.2f} · level {level}"
            found.append(("recipe" if n == 0 else "", words))
        rule = f"largest weights, {origin.get('scope')}" if origin.get("mask") == "magnitude" else origin.get("mask")
        found.append(("pruned back to", f"the target's density ({rule})"))
    if origin.get("score") is not None:
        score, before = origin["score"], origin["target_score"]
        kind = origin.get("scored_by", "accuracy")
        words = f"{kind} {score:.4f} on validation; the target, recalibrated: {before:.4f} ({score - before:+.4f})"
        if origin.get("optimism") is not None:
            words += f"; too good by about {origin['optimism']:.4f}, as the best of several"
        found.append(("score", words))
    elif origin.get("accuracy") is not None:
        found.append(("accuracy", f"{100 * origin['accuracy']:.2f} % on validation"))
    if "epoch" in origin:
        found.append(("epoch", f"{origin['epoch']} of its training"))
    if "train_images" in origin:
        searched = f", {origin['search_images']:,} forwarded in search" if "search_images" in origin else ""
        found.append(("cost", f"{origin['train_images']:,} images trained on{searched}"))
    mixed = {level for level, _ in recipe} | {origin.get("target")}
    for n, (level, digest) in enumerate(sorted(origin.get("parents", {}).items(), key=lambda item: int(item[0]))):
        role = " the target" if int(level) == origin.get("target") else " in the recipe" if int(level) in mixed else ""
        found.append(("parents" if n == 0 else "", f"level {level:>2} {digest}{role}"))
    if origin.get("candidates", ".") != ".":
        found.append(("candidates of", str(origin["candidates"])))
    if isinstance(model := origin.get("model"), Mapping):
        arguments = "".join(f", {key} {value}" for key, value in model.get("arguments", {}).items())
        shape = "×".join(map(str, model.get("input_shape", ())))
        found.append(("model", f"{model.get('name')}{arguments}; {model.get('classes')} classes of {shape} inputs"))
    run = [f"{key} {origin[key]}" for key in ("data", "seed", "config", "device", "threads") if key in origin]
    if run:
        found.append(("run", ", ".join(run)))
    return found


class _Log:
    """A log that other processes append to, read from where the last reading stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def skip(self) -> None:
        """Leave out what is there already."""
        self.offset = self.path.stat().st_size if self.path.exists() else 0

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


def _kept(before: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """What the next event of the same stage leaves out but a reader still wants: the last accuracy."""
    same = before.get("stage") == event.get("stage")
    return {"accuracy": before["accuracy"]} if same and before.get("accuracy") is not None else {}


def _lines(folders: Sequence[Path], latest: Mapping[Path, Mapping[str, Any]], most: int) -> Grid:
    """A line for each run that has begun; where there are too many, those at work and the last to change; a count."""
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
    if others := len(folders) - len(shown):
        lines.add_row(Text(f"and {others} {'waiting' if len(begun) == len(shown) else 'waiting or done'}"))
    return lines


def _state(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """What a run is doing, in words: stage, level, epoch, accuracy."""
    words = {**event, "stage": "trained" if event.get("stage") == "ticket" else event.get("stage")}
    stage = " ".join(str(words[key]) for key in ("stage", "method") if words.get(key)) or "waiting"
    level = f"level {event['level']}" if event.get("level") is not None else ""
    epoch = f"epoch {event['epoch']}/{event['epochs']}" if event.get("epoch") and event.get("epochs") else ""
    value, accuracy = event.get("accuracy"), ""
    if value is not None:  # a log-likelihood, of searches that compare by it, is below zero
        accuracy = f"{100 * value:.1f} %" if value >= 0 else f"{value:.3f} nats"
    elif event.get("loss") is not None:
        accuracy = f"loss {event['loss']:.3f}"
    return stage, level, epoch, accuracy

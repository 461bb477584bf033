"""Progress where there is no terminal, as in the log of a scheduler: a line a level, and few lines for the rest."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lottery_pools.reporting.pace import SETTLING, Pace
from lottery_pools.reporting.words import duration
from lottery_pools.runs.events import Line, followed

SECONDS_BETWEEN_LINES = 60.0
"""Least time between two lines of the stages that have no levels to report."""


@contextmanager
def lines(folders: Sequence[Path], work: Mapping[str, float]) -> Iterator[None]:
    """Print to standard error, while the body runs, how far the runs in `folders` are, as their logs tell.

    A line a trained level: run, level, density, accuracy if epochs are scored, time since the beginning, time left. Of
    other stages a line says that they begin, and one a minute how much is done. `work` is as `progress.watch` takes it.
    """
    teller = Teller(Pace(work, time.monotonic()))

    def receive(folder: Path, line: Line) -> None:
        text = teller.told(folder, line, time.monotonic())
        if text:
            print(text, file=sys.stderr, flush=True)

    with followed(folders, receive):
        yield


class Teller:
    """Makes lines of text from events: of every level, and of some of the other events."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.start = self.last = pace.start
        """When the work began, and when the last line was made, in seconds."""

    def told(self, folder: Path, line: Line, now: float) -> str | None:
        """The text of an event; None if there is nothing to say of it.

        Args:
            folder: The run in which it happened.
            line: The event, a line of the run's log.
            now: The time in seconds, of the clock by which the pace was begun.
        """
        stage_before, stage = self.pace.stage, str(line.get("stage"))
        self.pace.add(stage, line.get("done") or 0.0, now)
        if stage == "ticket":
            text = _level(folder, line)
        elif self.pace.stage not in ("training", stage_before) or (
            self.pace.stage != "training" and now - self.last > SECONDS_BETWEEN_LINES
        ):
            text = f"{stage}: {100 * self.pace.share:.0f} % of all the work is done"
        else:
            return None
        self.last = now
        seconds = self.pace.seconds_left(now)
        left = "" if seconds is None or now - self.start < SETTLING else f", about {duration(seconds)} left"
        return f"{text} ({duration(now - self.start)}{left})"


def _level(folder: Path, line: Line) -> str:
    """A trained level in words."""
    accuracy = line.get("accuracy")
    scored = "" if accuracy is None else f", accuracy {100 * accuracy:.1f} %"
    return f"{folder.name}: level {line['level']} trained, density {100 * line['density']:.3g} %{scored}"

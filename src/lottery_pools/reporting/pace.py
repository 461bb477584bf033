"""How far the work is, and how long the rest takes at the speeds measured so far."""

from __future__ import annotations

from collections.abc import Mapping

SETTLING = 10.0
"""Seconds until an estimate of the time left is shown: before, it would count the start of the workers as work."""


class Pace:
    """How much of the work is done, and how long the rest takes at the speeds measured so far.

    A unit of one stage takes another time than a unit of another: the stage under way is timed by itself, and the
    stages to come are timed by all that was done. A stage is timed from its beginning or, once it has gone on for
    longer than its first piece took, from the end of that piece: workers have to start first.
    """

    def __init__(self, work: Mapping[str, float], now: float) -> None:
        self.left = {stage: amount for stage, amount in work.items() if amount > 0}
        """Work left, by stage."""
        self.total = sum(self.left.values())
        self.stage = ""
        """The stage under way."""
        self.done = {"": 0.0}
        """Work done, by stage."""
        self.start = self.begun = self.changed = now
        """When the work, the stage under way, and the last piece of work to be finished began or ended, seconds."""
        self.first = (now, 0.0)
        """When the stage under way finished its first piece, and how much that was."""

    @property
    def share(self) -> float:
        """The share of all the work that is done, 0 to 1."""
        return 1 - sum(self.left.values()) / self.total if self.total else 0.0

    def add(self, stage: str, done: float, now: float) -> None:
        """Count what one event says is done."""
        if stage not in self.left:
            return
        if stage not in self.done:
            stages = list(self.left)
            for earlier in stages[: stages.index(stage)]:  # they are over, even if less was done than was planned
                self.left[earlier] = 0.0
            self.begun, self.stage, self.done[stage] = self.changed, stage, 0.0
        self.left[stage] = max(0.0, self.left[stage] - done)
        self.done[stage] += done
        if done:
            self.changed = now
            if self.done[stage] == done:
                self.first = (now, done)

    def seconds_left(self, now: float) -> float | None:
        """An estimate of the time left; None while nothing is done."""
        done, spent = sum(self.done.values()), self.changed - self.start
        if not done:
            return None
        stage_done, stage_spent = self.done[self.stage], self.changed - self.begun
        if not stage_done:
            stage_done, stage_spent = done, spent
        elif stage_done > self.first[1] and self.changed - self.first[0] > self.first[0] - self.begun:
            stage_done, stage_spent = stage_done - self.first[1], self.changed - self.first[0]
        stage_left = self.left[self.stage]
        later = sum(self.left.values()) - stage_left
        return max(0.0, stage_left * stage_spent / stage_done + later * spent / done - (now - self.changed))

"""Observers that write events into files of other software: TensorBoard, and the lines of JSON that W&B logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lottery_pools.errors import UserError, installing
from lottery_pools.runs.events import Event, Observer


class JsonLines:
    """Appends the numbers of every event to `history.jsonl` in the folder of its run, a line each.

    The lines are what Weights & Biases keeps of a run: numbers by name, with `_step`, `_timestamp` and `_runtime`
    (seconds). `wandb.log` takes each of them as it is.
    """

    def __init__(self) -> None:
        self._lines: dict[Path, int] = {}
        self._start: dict[Path, float] = {}

    def __call__(self, event: Event) -> None:
        """Write one event."""
        path = event.run / "history.jsonl"
        if path not in self._lines:
            before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            self._lines[path] = len(before)
            self._start[path] = json.loads(before[0])["_timestamp"] if before else event.time
        values: dict[str, Any] = {
            "_step": self._lines[path],
            "_timestamp": event.time,
            "_runtime": round(event.time - self._start[path], 3),
            "level": event.level,
            **event.metrics,
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        self._lines[path] += 1


class TensorBoard:
    """Writes the numbers of every event for TensorBoard, into the folder `tensorboard` in the folder of its run.

    Curves of training count epochs over all levels; all other curves have the level on their horizontal axis.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise UserError(f"TensorBoard is not installed: {installing('tensorboard')}") from None
        self._writers: dict[Path, Any] = {}

    def __call__(self, event: Event) -> None:
        """Write one event."""
        from torch.utils.tensorboard import SummaryWriter  # imported where it is needed: the command line has no torch

        if event.run not in self._writers:
            self._writers[event.run] = SummaryWriter(str(event.run / "tensorboard"))
        writer = self._writers[event.run]
        for name, value in event.metrics.items():
            writer.add_scalar(name, value, event.step, event.time)
        writer.flush()


OBSERVERS: dict[str, type[JsonLines] | type[TensorBoard]] = {"jsonl": JsonLines, "tensorboard": TensorBoard}
"""The observers that come with the package, by their names on the command line."""


def observers(names: tuple[str, ...]) -> tuple[Observer, ...]:
    """The observers of these names, each of `OBSERVERS`."""
    return tuple(OBSERVERS[name]() for name in names)

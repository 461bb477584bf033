"""Doing the tasks of a part, on the workers of a machine, with progress shown and observers told."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console

from lottery_pools.errors import UserError
from lottery_pools.experiment.plan import Part, Task
from lottery_pools.experiment.run import Run
from lottery_pools.reporting.plain_progress import lines
from lottery_pools.reporting.progress import watch
from lottery_pools.runs import ranks
from lottery_pools.runs.engine import Machine, Workers
from lottery_pools.runs.events import Observer, observed

Keep = Callable[[Task, Any], None]
"""What becomes of the result of a task."""


def do(part: Part, workers: Workers, keep: Keep | None = None) -> None:
    """Do the tasks of a part that are left, and give each result to `keep`, in the order of the tasks.

    The machine is shared out over all tasks, done or not: so a run that is continued computes the same bits.
    """
    if not part.left:
        return
    ranks.of_this_process().wait()  # all have the same plan before the first of them changes what it was made of
    machine = workers.machine
    processes, threads = machine.share(len(part.tasks)) if machine.cluster is None else (1, machine.threads)
    outcomes = workers.do(part.function, [task.arguments for task in part.left], processes, threads)
    for task, outcome in zip(part.left, outcomes, strict=True):
        if keep is not None:
            keep(task, outcome)
    ranks.of_this_process().wait()  # and all that the first has written is there for the others


def check_sendable(part: Part, machine: Machine) -> None:
    """Raise UserError where the tasks of a part cannot be sent to worker processes."""
    workers, _ = machine.share(len(part.tasks))
    if workers == 1 and machine.cluster is None:
        return
    try:
        pickle.dumps([task.arguments for task in part.tasks])
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"a method of your own cannot be sent to worker processes ({error}): "
            "define its functions at the top level of a module, not as lambdas, or give --workers 1"
        ) from error


@dataclass(frozen=True)
class Watching:
    """Who is told how the work goes on.

    Example:
        ```python
        stages.run(config, Path("runs/demo"), watching=Watching(observers=(print,)))
        ```
    """

    show: Literal["terminal", "everywhere", "nowhere"] = "terminal"
    """Where progress is shown on standard error: live in a terminal; everywhere, which is a line a level where there is
    no terminal; or nowhere."""
    observers: tuple[Observer, ...] = ()
    """What is told of every level, epoch, ticket, pool and row."""


IN_A_TERMINAL = Watching()


@contextmanager
def progress(
    runs: Sequence[Run],
    work: Callable[[], tuple[Sequence[Part], Mapping[str, float]]],
    watching: Watching = IN_A_TERMINAL,
) -> Iterator[None]:
    """Show progress and tell observers while the body runs.

    Args:
        runs: what is observed.
        work: says what is to be done, and how much the logs of the runs will count as done in each stage. It is only
            called where progress is shown, since it takes time to foresee the work.
        watching: where progress is shown, and who observes.
    """
    if not ranks.of_this_process().leads:
        yield
        return
    with observed([run.folder.path for run in runs], watching.observers):
        console = Console(stderr=True)
        if watching.show == "nowhere" or not (console.is_terminal or watching.show == "everywhere"):
            yield
            return
        parts, amounts = work()
        folders = list(dict.fromkeys(task.arguments[0].folder.path for part in parts for task in part.left))
        with watch(folders, amounts, console) if console.is_terminal else lines(folders, amounts):
            yield

"""Doing the tasks of a part, on the workers of a machine, with live progress in the terminal."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from lottery_pools.errors import UserError
from lottery_pools.experiment.plan import Part, Task
from lottery_pools.reporting.progress import watch
from lottery_pools.runs import engine
from lottery_pools.runs.engine import Machine

Keep = Callable[[Task, Any], None]
"""What becomes of the result of a task."""


def do(part: Part, machine: Machine, keep: Keep | None = None) -> None:
    """Do the tasks of a part that are left, and give each result to `keep`, in the order of the tasks.

    The machine is shared out over all tasks, done or not: so a run that is continued computes the same bits.
    """
    if not part.left:
        return
    workers, threads = machine.share(len(part.tasks))
    arguments = [task.arguments for task in part.left]
    outcomes = engine.run_tasks(part.function, arguments, workers, threads, machine.cluster, machine.deterministic)
    for task, outcome in zip(part.left, outcomes, strict=True):
        if keep is not None:
            keep(task, outcome)


def check_sendable(part: Part, machine: Machine) -> None:
    """Raise UserError where the tasks of a part cannot be sent to worker processes."""
    workers, _ = machine.share(len(part.tasks))
    if workers == 1 or machine.cluster is not None:
        return
    try:
        pickle.dumps([task.arguments for task in part.tasks])
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"a method of your own cannot be sent to worker processes ({error}): "
            "define its functions at the top level of a module, not as lambdas, or give --workers 1"
        ) from error


@contextmanager
def progress(work: Callable[[], tuple[Sequence[Part], Mapping[str, float]]]) -> Iterator[None]:
    """Show live progress while the body runs, where standard error is a terminal.

    Args:
        work: says what is to be done, and how much the logs of the runs will count as done in each stage. It is only
            called for a terminal, since it takes time to foresee the work.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    parts, amounts = work()
    folders = dict.fromkeys(task.arguments[0].folder.path for part in parts for task in part.left)
    with watch(list(folders), amounts, console):
        yield

"""The processes that `torchrun` started to share the work of one run, and which of them this process is.

All of them do the same in the same order, each on its part of the samples; only the first writes files. A process that
was not started so is alone, and everything here then does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from lottery_pools.errors import UserError


@dataclass
class Ranks:
    """The processes that share the work.

    Example:
        ```python
        if ranks.of_this_process().leads:
            print("told once, not by every process")
        ```
    """

    rank: int = 0
    """The number of this process among all, counted from 0."""
    size: int = 1
    """How many processes there are."""
    local: int = 0
    """The number of this process among those of its machine."""
    neighbours: int = 1
    """How many processes its machine has."""

    @property
    def alone(self) -> bool:
        """Whether this process does all of the work."""
        return self.size == 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here, so that what the first has written is there for the others."""
        if not self.alone:
            import torch

            torch.distributed.all_reduce(torch.zeros(1))  # on the CPU: a barrier would be one of GPUs

    @contextmanager
    def first_on_machine(self) -> Iterator[None]:
        """Do what is in the context in one process of each machine first, then in its others: what is cached is made
        once."""
        if self.local:
            self.wait()
        yield
        if not self.local:
            self.wait()


@cache
def of_this_process() -> Ranks:
    """The processes that share the work with this one; alone, until it has joined them (`join`)."""
    return Ranks()


def are_started() -> bool:
    """Whether `torchrun`, or another launcher that sets the same variables, started several processes."""
    return {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> Ranks:
    """Join the processes that `torchrun` started; where there are none, this process stays alone.

    The GPU of a process is that of its number on its machine.

    Raises:
        UserError: A machine has more processes than GPUs.
    """
    ranks = of_this_process()
    if not are_started() or not ranks.alone:
        return ranks
    import torch

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = int(os.environ.get("LOCAL_RANK", rank))
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise UserError(
                f"torchrun started {neighbours} processes on a machine with {torch.cuda.device_count()} GPUs: "
                "give --nproc-per-node the number of GPUs"
            )
        torch.cuda.set_device(local)
    torch.distributed.init_process_group()
    ranks.rank, ranks.size, ranks.local, ranks.neighbours = rank, size, local, neighbours
    return ranks


def leave() -> None:
    """Leave the processes that were joined."""
    ranks = of_this_process()
    if not ranks.alone:
        import torch.distributed

        torch.distributed.destroy_process_group()
        ranks.rank, ranks.size, ranks.local, ranks.neighbours = 0, 1, 0, 1

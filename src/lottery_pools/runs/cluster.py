"""The workers of a Dask cluster as an executor: each is set up for its tasks, and what goes wrong is said in words."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lottery_pools.errors import Notice, UserError, installing
from lottery_pools.runs import worker
from lottery_pools.version import VERSION

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where a worker is among those of its machine."""

    number: int
    """Its number, counted from 0."""
    neighbours: int
    """How many workers the machine has, itself included."""


@dataclass(frozen=True)
class Setup:
    """What a worker must know before its first task."""

    folder: Path
    """The current folder of the process that gives out the work: relative paths are below it."""
    threads: int | None
    """Threads of each task; none: the cores of a machine are shared out over its workers."""
    places: Mapping[str, Place]
    """The workers, by their addresses."""
    deterministic: bool = False
    """Whether workers use only kernels that give equal bytes."""
    version: str = VERSION
    """The version of this package that gives out the work."""


@contextlib.contextmanager
def connected(address: str, threads: int | None, deterministic: bool = False) -> Iterator[tuple[Executor, Setup]]:
    """Connect to a Dask scheduler for as long as the context is open.

    Args:
        address: Of the scheduler.
        threads: Threads of each task; none: the cores of each machine are shared out over its workers.
        deterministic: Whether workers use only kernels that give equal bytes.

    Yields:
        An executor, and what is to be given to `at_worker` with each task.

    Raises:
        UserError: Dask is not installed, the scheduler does not answer or goes away, or several workers died at the
            same task.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise UserError(f"a Dask cluster needs the extra `cluster`: {installing('cluster')}") from None
    try:
        client = Client(address)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise UserError(f"no Dask scheduler answers at {address} ({error}): correct --cluster") from error
    with client:
        places = _places(client.scheduler_info(n_workers=-1)["workers"])
        if not places:
            warnings.warn(f"the scheduler at {address} has no workers yet: the work waits for them", Notice, 2)
        try:
            # Not `pure`: a task that is given out twice, as those that measure the speed are, is done twice.
            yield client.get_executor(pure=False), Setup(Path.cwd(), threads, places, deterministic)  # type: ignore[no-untyped-call]
        except KilledWorker as error:
            raise UserError(
                f"{error.allowed_failures + 1} workers of the cluster died at the same task, perhaps for want of "
                "memory: what was finished is kept, see their logs, then run the same again"
            ) from error
        except CancelledError as error:
            raise UserError(
                f"the scheduler at {address} went away: what was finished is kept, start it, then run the same again"
            ) from error


def _places(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, Place]:
    """The place of each worker on its machine, in the order of their addresses."""
    neighbours = Counter(str(info["host"]) for info in workers.values())
    numbers: Counter[str] = Counter()
    places = {}
    for address in sorted(workers):
        host = str(workers[address]["host"])
        places[address] = Place(numbers[host], neighbours[host])
        numbers[host] += 1
    return places


def packed(function: Callable[..., T], arguments: tuple[Any, ...]) -> bytes:
    """One task as bytes, so that the scheduler, which looks into what it hands on, need not import what it is of."""
    return pickle.dumps((function, arguments))


def at_worker(setup: Setup, task: bytes) -> Any:
    """Do one task in a worker of the cluster, which is set up for it first.

    Args:
        setup: What the worker must know.
        task: The task, as `packed` made it.

    Returns:
        What the function of the task returns.

    Raises:
        UserError: The worker has another version of this package, does several tasks at once, or does not see the
            folder in which the work was given out.
    """
    from distributed import get_worker

    this = get_worker()
    where = f"the Dask worker {this.address} on {socket.gethostname()}"
    if setup.version != VERSION:
        raise UserError(f"{where} has lottery-pools {VERSION}, not {setup.version}: install the same one")
    if this.state.nthreads != 1:
        raise UserError(
            f"{where} does {this.state.nthreads} tasks at once, which share their random numbers: "
            "start it with --nthreads 1 (and --nworkers for several)"
        )
    try:
        os.chdir(setup.folder)
    except OSError as error:
        raise UserError(
            f"{where} does not see the folder {setup.folder} ({error.strerror}): start the command in a folder that "
            "all machines see under the same path"
        ) from error
    # A worker that joined later, as one does that takes the place of another, is not among those that were known.
    known = setup.places.get(this.address)
    number = zlib.crc32(this.address.encode()) if known is None else known.number
    neighbours = (
        known.neighbours if known is not None else max((p.neighbours for p in setup.places.values()), default=1)
    )
    worker.prepare(setup.threads or max(1, worker.cores() // neighbours), setup.deterministic)
    worker.use_gpu(number)
    function, arguments = pickle.loads(task)
    return function(*arguments)

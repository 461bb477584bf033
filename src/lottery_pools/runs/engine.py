"""Independent tasks, done by this process, by several, or by a Dask cluster; results come in the order of the tasks."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lottery_pools.config.fields import Rare
from lottery_pools.errors import UserError
from lottery_pools.runs import cluster as dask
from lottery_pools.runs import ranks
from lottery_pools.runs.worker import cores, gpus, prepare, use_gpu

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized
    from types import TracebackType

    import torch

__all__ = ["Machine", "Workers", "cores", "prepare", "run_tasks"]

T = TypeVar("T")


def _most_threads() -> int:
    """The threads that a process may have by the variable OMP_NUM_THREADS; as many as there are cores where it is not
    set, or is no number."""
    first, *_ = os.environ.get("OMP_NUM_THREADS", "").split(",")  # OpenMP allows a list: the first is the outer level
    return int(first) if first.strip().isdecimal() and int(first) > 0 else cores()


def _share_of_cores(processes: int) -> int:
    """The threads of each of so many processes."""
    return max(1, min(cores() // processes, _most_threads()))


@dataclass(frozen=True)
class Machine:
    """Where the work is done, and how it is spread over processes.

    The number of workers changes only how long the work takes. The device and the number of threads also change the
    order in which numbers are added, and so the last digits of results.

    Raises:
        UserError: `workers` or `threads` is below 1.

    Examples:
        >>> Machine(device="cpu", workers=2, threads=4).share(tasks=10)
        (2, 4)
    """

    device: str = "auto"
    """Device that computes: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`, the best there is."""
    workers: int | None = None
    """Number of processes that work side by side; none: as many as there are tasks and processor cores, or GPUs."""
    threads: Rare[int | None] = None
    """Number of threads of each process; none: the processor cores of a machine are shared out over its workers, up to
    $OMP_NUM_THREADS for each process where that is set."""
    deterministic: Rare[bool] = False
    """Use only GPU kernels that give equal bytes in two runs on one machine, which is slower; CPUs always do."""
    cluster: Rare[str | None] = None
    """Address of a Dask scheduler whose workers do the work; none: local processes do it."""

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} is {value}: give 1 or more, or leave it out")
        if ranks.are_started() and (self.cluster is not None or (self.workers or 1) > 1):
            raise UserError("torchrun shares the work of each task: leave --workers and --cluster away")

    def torch_device(self) -> torch.device:
        """Return the device, `auto` resolved.

        Raises:
            UserError: PyTorch does not know the device, or this machine does not have it.
        """
        import torch

        if self.device == "auto":
            best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
            return torch.device(best)
        try:
            device = torch.device(self.device)
            torch.zeros(1, device=device).item()  # fails on `meta`, which holds no values
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"--device {self.device} cannot be used here ({reason}): try --device cpu") from error
        return device

    def share(self, tasks: int) -> tuple[int, int]:
        """Return the number of processes, and of threads of each, for a number of tasks.

        Args:
            tasks: All tasks of the work, those included that an earlier call has finished: a run that is continued
                must use as many threads as before to compute the same digits.
        """
        shared = ranks.of_this_process()
        if not shared.alone:
            return 1, self.threads or _share_of_cores(shared.neighbours)
        device = self.torch_device()
        if device.type == "cpu":
            side_by_side = cores()
        else:  # one for each GPU, unless a certain one is named
            side_by_side = gpus() if device.type == "cuda" and device.index is None else 1
        workers = self.workers or max(1, min(side_by_side, tasks))
        return workers, self.threads or _share_of_cores(workers)

    @property
    def device_of_runs(self) -> str:
        """The device by the name that runs are given: `auto` stays for a cluster, where each worker has its best."""
        return self.device if self.cluster is not None and self.device == "auto" else str(self.torch_device())


class Workers:
    """What does the tasks of several parts of the work in turn: this process, local processes, or a Dask cluster.

    Local processes are started with the first part that needs them. They stay for the parts that follow, since a new
    process takes seconds until it has imported PyTorch and read the data; a part that is shared out over another number
    of processes or threads starts new ones. If the context ends with an exception, they are stopped at once: what they
    have finished is on disk. A cluster's workers finish what they are working on.

    Args:
        machine: Where the work is done. The workers of a cluster must see the same files.

    Example:
        ```python
        with Workers(Machine("cpu")) as workers:
            tickets = list(workers.do(train, [(seed,) for seed in range(4)], workers=2, threads=1))
            pools = list(workers.do(pool, [(ticket,) for ticket in tickets], workers=2, threads=1))
        ```
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._held = contextlib.ExitStack()
        self._local: tuple[tuple[int, int], Executor] | None = None  # the processes and threads, and what runs them

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._local = None
        self._held.__exit__(kind, error, trace)

    def do(
        self, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], workers: int, threads: int | None
    ) -> Iterator[T]:
        """Call `function(*task)` for every task, and yield the results in the order of the tasks.

        Args:
            function: What does one task; a function of a module, so that other processes can import it.
            tasks: The arguments of each call.
            workers: Processes that work at the same time; a single one is this process. A cluster has its own number.
            threads: Threads of each process; none: the cores of each machine are shared out over its workers.

        Raises:
            UserError: The scheduler does not answer, or a process was killed.
        """
        if self.machine.cluster is not None:
            with dask.connected(self.machine.cluster, threads, self.machine.deterministic) as (executor, setup):
                yield from _in_order(
                    [executor.submit(dask.at_worker, setup, dask.packed(function, task)) for task in tasks]
                )
            return
        threads = threads or _share_of_cores(workers)
        if workers == 1:
            prepare(threads, self.machine.deterministic)
            for task in tasks:
                yield function(*task)
            return
        executor = self._processes(workers, threads)
        try:
            yield from _in_order([executor.submit(function, *task) for task in tasks])
        except BrokenExecutor as error:
            raise UserError(
                "a worker process was killed, perhaps for want of memory: what was finished is kept, "
                "run the same again with fewer --workers"
            ) from error

    def _processes(self, workers: int, threads: int) -> Executor:
        """The local processes: those of the part before, unless their number or their threads are others."""
        if self._local is not None and self._local[0] == (workers, threads):
            return self._local[1]
        self._held.close()
        executor = self._held.enter_context(_started(workers, threads, self.machine.deterministic))
        self._local = (workers, threads), executor
        return executor


def run_tasks(
    function: Callable[..., T],
    tasks: Sequence[tuple[Any, ...]],
    workers: int,
    threads: int | None,
    cluster: str | None = None,
) -> Iterator[T]:
    """As `Workers.do`, for a single part of the work: processes that this starts end with it."""
    with Workers(Machine(cluster=cluster)) as started:
        yield from started.do(function, tasks, workers, threads)


def _in_order(futures: Sequence[Future[T]]) -> Iterator[T]:
    for future in futures:
        yield future.result()


@contextlib.contextmanager
def _started(workers: int, threads: int, deterministic: bool) -> Iterator[Executor]:
    """Local processes; if the context ends with an exception, they are stopped at once."""
    children_before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    started = context.Value("i", 0)
    setup = (threads, deterministic, started)
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=setup)
    try:
        yield executor
    except BaseException:
        for process in set(multiprocessing.active_children()) - children_before:
            process.terminate()
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def _start_worker(threads: int, deterministic: bool, started: Synchronized[int]) -> None:
    """Set up a worker process: it leaves Ctrl-C to its parent, and ends when the parent ends or is killed.

    Args:
        threads: Threads of the process.
        deterministic: Whether it uses only kernels that give equal bytes.
        started: How many workers were set up before it, which numbers the GPUs that they use.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
    prepare(threads, deterministic)
    with started.get_lock():
        number = started.value
        started.value += 1
    use_gpu(number)

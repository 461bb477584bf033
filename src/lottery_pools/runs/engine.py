"""Independent tasks on local processes or on a Dask cluster; results come back in the order of the tasks."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lottery_pools.config.fields import Rare
from lottery_pools.errors import UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Machine:
    """Where the work is done; this changes how long it takes, and (device, threads) the last bits of the results."""

    device: str = "auto"
    """Device that computes: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`, the best there is."""
    workers: int | None = None
    """Number of processes that work side by side; none: as many as there are tasks and processor cores (one on a
    GPU)."""
    threads: Rare[int | None] = None
    """Number of threads of each process; none: the processor cores are shared out."""
    cluster: Rare[str | None] = None
    """Address of a Dask scheduler whose workers do the work; none: local processes do it."""

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} is {value}: give 1 or more, or leave it out")

    def torch_device(self) -> torch.device:
        """The device; raises UserError where this machine does not have it."""
        import torch

        if self.device == "auto":
            best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
            return torch.device(best)
        try:
            device = torch.device(self.device)
            torch.zeros(1, device=device).item()  # which `meta` has not
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"--device {self.device} cannot be used here ({reason}): try --device cpu") from error
        return device

    def share(self, tasks: int) -> tuple[int, int]:
        """(workers, threads of each) for so many tasks, done or not: a run continued computes the same bits."""
        workers = self.workers or (1 if self.torch_device().type != "cpu" else max(1, min(cores(), tasks)))
        return workers, self.threads or max(1, cores() // workers)


def each(
    function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], workers: int, threads: int, cluster: str | None = None
) -> Iterator[T]:
    """Yield `function(*task)` for every task, in their order.

    One worker works in this process, several in processes of their own with `threads` threads each; `cluster` is the
    address of a Dask scheduler whose workers see the same files. Where a task raises, so does this, and the tasks
    under way are stopped: whatever they finished is on disk.
    """
    if cluster is None and workers == 1:
        prepare(threads)
        for task in tasks:
            yield function(*task)
        return
    with _executor(workers, threads, cluster) as executor:
        try:
            futures = [executor.submit(function, *task) for task in tasks]
            for future in futures:
                yield future.result()
        except BrokenExecutor as error:
            raise UserError(
                "a worker process was killed, perhaps for want of memory: what was finished is kept, "
                "run the same again with fewer --workers"
            ) from error


@contextlib.contextmanager
def _executor(workers: int, threads: int, cluster: str | None) -> Iterator[Executor]:
    if cluster is not None:
        try:
            from distributed import Client
        except ImportError:
            raise UserError("a Dask cluster needs the extra `cluster`: pip install 'lottery-pools[cluster]'") from None
        try:
            client = Client(cluster)
        except OSError as error:
            raise UserError(f"no Dask scheduler answers at {cluster} ({error}): mend --cluster") from error
        with client:
            yield client.get_executor()
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(threads,))
    try:
        yield executor
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def _start_worker(threads: int) -> None:
    """Leave Ctrl-C to the parent, and go when the parent goes, even where it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    prepare(threads)


def prepare(threads: int) -> None:
    """Set this process up for the work: its threads, and memory that is freed is kept for the next forward pass.

    By default glibc gives large blocks back to the system at once and takes them anew, page by page: a third of the
    time of a small network's forward pass (docs/decisions.md). Other C libraries have no such call and are left alone.
    """
    import torch

    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 256 << 20)

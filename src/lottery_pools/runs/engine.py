"""Independent tasks, done by this process, by several, or by a Dask cluster; results come in the order of the tasks."""

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

# The options of glibc's mallopt, from its header malloc.h, and the sizes in bytes that `prepare` sets them to.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 256 << 20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 32 << 20


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _most_threads() -> int:
    """The threads that a process may have by the variable OMP_NUM_THREADS; as many as there are cores where it is not
    set, or is no number."""
    first, *_ = os.environ.get("OMP_NUM_THREADS", "").split(",")  # OpenMP allows a list: the first is the outer level
    return int(first) if first.strip().isdecimal() and int(first) > 0 else cores()


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
    """Number of processes that work side by side; none: as many as there are tasks and processor cores (one on a
    GPU)."""
    threads: Rare[int | None] = None
    """Number of threads of each process; none: the processor cores are shared out, up to $OMP_NUM_THREADS for each
    process where that is set."""
    deterministic: Rare[bool] = False
    """Use only GPU kernels that give equal bytes in two runs on one machine, which is slower; CPUs always do."""
    cluster: Rare[str | None] = None
    """Address of a Dask scheduler whose workers do the work; none: local processes do it."""

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} is {value}: give 1 or more, or leave it out")

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
        workers = self.workers or (1 if self.torch_device().type != "cpu" else max(1, min(cores(), tasks)))
        return workers, self.threads or max(1, min(cores() // workers, _most_threads()))


def run_tasks(
    function: Callable[..., T],
    tasks: Sequence[tuple[Any, ...]],
    workers: int,
    threads: int,
    cluster: str | None = None,
    deterministic: bool = False,
) -> Iterator[T]:
    """Call `function(*task)` for every task, and yield the results in the order of the tasks.

    If a task raises an exception, so does this, and the tasks that other processes are working on are stopped: what
    they have finished is on disk.

    Args:
        function: What does one task; a function of a module, so that other processes can import it.
        tasks: The arguments of each call.
        workers: Processes that work at the same time; a single one is this process.
        threads: Threads of each process. Dask's workers keep their own number.
        cluster: Address of a Dask scheduler to use instead of local processes; its workers must see the same files.
        deterministic: As `Machine.deterministic`; Dask's workers keep their own setting.

    Raises:
        UserError: The scheduler does not answer, or a process was killed.
    """
    if cluster is None and workers == 1:
        prepare(threads, deterministic)
        for task in tasks:
            yield function(*task)
        return
    with _dask(cluster) if cluster is not None else _processes(workers, threads, deterministic) as executor:
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
def _dask(address: str) -> Iterator[Executor]:
    """The workers of the Dask scheduler at `address`."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError("a Dask cluster needs the extra `cluster`: pip install 'lottery-pools[cluster]'") from None
    try:
        client = Client(address)
    except OSError as error:
        raise UserError(f"no Dask scheduler answers at {address} ({error}): correct --cluster") from error
    with client:
        yield client.get_executor()


@contextlib.contextmanager
def _processes(workers: int, threads: int, deterministic: bool) -> Iterator[Executor]:
    """Local processes; if the context ends with an exception, they are stopped at once."""
    children_before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(threads, deterministic))
    try:
        yield executor
    except BaseException:
        for process in set(multiprocessing.active_children()) - children_before:
            process.terminate()
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def _start_worker(threads: int, deterministic: bool) -> None:
    """Set up a worker process: it leaves Ctrl-C to its parent, and ends when the parent ends or is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
    prepare(threads, deterministic)


def prepare(threads: int, deterministic: bool = False) -> None:
    """Set up this process for the work: its threads, its kernels, and that it keeps the memory that is freed.

    By default, glibc returns large blocks to the operating system at once and requests them again page by page, which
    takes a third of the time of a small network's forward pass (docs/decisions.md). Other C libraries have no such
    setting; there, nothing is changed.
    """
    import torch

    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(True, warn_only=True)  # names the operations that are not
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)

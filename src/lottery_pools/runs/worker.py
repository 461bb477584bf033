"""Setting up a process for the work: its threads, its memory, and its GPU where there are several."""

from __future__ import annotations

import ctypes
import os

# The options of glibc's mallopt, from its header malloc.h, and the sizes in bytes that `prepare` sets them to.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 256 << 20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 32 << 20


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def gpus() -> int:
    """Return the number of CUDA GPUs that this process sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def use_gpu(number: int) -> None:
    """Let the device `cuda` be one of the GPUs that this process sees: that of a number, counted on in a circle.

    Workers that see the same GPUs are so spread over them. Without GPUs, nothing is changed; nor is it for a worker
    that is told a GPU by its name, such as `cuda:1`.
    """
    if count := gpus():
        import torch

        torch.cuda.set_device(number % count)

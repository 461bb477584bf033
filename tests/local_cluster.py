"""A Dask cluster on this machine, in processes of its own: a scheduler and workers that do one task at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lottery_pools.errors import UserError

_SCRIPT = """
import json, os, sys
import dask
from distributed import Client, LocalCluster

dask.config.set({"distributed.scheduler.allowed-failures": 1})  # a task is given up when it has killed two workers

if __name__ == "__main__":
    workers = int(sys.argv[1])
    with LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        with Client(cluster) as client:
            pids = list(client.run(os.getpid).values())
        print(json.dumps({"address": cluster.scheduler_address, "pids": pids}), flush=True)
        sys.stdin.read()
"""


@dataclass(frozen=True)
class LocalCluster:
    """A cluster that is at work."""

    address: str
    """Of the scheduler."""
    pids: tuple[int, ...]
    """The processes of the workers. If one is killed, another takes its place."""


@contextmanager
def local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Start a cluster of so many workers; it ends with the context."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what Dask says of the workers that the tests kill
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            answer = json.loads(process.stdout.readline())
            yield LocalCluster(answer["address"], tuple(answer["pids"]))
        finally:
            process.communicate()


def threads_and_folder() -> tuple[int, str]:
    """A task: the threads and the current folder of the process that does it."""
    import torch

    return torch.get_num_threads(), str(Path.cwd())


def die() -> None:
    """A task that kills the process that does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    """A task that ends with a mistake of the user."""
    raise UserError("the loss is NaN: lower training.lr")

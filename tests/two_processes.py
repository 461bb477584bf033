"""What each of two processes does that share the work of a run, as `torchrun` would start them; run as a program."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

from lottery_pools.config import toml
from lottery_pools.experiment import stages
from lottery_pools.runs import ranks
from lottery_pools.runs.engine import Machine

ONE_THREAD = Machine("cpu", workers=1, threads=1)


def start(*arguments: str, size: int = 2) -> None:
    """Start processes that run this module, and wait until they end; all of them must end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = []
    for rank in range(size):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.two_processes", *arguments]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)


def main(settings: Path, out: Path, machine: Machine = ONE_THREAD) -> None:
    """Do the whole work of the settings in the folder `out`."""
    warnings.simplefilter("error")
    config = toml.read_toml(settings)
    stages.tickets(config, out, machine)
    stages.pool(config, out, machine)
    stages.evaluate(config, out, machine)


if __name__ == "__main__":
    ranks.join()
    main(Path(sys.argv[1]), Path(sys.argv[2]), Machine(sys.argv[3] if len(sys.argv) > 3 else "cpu", 1, 1))
    ranks.leave()

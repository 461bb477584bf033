"""Pooling by one worker of a Dask cluster beside two: the same tickets and 8 targets, in turns, in one run.

A cluster of each size is started on this machine, its workers import the package and load the data, and then the time
counts. A machine that does other work gives each worker a smaller share of it: compare within a round.

    python -m benchmarks.cluster --rounds 3
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from lottery_pools.config import toml, variants
from lottery_pools.config.schema import Config
from lottery_pools.experiment import opening, stages
from lottery_pools.experiment.run import Run
from lottery_pools.runs.engine import Machine, run_tasks

TARGETS = 8
"""Tickets, of which each is a target."""


def settings(images: int) -> Config:
    """A quick experiment: `TARGETS` tickets on MNIST-1D, whose pools are searched for on so many validation samples."""
    config = variants.scaled(toml.preset("demo"), 2)
    return dataclasses.replace(
        config,
        seeds=(0,),
        data=dataclasses.replace(config.data, validation=images),
        pruning=dataclasses.replace(config.pruning, levels=TARGETS - 1),
        pooling=dataclasses.replace(config.pooling, methods=("interpolation",)),
    )


def load(run: Run, turn: int) -> int:
    """Load what a worker needs before its first task; `turn` tells the tasks apart."""
    run.network()
    return turn


def seconds_to_pool(config: Config, out: Path, workers: int) -> float:
    """How long a cluster of so many workers takes for all targets of the experiment in `out`."""
    from distributed import LocalCluster

    shutil.rmtree(out / "pools", ignore_errors=True)
    with LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:  # type: ignore[no-untyped-call]
        machine = Machine("cpu", threads=1, cluster=cluster.scheduler_address)
        runs = opening.resolve(config, out, machine).runs
        list(run_tasks(load, [(runs[0], turn) for turn in range(4 * workers)], workers, 1, machine.cluster))
        start = time.perf_counter()
        stages.pool(config, out, machine)
        return time.perf_counter() - start


def main() -> None:
    """Time both clusters in turns and print how much faster two workers are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times that each cluster pools")
    parser.add_argument("--images", type=int, default=3000, help="validation samples of the search")
    options = parser.parse_args()
    config = settings(options.images)
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        stages.tickets(config, out, Machine("cpu", workers=1, threads=1))
        for turn in range(options.rounds):
            alone, both = seconds_to_pool(config, out, 1), seconds_to_pool(config, out, 2)
            ratios.append(alone / both)
            print(
                f"round {turn + 1}: one worker {alone:.1f} s, two workers {both:.1f} s: {ratios[-1]:.2f} times as fast"
            )
    print(f"two workers are {statistics.median(ratios):.2f} times as fast as one (median of {options.rounds})")


if __name__ == "__main__":
    main()

"""Decoding an image set on one process and on several, and what that leaves to do for more cores.

Beside the seconds, the processor time of the process that hands out the work and of those that decode is measured: on a
machine that does other work, it says more. What the first spends overlaps with the decoding, but no number of cores
makes it shorter.

    python -m benchmarks.decoding --data path/to/cifar100 --processes 1 2
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import dataclass

from lottery_pools.config import schema
from lottery_pools.data import images
from lottery_pools.runs import engine


@dataclass(frozen=True)
class Times:
    """Seconds that decoding took."""

    wall: float
    in_process: float
    """Processor time of the process that hands out the work."""
    others: float
    """Processor time of the processes that decode."""


def decoded(data: schema.Data, processes: int) -> Times:
    """Decode a set into an empty cache."""
    usual = engine.cores
    engine.cores = lambda: processes
    before, start, in_process = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), time.process_time()
    try:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["LOTTERY_POOLS_CACHE"] = cache
            images.load(data)
    finally:
        engine.cores = usual
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Times(time.perf_counter() - start, time.process_time() - in_process, others)


def main() -> None:
    """Print the times of each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="what `data.name` may be")
    parser.add_argument("--label-column", help="as `data.label_column`")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1, help="times that each number is tried")
    options = parser.parse_args()
    data = schema.Data(name=options.data, label_column=options.label_column)
    for _ in range(options.rounds):
        for processes in options.processes:
            took = decoded(data, processes)
            busy = took.in_process + took.others
            share = f", {took.in_process / busy:.0%} of it by the first" if took.others else ""
            print(f"{processes} processes: {took.wall:.1f} s; processor time {busy:.1f} s{share}", flush=True)


if __name__ == "__main__":
    main()

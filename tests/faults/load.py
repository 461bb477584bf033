"""Load: many tickets, many rows, many runs; what they take of time and memory, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lottery_pools.config import schema, toml
from lottery_pools.experiment import report, stages
from lottery_pools.runs import results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import Row, pack_hits
from tests.faults.mutations import peak_megabytes

ONE = Machine(device="cpu", workers=1, threads=1)
MOST_MEGABYTES = 300
"""What reading a file may take beyond three times its size."""


def many_tickets(folder: Path, tickets: int) -> dict[str, Any]:
    """Train so many tickets of a small network, pool each, measure, and make the report."""
    config = toml.preset("demo")
    config = replace(
        config,
        name="many tickets",
        seeds=(0,),
        data=replace(config.data, train=200, validation=50, test=100),
        model=schema.Model("conv1d", {"width": 4, "depth": 2}),
        training=replace(config.training, epochs=1, batch=100, warmup=0),
        pruning=replace(config.pruning, levels=tickets - 1, rate=0.02, rewind=0),
        pooling=replace(config.pooling, methods=("average", "trimmed-soup"), selection=50, recalibration=50),
    )
    stages.run(config, folder, ONE)
    run = RunFolder(folder)
    pools = len(list(folder.glob("pools/*/level_*.safetensors")))
    return {"tickets": len(list(run.path.glob("tickets/level_*.safetensors"))), "pools": pools}


def many_rows(folder: Path, rows: int) -> dict[str, Any]:
    """Write a run of so many rows, and make its report."""
    count = write_rows(folder, rows)
    size = RunFolder(folder).results.stat().st_size / (1 << 20)
    started = peak_megabytes()
    report.make(folder)
    return {"rows": count, "file_megabytes": size, "beyond_megabytes": peak_megabytes() - started - 3 * size}


def many_runs(folder: Path, runs: int) -> dict[str, Any]:
    """Write so many runs, and compare them on one page."""
    for number in range(runs):
        write_rows(folder / str(number), 400, f"run {number}")
    page, reports = report.compare([folder / str(number) for number in range(runs)], folder / "comparison.html")
    return {"runs": len(reports), "page_megabytes": page.stat().st_size / (1 << 20)}


def write_rows(folder: Path, rows: int, name: str = "many rows") -> int:
    """Write the settings and about so many rows of a run that was measured under corruption; returns how many."""
    folder.mkdir(parents=True)
    config = toml.preset("demo")
    levels = min(100, max(2, rows // 400))
    corruptions, methods = max(1, round(rows / levels / 4 / 5)), ("ticket", "recalibrated", "admissible", "average")
    config = replace(config, name=name, seeds=(0,), pruning=replace(config.pruning, levels=levels - 1, rate=0.02))
    (folder / "config.toml").write_text(toml.to_toml(config), encoding="utf-8")
    draws, count = np.random.default_rng(0), 0
    conditions = [("none", 0), *((f"noise {n}", severity) for n in range(corruptions) for severity in range(1, 6))]
    for level in range(levels):
        batch = []
        for method in methods:
            for split, (corruption, severity) in [("validation", conditions[0]), *(("test", c) for c in conditions)]:
                hits = draws.random(40) < 0.6
                batch.append(_row(name, method, level, split, corruption, severity, hits))
        results.append(RunFolder(folder).results, batch)
        count += len(batch)
    return count


def _row(name: str, method: str, level: int, split: str, corruption: str, severity: int, hits: Any) -> Row:
    n, correct = len(hits), int(hits.sum())
    return Row(
        name, 0, method, level, 0.98**level, split, corruption, severity, n, correct, 1.25, correct / n, 0.1, level,
        1000, 0, 1000, pack_hits(hits),
    )  # fmt: skip


LOADS: dict[str, tuple[Callable[[Path, int], dict[str, Any]], int]] = {
    "rows": (many_rows, 1_000_000),
    "runs": (many_runs, 12),
    "tickets": (many_tickets, 100),
}
"""What is done, and how often."""


def measured(load: str, folder: Path, size: int | None = None) -> dict[str, Any]:
    """Do one of `LOADS` in a process of its own: what it says, its seconds of processor time and its peak in MB."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.load", load, str(folder)]
    done = subprocess.run([*command, str(size or LOADS[load][1])], capture_output=True, text=True)
    if done.returncode:
        return {"failure": done.stderr[-2000:]}
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def main() -> None:
    """In the process of its own."""
    name, folder, size = sys.argv[1:]
    torch.set_num_threads(1)
    started = time.process_time()
    value = LOADS[name][0](Path(folder), int(size))
    print(json.dumps({**value, "seconds": time.process_time() - started, "megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main()

"""How much of measuring a network under corruption is spent in the network: the 15 corruptions, made once and cached.

python -m benchmarks.evaluation --data path/to/cifar100 --images 1000
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from torch import nn

from lottery_pools.config.schema import Data, Evaluation, Training
from lottery_pools.data import shifts, sources
from lottery_pools.evaluation.evaluate import evaluate
from lottery_pools.models import registry
from lottery_pools.runs import engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of parquet files of CIFAR-100")
    parser.add_argument("--images", type=int, default=1000, help="test images that are corrupted")
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 3, 5])
    options = parser.parse_args()
    engine.prepare(engine.cores())
    data, evaluation = Data(options.data), Evaluation(corrupted=options.images)
    dataset = sources.load(data)
    model = registry.build("resnet20", {}, 100, (3, 32, 32), seed=0)
    spent = {"network": 0.0, "since": 0.0}

    def before(module: nn.Module, inputs: Any) -> None:
        spent["since"] = time.perf_counter()

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        spent["network"] += time.perf_counter() - spent["since"]

    model.register_forward_pre_hook(before)
    model.register_forward_hook(after)
    cells = [(name, severity) for name in shifts.names(data, ("common",)) for severity in options.severities]

    def measure_all() -> float:
        spent["network"], start = 0.0, time.perf_counter()
        for name, severity in cells:
            split = shifts.shifted(dataset, data, evaluation, name, severity)
            evaluate(model, dataset, split, Training(precision="bfloat16"))
        return time.perf_counter() - start

    start = time.perf_counter()
    for name, severity in cells:
        shifts.shifted(dataset, data, evaluation, name, severity)
    print(f"corrupting {len(cells)} × {options.images} images, once: {time.perf_counter() - start:.1f} s")
    for _ in range(3):
        total = measure_all()
        print(f"measuring one network on them: {total:.1f} s, {spent['network'] / total:.0%} of it in the network")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("LOTTERY_POOLS_CACHE", str(Path(cache)))
        main()

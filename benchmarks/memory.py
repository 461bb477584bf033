"""Peak memory of pooling 20 tickets of a ResNet-50, in tickets, over an interpreter that has imported torch.

    python -m benchmarks.memory

Each method runs in a process of its own, on one thread, for a dense target, whose soup loses tickets, and for the
sparsest, whose soup takes denser ones in. The score only reads the weights: a network's own activations
are the user's, not the search's. Needs 2.2 GB of disk for a while.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from lottery_pools.models import registry
from lottery_pools.pooling.methods import METHODS
from lottery_pools.pooling.pool import pool
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.ticket import Ticket, snapshot

METHODS_MEASURED = ("trimmed-soup", "average", "interpolation", "greedy-soup")


def peak() -> float:
    """The most resident memory that this process has had, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def write(folder: Path, count: int, width: int) -> None:
    """`count` tickets, each pruned from the last by a fifth, at random."""
    model = registry.build("resnet50", {"width": width}, 1000, (3, 224, 224), 0)
    weights = snapshot(model)
    mask = masks.dense(weights, registry.prunable(model, "convolutions+linear"))
    for level in range(count):
        files.save(Ticket(masks.apply(weights, mask), mask, level), folder / f"level_{level:02d}.safetensors")
        keep = int(masks.count(mask)[0] * 0.8)
        mask = masks.prune(masks.random_scores(mask, generator(0, "memory", level)), mask, keep)


def measure(folder: Path, method: str, target: int, width: int) -> None:
    """Pool the tickets of a folder and print by how many tickets memory peaked over what torch alone takes."""
    torch.set_num_threads(1)
    torch.zeros(1).add_(1)
    before = peak()
    model = registry.build("resnet50", {"width": width}, 1000, (3, 224, 224), 0)
    ticket = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    tickets = [files.load(path, model) for path in sorted(folder.glob("*.safetensors"))]
    rising = iter(range(10**6))

    def loss(model: torch.nn.Module) -> torch.Tensor:
        return torch.stack([parameter.square().mean() for parameter in model.parameters()]).mean()

    def score(model: torch.nn.Module) -> float:
        return float(next(rising))

    limit = 8 if METHODS[method].stops_early else None
    pool(model, tickets, target, score, method=method, coefficients=(0.3, 0.6), loss=loss, max_evaluations=limit)
    print(f"{(peak() - before) / ticket:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tickets", type=int, default=20)
    parser.add_argument("--width", type=int, default=64, help="of the ResNet-50; 64 is the real one")
    parser.add_argument("--methods", nargs="+", default=METHODS_MEASURED, choices=METHODS)
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "METHOD", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        folder, method, target = options.measure
        measure(Path(folder), method, int(target), options.width)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.tickets, options.width)
        print("| method | peak, in tickets: target 2 | the sparsest |\n|---|---:|---:|")
        for method in options.methods:
            outputs = []
            for target in (2, options.tickets - 1):
                command = [sys.executable, "-m", "benchmarks.memory", "--measure", folder, method, str(target)]
                command += ["--width", str(options.width)]
                outputs.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
            print(f"| {method} | {outputs[0]} | {outputs[1]} |", flush=True)


if __name__ == "__main__":
    main()

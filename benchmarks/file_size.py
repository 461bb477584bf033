"""Sizes of ticket files by density, beside dense safetensors files of the same weights, plain and compressed.

    python -m benchmarks.file_size

The network is a ResNet-18 for CIFAR-10 at its initialisation, pruned by magnitude to each density over all
convolutions. The table has sizes in MB. *Content* is what an ideal code would need: for each pruned tensor the entropy
of a mask of its density plus the surviving weights, and all other tensors as they are. The column zstd needs the
package zstandard. `--speed` prints times of reading and writing.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from lottery_pools.models import registry
from lottery_pools.tickets import files, mask_code, masks
from lottery_pools.tickets.container import Container
from lottery_pools.tickets.ticket import Ticket, snapshot

DENSITIES = (1.0, 0.8, 0.5, 0.38, 0.2, 0.1, 0.05, 0.02)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Sizes:
    """Sizes in bytes."""

    content: float
    ticket: int
    dense: int
    gzip: int
    zstd: int | None
    """None: the package is not installed."""


def pruned(density: float, dtype: torch.dtype) -> Ticket:
    """The ResNet-18, all floating-point tensors of one type, with exactly this density of its convolutions."""
    model = registry.build("resnet18", {}, 10, (3, 32, 32), 0)
    weights = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in snapshot(model).items()
    }
    mask = masks.dense(weights, registry.prunable(model, "convolutions"))
    mask = masks.prune(masks.magnitude(weights, mask), mask, round(density * masks.count(mask)[0]))
    return Ticket(masks.apply(weights, mask), mask, 0)


def content_bytes(ticket: Ticket) -> float:
    """What an ideal code would need."""
    return sum(_tensor_bytes(tensor, ticket.mask.get(name)) for name, tensor in ticket.weights.items())


def _tensor_bytes(tensor: Tensor, mask: Tensor | None) -> float:
    if mask is None:
        return tensor.numel() * tensor.element_size()
    p = mask.double().mean().item()
    entropy = 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    return tensor.numel() * (entropy / 8 + p * tensor.element_size())


def measure(ticket: Ticket, path: Path) -> Sizes:
    """The size of a ticket's file, and of the others."""
    files.save(ticket, path)
    dense = save(dict(ticket.weights))
    return Sizes(
        content_bytes(ticket),
        path.stat().st_size,
        len(dense),
        len(gzip.compress(dense)),
        _zstd(dense),
    )


def _zstd(content: bytes) -> int | None:
    """The size of the content compressed by zstd at level 10; None if the package is not installed."""
    try:
        library = importlib.import_module("zstandard")
    except ModuleNotFoundError:
        return None
    return len(library.ZstdCompressor(level=10).compress(content))


def seconds(act: Callable[[], object], times: int = 5) -> float:
    """The least processor time of several calls: the machine may be busy with other work."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        act()
        taken.append(time.process_time() - start)
    return min(taken)


def print_sizes(folder: Path) -> None:
    """Print the table of sizes."""
    print("| numbers | density | content | ticket file | over content | dense | dense, gzip | dense, zstd |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, dtype in DTYPES.items():
        for density in DENSITIES:
            sizes = measure(pruned(density, dtype), folder / "ticket.safetensors")
            over = f"{sizes.ticket / sizes.content - 1:+.1%}".replace("%", " %")
            content, ticket, dense, by_gzip = (
                f"{size / 1e6:.2f}" for size in (sizes.content, sizes.ticket, sizes.dense, sizes.gzip)
            )
            by_zstd = "–" if sizes.zstd is None else f"{sizes.zstd / 1e6:.2f}"
            cells = (name, f"{density:g}", content, ticket, over, dense, by_gzip, by_zstd)
            print("|", " | ".join(cells), "|", flush=True)


def print_speed(folder: Path) -> None:
    """Print the table of times, on one thread."""
    torch.set_num_threads(1)
    path = folder / "ticket.safetensors"
    print("| density | save | decode all masks | read all weights | load | load, verify=False |")
    print("|---:|---:|---:|---:|---:|---:|")
    for density in DENSITIES:
        ticket = pruned(density, torch.float32)
        save_seconds = seconds(lambda ticket=ticket: files.save(ticket, path), 2)  # type: ignore[misc]
        container, loaded = Container(path, files.KIND), files.load(path)
        coded = [(container.read(f"mask/{name}").numpy(), mask.numel()) for name, mask in ticket.mask.items()]
        times = (
            save_seconds,
            seconds(lambda coded=coded: [mask_code.decode(*mask) for mask in coded]),  # type: ignore[misc]
            seconds(lambda loaded=loaded: [loaded.weights[name] for name in loaded.weights]),  # type: ignore[misc]
            seconds(lambda: files.load(path)),
            seconds(lambda: files.load(path, verify=False)),
        )
        print(f"| {density:g} | " + " | ".join(f"{value:.3f}" for value in times) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--speed", action="store_true", help="print times in place of sizes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.speed:
            print_speed(Path(folder))
        else:
            print_sizes(Path(folder))


if __name__ == "__main__":
    main()

"""Compiled sparse networks beside dense ONNX Runtime, OpenVINO and PyTorch, in turn in one process.

    pip install onnxruntime onnx openvino        # each optional: what is missing is left out
    python -m benchmarks.inference --out inference.jsonl --pin 0
    python -m benchmarks.inference --out inference.jsonl --tickets runs/x/tickets/level_08.safetensors

Without `--tickets`, networks have their initial weights, pruned by magnitude to each density in every convolution
(`--scope global`: over all), with BatchNorm statistics of random images. All densities of a network and the dense
engines, for which zeros are numbers like others, are called in turn, `--rounds` times; a ratio is the median over
rounds of the ratio within a round, so that whatever else the machine does hits both sides. With one thread, times are
those of the processor. `engine="auto"` is called too, to see that it is never slower than PyTorch. A row is written
when its network is measured; rows that the file has are not measured again.
`--prepare` compiles all without measuring, so that the run proper is short.

The roofline is the time that the multiply-adds of the kept weights take at the rate that this machine reaches where
each multiplies one register that is loaded from the nearest cache, which a loop in C finds out first.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.dense_engines import Engine, dense_engines
from benchmarks.inference_rows import Row, read
from benchmarks.roofline import rate
from lottery_pools.deploy import timing
from lottery_pools.deploy.compiled import Compiled
from lottery_pools.deploy.compiled import compile as compile_sparse
from lottery_pools.deploy.speed import processor
from lottery_pools.models import registry
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.ticket import load_into

SHAPE, CLASSES = (3, 32, 32), 10
SHAPES = {"conv1d": (1, 40), "mlp": (1, 40)}
"""Of networks whose samples are no images."""
AT_LEAST = 0.05
"""Seconds of a round of one engine."""


@dataclass(frozen=True)
class Network:
    """A network of the benchmark."""

    model: str
    description: str
    """What distinguishes networks of the same name: their arguments and shapes."""
    density: float
    ticket: str
    """The file, or how initial weights were pruned."""
    shape: tuple[int, ...]
    build: Callable[[], nn.Module]


def pruned(name: str, density: float, scope: Literal["global", "layer"]) -> nn.Module:
    """A network with its initial weights, the largest of its convolutions kept, its statistics estimated."""
    shape = SHAPES.get(name, SHAPE)
    model = registry.build(name, {}, CLASSES, shape, 0)
    layers = "convolutions+linear" if name == "mlp" else "convolutions"
    mask = masks.dense(model.state_dict(), registry.prunable(model, layers))
    keep = round(density * sum(tensor.numel() for tensor in mask.values()))
    kept = masks.prune(masks.magnitude(model.state_dict(), mask), mask, keep, scope)
    load_into(model, masks.apply(model.state_dict(), kept))
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, *shape))
    return model.eval()


def networks(options: argparse.Namespace) -> Iterator[Network]:
    """All that is asked for; those of one architecture follow each other."""
    for path in options.tickets:
        ticket = files.load(path)
        about = ticket.origin["model"]
        shape = tuple(about["input_shape"])

        def from_ticket(about: Mapping[str, Any] = about, weights: Mapping[str, Tensor] = ticket.weights) -> nn.Module:
            model = registry.build(about["name"], about["arguments"], about["classes"], tuple(about["input_shape"]), 0)
            load_into(model, weights)
            return model.eval()

        name, density = "/".join(path.parts[-2:]), round(ticket.density, 4)
        yield Network(about["name"], json.dumps(about), density, name, shape, from_ticket)
    if options.tickets:
        return
    for name in options.models:
        for density in options.densities:
            yield Network(
                name,
                name,
                density,
                f"pruned by {options.scope}",
                SHAPES.get(name, SHAPE),
                lambda name=name, density=density: pruned(name, density, options.scope),  # type: ignore[misc]
            )


def measure(group: Sequence[Network], batch: int, options: argparse.Namespace, peak: float) -> Iterator[Row]:
    """The rows of networks of one architecture, at one batch size; `auto` is measured in the same rounds."""
    x = torch.randn(batch, *group[0].shape)
    modules = [network.build() for network in group]
    compiled = [compile_sparse(module, x, threads=options.threads, engine="c") for module in modules]
    ready = dense_engines(modules[0], x, options)
    if options.prepare:
        for engine in (*ready.values(), *(lambda c=c: c(x) for c in compiled)):
            engine()
        return
    faster = [replace(network, engine="auto") for network in compiled]
    ours: dict[str, Engine] = {str(i): lambda c=c: c(x) for i, c in enumerate(compiled)}  # type: ignore[misc]
    ours |= {f"auto {i}": lambda c=c: c(x) for i, c in enumerate(faster)}  # type: ignore[misc]
    with torch.inference_mode():
        spent = timing.in_turn({**ready, **ours}, options.rounds, AT_LEAST)
        errors = [difference(c(x), module(x)) for c, module in zip(compiled, modules, strict=True)]
    seconds = {
        name: [once.processor if options.threads == 1 else once.wall for once in rounds]
        for name, rounds in spent.items()
    }
    fastest = [min(every) for every in zip(*(seconds[name] for name in ready if "torch" in name), strict=True)]
    for index, network in enumerate(group):
        mine = seconds[str(index)]
        ratios = {name: [a / b for a, b in zip(seconds[name], mine, strict=True)] for name in ready}
        auto = seconds[f"auto {index}"]
        medians = {"compiled": mine, "auto": auto, **{name: seconds[name] for name in ready}}
        yield Row(
            network.model,
            network.density,
            batch,
            options.threads,
            network.ticket,
            {name: _short(1000 * median(times)) for name, times in medians.items()},
            {name: _short(median(of_rounds)) for name, of_rounds in ratios.items()},
            {name: [_short(min(of_rounds)), _short(max(of_rounds))] for name, of_rounds in ratios.items()},
            _short(median(a / b for a, b in zip(auto, fastest, strict=True))),
            _short(1000 * batch * work(compiled[index]) / peak / options.threads),
            _short(work(compiled[index]) / work(compiled[index], dense=True)),
            _short(errors[index]),
            options.rounds,
            processor(),
            time.strftime("%Y-%m-%d"),
        )


def _short(number: float) -> float:
    """Four digits of it, which is more than timing gives."""
    return float(f"{number:.4g}")


def work(compiled: Compiled, dense: bool = False) -> int:
    """Multiply-adds of one sample."""
    (program,) = compiled.programs.values()
    return sum(network.work(dense) for network in program.traced.networks)


def difference(outputs: Tensor, expected: Tensor) -> float:
    """The largest difference, over the largest number."""
    return float((outputs - expected).abs().max() / expected.abs().max())


def run(options: argparse.Namespace) -> list[Row]:
    """Measure what is asked for and not in the file yet; the rows of both."""
    rows = read(options.out)
    done = {row.key for row in rows}
    peak, end = rate(), time.monotonic() + 60 * options.minutes
    print(f"{processor()}: {peak / 1e9:.1f} billion multiply-adds a second, one core", flush=True)
    for _, group in groupby(networks(options), lambda network: network.description):
        everything = list(group)
        for batch in options.batches:
            if time.monotonic() > end:
                print("Time is over: the same command goes on from here.")
                return rows
            common = (batch, options.threads)
            left = [n for n in everything if (n.model, n.density, *common, n.ticket, options.torch_compile) not in done]
            for row in measure(left, batch, options, peak) if left else ():
                rows.append(row)
                ratios = ", ".join(f"{ratio:.2f} × {name}" for name, ratio in row.times.items())
                print(f"{row.model}, {row.pruned}, {row.density:.1%}, batch {row.batch}: "
                      f"{row.milliseconds['compiled']:.3g} ms; {ratios}; auto {row.auto:.2f}", flush=True)  # fmt: skip
                if options.out:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(row)) + "\n")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["resnet20", "resnet18", "vgg16"])
    parser.add_argument("--densities", type=float, nargs="+", default=[0.2, 0.1, 0.05, 0.02])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--tickets", type=Path, nargs="+", default=[], help="files of tickets, instead of models")
    parser.add_argument("--scope", choices=["layer", "global"], default="layer", help="how initial weights are pruned")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--torch-compile", action="store_true", help="torch.compile too: minutes, the first time")
    parser.add_argument("--only-torch", action="store_true", help="beside PyTorch alone")
    parser.add_argument("--pin", type=int, help="the core to stay on")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no network is begun after so many")
    parser.add_argument("--prepare", action="store_true", help="compile all, measure nothing")
    parser.add_argument("--out", type=Path, help="rows, one a line, added to what is there")
    options = parser.parse_args()
    if options.pin is not None:
        os.sched_setaffinity(0, {options.pin})
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    run(options)


if __name__ == "__main__":
    main()

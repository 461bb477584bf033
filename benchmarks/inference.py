"""Compiled sparse networks beside dense ONNX Runtime, OpenVINO and PyTorch: milliseconds a batch, in one process.

    pip install onnxruntime onnx openvino        # each optional: what is missing is left out
    python -m benchmarks.inference --out inference.jsonl
    python -m benchmarks.inference --tickets runs/x/tickets/level_08.safetensors

Without `--tickets`, networks have their initial weights, pruned by magnitude to each density in every convolution
(`--scope global`: over all), with BatchNorm statistics of random images. All engines run in turn, `--rounds` times; the
least time counts. With one thread that is processor time, which other work on the machine changes less. Dense PyTorch
is the best of eager, channels-last and, with `--torch-compile`, `torch.compile`. The roofline is what the multiply-adds
of the kept weights take if nothing but loads from the first cache limits them: 16 outputs a load, two loads a cycle.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lottery_pools.deploy.compiled import compile as compile_sparse
from lottery_pools.deploy.graph import Convolution
from lottery_pools.deploy.trace import trace
from lottery_pools.models import registry
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.ticket import load_into

SHAPE, CLASSES = (3, 32, 32), 10
Engine = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One network at one density and batch size."""

    model: str
    density: float
    batch: int
    threads: int
    ticket: str
    """The file, or how initial weights were pruned."""
    milliseconds: dict[str, float]
    """Engine → least time of a batch."""
    bound: float
    """Milliseconds that the roofline allows."""
    work: float
    """Multiply-adds of kept weights, of all."""
    error: float
    """Largest difference from PyTorch, over the largest output."""

    @property
    def torch(self) -> float:
        return min(value for name, value in self.milliseconds.items() if name.startswith("torch"))


def pruned(name: str, density: float, scope: Literal["global", "layer"]) -> nn.Module:
    """A network with its initial weights, the largest of its convolutions kept, its statistics estimated."""
    model = registry.build(name, {}, CLASSES, SHAPE, 0)
    mask = masks.dense(model.state_dict(), registry.prunable(model, "convolutions"))
    keep = round(density * sum(tensor.numel() for tensor in mask.values()))
    kept = masks.prune(masks.magnitude(model.state_dict(), mask), mask, keep, scope)
    load_into(model, masks.apply(model.state_dict(), kept))
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, *SHAPE))
    return model.eval()


def networks(options: argparse.Namespace) -> Iterator[tuple[str, float, str, nn.Module]]:
    """(network, density, where its weights are from, module) of all that is asked for."""
    for path in options.tickets:
        ticket = files.load(path)
        about = ticket.origin["model"]
        model = registry.build(about["name"], about["arguments"], about["classes"], tuple(about["input_shape"]), 0)
        load_into(model, ticket.weights)
        yield about["name"], ticket.density, str(path), model.eval()
    if not options.tickets:
        for name in options.models:
            for density in options.densities:
                yield name, density, f"pruned by {options.scope}", pruned(name, density, options.scope)


def engines(model: nn.Module, x: Tensor, options: argparse.Namespace) -> dict[str, Engine]:
    """Every engine at hand, ready to compute the batch x."""
    compiled = compile_sparse(model, x, threads=options.threads, engine="c")
    ready: dict[str, Engine] = {"compiled": lambda: compiled(x), "torch eager": lambda: model(x)}
    if x.ndim == 4:
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        nhwc = x.contiguous(memory_format=torch.channels_last)
        ready["torch channels-last"] = lambda: last(nhwc)
    if options.torch_compile:
        inductor = torch.compile(copy.deepcopy(model))
        ready["torch compile"] = lambda: inductor(x)
    with suppress(ModuleNotFoundError):
        ready["onnxruntime"] = onnxruntime_engine(model, x, options.threads)
    with suppress(ModuleNotFoundError):
        ready["openvino"] = openvino_engine(model, x, options.threads)
    return ready


def onnxruntime_engine(model: nn.Module, x: Tensor, threads: int) -> Engine:
    """Dense ONNX Runtime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = f"{folder}/model.onnx"
        torch.onnx.export(model, (x,), path, dynamo=False, input_names=["x"])
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    array = x.numpy()
    return lambda: session.run(None, {"x": array})


def openvino_engine(model: nn.Module, x: Tensor, threads: int) -> Engine:
    """Dense OpenVINO, in float32."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    converted = openvino.convert_model(model, example_input=x, input=[tuple(x.shape)])
    request = openvino.compile_model(converted, "CPU", settings).create_infer_request()
    array = x.numpy()
    return lambda: request.infer({0: array})


def least(ready: dict[str, Engine], rounds: int, threads: int) -> dict[str, float]:
    """Engine → milliseconds of a batch: the least of so many rounds, the engines in turn."""
    clock = time.process_time if threads == 1 else time.perf_counter
    found = dict.fromkeys(ready, float("inf"))
    for engine in ready.values():
        engine()
    for _ in range(rounds):
        for name, engine in ready.items():
            spent = repeats = 0.0
            while spent < 0.02:  # short batches several times, so that the clock is fine enough
                start = clock()
                engine()
                spent += clock() - start
                repeats += 1
            found[name] = min(found[name], 1000 * spent / repeats)
    return found


def work(model: nn.Module, x: Tensor) -> tuple[float, float]:
    """(multiply-adds of the kept weights for the batch x, those of all weights)"""
    kept = every = 0.0
    for network in trace(model, x).networks:
        for op in network.operations:
            if isinstance(op, Convolution):
                _, height, width = network.shapes[op.out]
                kept += float((op.weight != 0).sum()) * height * width * len(x)
                every += float(op.weight.size) * height * width * len(x)
    return kept, every


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows that are asked for."""
    for name, density, ticket, model in networks(options):
        shape = files.load(ticket).origin["model"]["input_shape"] if options.tickets else SHAPE
        for batch in options.batches:
            x = torch.randn(batch, *shape)
            with torch.inference_mode():
                ready = engines(model, x, options)
                expected = model(x)
                got = ready["compiled"]()
                assert isinstance(got, Tensor)
                error = float((got - expected).abs().max() / expected.abs().max())
                times = least(ready, options.rounds, options.threads)
            kept, every = work(model, x)
            bound = kept / 16 / 2 / (options.gigahertz * 1e6) / options.threads
            yield Row(name, round(density, 4), batch, options.threads, ticket, times, bound, kept / every, error)


def table(rows: Sequence[Row]) -> str:
    """Markdown: milliseconds, and how many times faster compiled is than each."""
    lines = [
        "| network | density | multiply-adds | batch | compiled, ms | × ONNX Runtime | × OpenVINO | × PyTorch "
        "| of the roofline |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ours = row.milliseconds["compiled"]
        ratios = [row.milliseconds.get("onnxruntime"), row.milliseconds.get("openvino"), row.torch]
        cells = " | ".join("" if other is None else f"{other / ours:.1f}" for other in ratios)
        about = f"{row.model} | {row.density:.3g} | {row.work:.1%} | {row.batch} | {ours:.3g}"
        lines.append(f"| {about} | {cells} | {row.bound / ours:.0%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["resnet20", "resnet18", "vgg16"])
    parser.add_argument("--densities", type=float, nargs="+", default=[0.2, 0.1, 0.05, 0.02])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--tickets", type=Path, nargs="+", default=[], help="files of tickets, instead of models")
    parser.add_argument("--scope", choices=["layer", "global"], default="layer", help="how initial weights are pruned")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch-compile", action="store_true", help="torch.compile too: minutes")
    parser.add_argument("--gigahertz", type=float, default=2.6, help="of a core, for the roofline")
    parser.add_argument("--out", type=Path, help="rows, one a line, added to what is there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    for row in measure(options):
        rows.append(row)
        print(table([row]).splitlines()[-1], {k: round(v, 3) for k, v in row.milliseconds.items()}, flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()

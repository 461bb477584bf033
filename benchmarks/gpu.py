"""What one GPU reaches: our training beside the loop that most people write and the limit of the card, in one run.

Rows, for a VGG-16 and a ResNet-18 at CIFAR's size, on random images:

- `limit`: forward, backward and SGD on one batch that stays on the card, as one CUDA graph, in bfloat16 and
  channels_last: no data, no masks;
- `ours`: `lottery_pools.tickets.training.train` with half of the weights pruned, crops and flips, whole epochs;
- `launched`: the same, but every kernel launched by itself (`TrainingRun.record` off);
- `deterministic`: as `ours`, with kernels that give equal bytes in two runs, as with `--deterministic`;
- `common`: float32, 8 DataLoader workers, torchvision's transforms of PIL images (needs torchvision);
- `evaluation`: forward passes alone;
- `pooling`: one target of nine tickets, seconds, the network scored on 1,000 images;
- `sharing`: a small network trained by one and by two worker processes at once, images a second in all;
- `compiled`: as `ours`, with `training.compile`; on a GPU only, and last, since to compile takes half a minute.

Each row is printed and written as it comes, as a line of JSON; what is in the file already is not measured again. A row
that fails is left out, which is said, and the others are measured.

    python -m benchmarks.gpu --out gpu.jsonl                    # about 90 seconds on an H100, and the compilation
    python -m benchmarks.gpu --tiny --out tiny.jsonl            # the same on a CPU, in seconds, to try it
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.models import registry
from lottery_pools.pooling import batchnorm
from lottery_pools.pooling.likelihood import log_likelihood
from lottery_pools.pooling.pool import pool
from lottery_pools.runs import engine
from lottery_pools.runs.seeds import generator
from lottery_pools.runs.worker import prepare
from lottery_pools.tickets import masks
from lottery_pools.tickets.forward import logits
from lottery_pools.tickets.recording import cuda_graph, training_stream
from lottery_pools.tickets.ticket import Ticket, snapshot
from lottery_pools.tickets.training import TrainingRun, train

CLASSES = 100
FAST = Training(epochs=1, lr=0.05, schedule="constant", keep="last", precision="bfloat16")
SMALL = Training(epochs=3, lr=0.05, schedule="constant", keep="last", precision="bfloat16")


@dataclass(frozen=True)
class Setting:
    """Where the rows are measured, and on how much."""

    device: torch.device
    images: int
    """Training images of an epoch."""
    networks: tuple[str, ...]
    batches: tuple[int, ...]
    seconds: float
    """How long the limit of the card is measured, for each network."""


H100 = Setting(torch.device("cuda"), 25_600, ("vgg16", "resnet18"), (128, 512), 1.5)
TINY = Setting(torch.device("cpu"), 32, ("resnet20",), (16,), 0.02)


def network(name: str, device: torch.device) -> nn.Module:
    """A network of full width for images of 32 × 32 pixels."""
    arguments: dict[str, Any] = {"stem": "cifar"} if name == "resnet18" else {}
    if device.type != "cuda":
        arguments = {"width": 4, "blocks": 1}  # to try the benchmark itself
    return registry.build(name, arguments, CLASSES, (3, 32, 32), seed=0).to(device)


def random_images(setting: Setting, images: int) -> Dataset:
    """A data set of random images on the device."""
    draws = generator(0, "benchmark")
    stored = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=draws)
    split = Split(stored, torch.randint(0, CLASSES, (images,), generator=draws))
    few = split.take(torch.arange(min(images, 1000)))
    mean, std = torch.full((3,), 127.5), torch.full((3,), 73.9)
    names = tuple(str(label) for label in range(CLASSES))
    return Dataset(split, few, few, split, names, mean, std, crop=4, flip=True).to(setting.device)


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def half_pruned(model: nn.Module) -> dict[str, Tensor]:
    """A mask of half of the convolutional weights, on the device of the model."""
    weights = model.state_dict()
    names = registry.prunable(model, "convolutions")
    return {name: torch.rand_like(weights[name]) < 0.5 for name in names}


def training_speed(setting: Setting, name: str, settings: Training, record: bool) -> dict[str, float]:
    """Images a second of our training loop in its second epoch, and the mean loss of that epoch."""
    data, model = random_images(setting, setting.images), network(name, setting.device)
    ends: list[float] = []
    losses: list[float] = []

    def on_epoch(epoch: Any) -> None:
        wait(setting.device)
        ends.append(time.perf_counter())
        losses.append(epoch.loss)

    run = TrainingRun(replace(settings, epochs=2), data, seed=0, level=0, record=record)
    train(model, half_pruned(model), run, on_epoch)
    return {"images_per_second": setting.images / (ends[1] - ends[0]), "loss": losses[1]}


def deterministic_speed(setting: Setting, name: str, settings: Training) -> dict[str, float]:
    """`training_speed` under `--deterministic`, in a process of its own: cuBLAS must know before it is first used."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(1, True)) as process:
        return process.submit(training_speed, setting, name, settings, True).result()


def limit(setting: Setting, name: str, batch: int) -> dict[str, float]:
    """Images a second of forward, backward and SGD on one batch that stays on the device, as one CUDA graph."""
    device, model = setting.device, network(name, setting.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1e-4)
    images = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss = F.cross_entropy(model(images).float(), labels)
        torch.autograd.backward(loss)
        optimizer.step()

    with training_stream(device):
        for _ in range(5):
            step()
        repeat = cuda_graph(step) if device.type == "cuda" else step
        steps = 0
        wait(device)
        start = time.perf_counter()
        while time.perf_counter() - start < setting.seconds:
            for _ in range(20 if device.type == "cuda" else 1):
                repeat()
                steps += 1
            wait(device)
        seconds = time.perf_counter() - start
    return {"images_per_second": batch * steps / seconds}


class PerImage(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Random PIL images, transformed one by one."""

    def __init__(self, images: int) -> None:
        from PIL import Image
        from torchvision import transforms

        pixels = torch.randint(0, 256, (images, 32, 32, 3), dtype=torch.uint8, generator=generator(0, "common"))
        self.images = [Image.fromarray(image.numpy()) for image in pixels]
        augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        self.transform = transforms.Compose(
            [*augment, transforms.ToTensor(), transforms.Normalize((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), index % CLASSES


def common(setting: Setting, name: str, batch: int) -> dict[str, float]:
    """Images a second of the loop that most scripts have, in its second epoch."""
    device, model = setting.device, network(name, setting.device).train()
    workers = 8 if device.type == "cuda" else 0
    loader = torch.utils.data.DataLoader(
        PerImage(setting.images), batch, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1e-4)
    seconds = 0.0
    for _ in range(2):
        wait(device)
        start = time.perf_counter()
        for images, labels in loader:
            inputs, targets = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        wait(device)
        seconds = time.perf_counter() - start
    return {"images_per_second": setting.images / seconds}


def evaluation(setting: Setting, name: str) -> dict[str, float]:
    """Images a second of evaluation in bfloat16."""
    data, model = random_images(setting, setting.images), network(name, setting.device)
    logits(model, data, data.validation, FAST)
    wait(setting.device)
    start = time.perf_counter()
    logits(model, data, data.test, FAST)
    wait(setting.device)
    return {"images_per_second": len(data.test) / (time.perf_counter() - start)}


def pooling(setting: Setting, name: str, method: str) -> dict[str, float]:
    """Seconds to pool the densest of nine tickets, which lie on the device."""
    data, model = random_images(setting, 2000 if setting.device.type == "cuda" else 32), network(name, setting.device)
    weights, mask, tickets = snapshot(model), half_pruned(model), []
    for level in range(9):
        noise = {
            key: value * (1 + 0.01 * level) if value.is_floating_point() else value for key, value in weights.items()
        }
        tickets.append(Ticket(masks.apply(noise, mask), mask, level))
        mask = masks.prune(masks.magnitude(weights, mask), mask, int(masks.count(mask)[0] * 0.8))
    rows = torch.arange(len(data.validation), device=setting.device)

    def score(model: nn.Module) -> Tensor:
        return log_likelihood(logits(model, data, data.validation, FAST), data.validation.labels)

    def loss(model: nn.Module) -> Tensor:
        batch = rows[torch.randint(len(rows), (min(128, len(rows)),), generator=draws).to(setting.device)]
        with torch.autocast(setting.device.type, torch.bfloat16):
            output = model(data.normalise(data.validation.batch(batch)))
        return F.cross_entropy(output.float(), data.validation.labels[batch])

    def recalibrate(model: nn.Module) -> None:
        with torch.autocast(setting.device.type, torch.bfloat16):
            batchnorm.recalibrate(model, [data.normalise(part) for part in data.validation.batches(250)])

    draws = generator(0, "loss")
    for _ in range(2):  # the first time warms up
        wait(setting.device)
        start = time.perf_counter()
        pooled = pool(model, tickets, 0, score, recalibrate=recalibrate, method=method, loss=loss)
        wait(setting.device)
    return {"seconds": time.perf_counter() - start, "evaluations": pooled.evaluations}


def small_network_seconds(device: str, images: int) -> tuple[float, float]:
    """(when the epochs that count began, when they ended): a ResNet-20 at 16 × 16, trained by one worker."""
    setting = replace(TINY if device == "cpu" else H100, images=images)
    data, model = random_images(setting, images), network("resnet20", setting.device)
    half = replace(data, train=Split(data.train.stored[:, :, ::2, ::2].contiguous(), data.train.labels))
    ends: list[float] = []

    def on_epoch(epoch: Any) -> None:
        wait(setting.device)
        ends.append(time.time())

    train(model, half_pruned(model), TrainingRun(SMALL, half, seed=0, level=0), on_epoch)
    return ends[0], ends[-1]


def sharing(setting: Setting, workers: int) -> dict[str, float]:
    """Images a second that so many worker processes train together on one GPU, each a network of its own."""
    tasks = [(setting.device.type, setting.images)] * workers
    spans = list(engine.run_tasks(small_network_seconds, tasks, workers, 1))
    speeds = [(SMALL.epochs - 1) * setting.images / (end - begin) for begin, end in spans]
    return {"images_per_second": sum(speeds)}


def measurements(setting: Setting) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    """The name of each row, and what measures it."""
    batch, first, last = setting.batches[0], setting.networks[0], setting.networks[-1]
    for name in setting.networks:
        for size in setting.batches:
            settings = replace(FAST, batch=size)
            yield f"{name} limit bfloat16 {size}", partial(limit, setting, name, size)
            yield f"{name} ours bfloat16 {size}", partial(training_speed, setting, name, settings, True)
            if size == batch:
                yield f"{name} launched bfloat16 {size}", partial(training_speed, setting, name, settings, False)
                yield f"{name} deterministic bfloat16 {size}", partial(deterministic_speed, setting, name, settings)
        exact = replace(FAST, batch=batch, precision="float32")
        yield f"{name} ours float32 {batch}", partial(training_speed, setting, name, exact, True)
        yield f"{name} evaluation bfloat16", partial(evaluation, setting, name)
    yield f"{first} pooling trimmed-soup", partial(pooling, setting, first, "trimmed-soup")
    for workers in (1, 2) if setting.device.type == "cuda" else (1,):
        yield f"resnet20 sharing {workers}", partial(sharing, setting, workers)
    yield f"{last} common float32 {batch}", partial(common, setting, last, batch)
    if setting.device.type == "cuda":
        compiled = replace(FAST, batch=batch, compile=True)
        yield f"{first} compiled bfloat16 {batch}", partial(training_speed, setting, first, compiled, True)


def ratios(rows: dict[str, dict[str, float]]) -> Iterator[str]:
    """What the rows say of each other."""
    speeds = {label: row["images_per_second"] for label, row in rows.items() if "images_per_second" in row}
    for label, speed in speeds.items():
        name, kind, *rest = label.split()
        for other in ("limit", "launched"):
            if kind == "ours" and (divisor := speeds.get(" ".join([name, other, *rest]))):
                yield f"{label}: {speed / divisor:.2f} of {other}"
        if kind in ("deterministic", "compiled") and (divisor := speeds.get(" ".join([name, "ours", *rest]))):
            yield f"{label}: {speed / divisor:.2f} of ours"
        if kind == "ours" and (divisor := speeds.get(f"{name} common float32 {rest[-1]}")):
            yield f"{label}: {speed / divisor:.2f} of common"


def main() -> None:
    """Measure what the file lacks, and print ratios; the exit code is 1 where a row failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file of the rows, a line of JSON each")
    parser.add_argument("--tiny", action="store_true", help="small sizes on the CPU, to try the benchmark itself")
    options = parser.parse_args()
    setting = TINY if options.tiny else H100
    rows: dict[str, dict[str, float]] = {}
    if options.out.exists():
        lines = options.out.read_text(encoding="utf-8").splitlines()
        rows = {row.pop("row"): row for row in map(json.loads, lines)}
    card = torch.cuda.get_device_name() if setting.device.type == "cuda" else "CPU"
    print(f"{card}, PyTorch {torch.__version__}")
    failed = False
    for label, measure in measurements(setting):
        if label not in rows:
            start = time.perf_counter()
            try:
                row = measure()
            except ImportError as error:
                print(f"{label}: left out ({error})", flush=True)
                continue
            except (RuntimeError, OSError, ValueError) as error:
                print(f"{label}: failed ({error})", flush=True)
                failed = True
                continue
            rows[label] = {**row, "took": round(time.perf_counter() - start, 1)}
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"row": label, "card": card, "torch": torch.__version__, **rows[label]}) + "\n")
        print(
            f"{label:<34}", {k: round(v, 3) for k, v in rows[label].items() if isinstance(v, int | float)}, flush=True
        )
    for line in ratios(rows):
        print(line)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

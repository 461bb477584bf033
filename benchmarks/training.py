"""Our training loop beside the straightforward one: the same ResNet-20, images and schedule, in turns, in one run.

The straightforward loop is what most scripts do: a DataLoader with 2 workers, a random crop and flip of each PIL image,
float32, the default memory format. Ours: uint8 tensors augmented in batches, bfloat16 autocast, channels_last; and the
same compiled (`training.compile`), whose compilation, before the first round, is timed apart.

    python -m benchmarks.training --data path/to/cifar100 --images 4000 --epochs 3 --rounds 2
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lottery_pools.config.schema import Data, Training
from lottery_pools.data import sources
from lottery_pools.data.dataset import Dataset
from lottery_pools.models import registry
from lottery_pools.runs import engine
from lottery_pools.tickets.schedule import learning_rate
from lottery_pools.tickets.training import Epoch, TrainingRun, train


class PerImage(TorchDataset[tuple[Tensor, int]]):
    """The training images one by one, cropped and flipped with PIL."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in dataset.train.images]
        self.labels = dataset.train.labels.tolist()
        self.mean, self.std = dataset.mean[:, None, None] / 255, dataset.std[:, None, None] / 255

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        size = image.size[0]
        padded = ImageOps.expand(image, 4)
        left, top = random.randint(0, 8), random.randint(0, 8)
        cropped = padded.crop((left, top, left + size, top + size))
        if random.random() < 0.5:
            cropped = ImageOps.mirror(cropped)
        tensor = torch.from_numpy(np.array(cropped)).permute(2, 0, 1).float() / 255
        return (tensor - self.mean) / self.std, self.labels[index]


def straightforward(model: nn.Module, images: PerImage, training: Training, seed: int) -> list[float]:
    """Mean loss of every epoch."""
    torch.manual_seed(seed)
    loader = DataLoader(images, training.batch, shuffle=True, num_workers=2)
    optimizer = torch.optim.SGD(model.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay)
    model.train()
    losses = []
    for epoch in range(training.epochs):
        seen = []
        for step, (batch, labels) in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, epoch + step / len(loader))
            loss = nn.functional.cross_entropy(model(batch), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            seen.append(loss.item())
        losses.append(statistics.fmean(seen))
    return losses


def ours(model: nn.Module, dataset: Dataset, training: Training, seed: int) -> list[float]:
    """Mean loss of every epoch."""
    losses: list[float] = []

    def keep(epoch: Epoch) -> None:
        losses.append(epoch.loss)

    train(model, {}, TrainingRun(training, dataset, seed, level=0), on_epoch=keep)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of parquet files of CIFAR-100")
    parser.add_argument("--images", type=int, default=3968, help="a multiple of 128: every other size is compiled anew")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    engine.prepare(engine.cores())
    dataset = sources.load(Data(options.data, train=options.images, crop=4, flip=True))
    images = PerImage(dataset)
    training = Training(options.epochs, lr=0.05, schedule="cosine", keep="last")
    fast = replace(training, precision="bfloat16")
    loops: dict[str, Callable[[nn.Module, int], list[float]]] = {
        "straightforward": lambda model, seed: straightforward(model, images, training, seed),
        "ours": lambda model, seed: ours(model, dataset, fast, seed),
        "ours, compiled": lambda model, seed: ours(model, dataset, replace(fast, compile=True), seed),
    }
    start = time.perf_counter()
    short = replace(dataset, train=dataset.train.take(torch.arange(training.batch)))
    ours(registry.build("resnet20", {}, 100, (3, 32, 32), seed=0), short, replace(fast, epochs=1, compile=True), 0)
    print(f"compilation and one step: {time.perf_counter() - start:.0f} s")
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    curves: dict[str, list[list[float]]] = {name: [] for name in loops}
    for seed in range(options.rounds):
        for name, loop in loops.items():
            model = registry.build("resnet20", {}, 100, (3, 32, 32), seed=0)
            start = time.perf_counter()
            curve = loop(model, seed)
            speeds[name].append(options.images * options.epochs / (time.perf_counter() - start))
            curves[name].append(curve)
            shown = " ".join(f"{loss:.3f}" for loss in curve)
            print(f"round {seed} {name:<16} {speeds[name][-1]:7.0f} images/s   loss by epoch {shown}")
    for name in list(loops)[1:]:
        ratios = [a / b for a, b in zip(speeds[name], speeds["straightforward"], strict=True)]
        print(f"{name} / straightforward, images per second: {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
        for epoch in range(options.epochs):
            plain, measured = ([curve[epoch] for curve in curves[which]] for which in ("straightforward", name))
            spread = max(max(values) - min(values) for values in (plain, measured))
            gap = statistics.fmean(measured) - statistics.fmean(plain)
            print(
                f"  epoch {epoch + 1}: loss {gap:+.3f} beside the straightforward, seeds differ by up to {spread:.3f}"
            )


if __name__ == "__main__":
    main()

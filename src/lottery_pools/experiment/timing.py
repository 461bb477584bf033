"""What work costs, and how fast this machine does it: steps of the actual network, tried for a second each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lottery_pools.data import corruptions
from lottery_pools.data.dataset import Dataset
from lottery_pools.experiment import tasks
from lottery_pools.experiment.selection import recalibration_images
from lottery_pools.experiment.tasks import Run
from lottery_pools.models import registry
from lottery_pools.pooling import arithmetic, pruning
from lottery_pools.runs import engine
from lottery_pools.tickets.forward import predict
from lottery_pools.tickets.ticket import Ticket, snapshot
from lottery_pools.tickets.training import TrainingRun, train

SAMPLE_SECONDS = 1.0
"""For how long each kind of step is tried where its speed is measured."""


@dataclass(frozen=True)
class Cost:
    """What work takes; costs add up."""

    trained: int = 0
    """Images forwarded and back-propagated."""
    recalibrated: int = 0
    """Augmented images forwarded to re-estimate BatchNorm."""
    forwarded: int = 0
    """Images forwarded to score or measure."""
    mixed: int = 0
    """Networks mixed and pruned back."""
    corrupted: int = 0
    """Images corrupted."""
    written: int = 0
    """Bytes on disk."""

    def __add__(self, other: Cost) -> Cost:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Cost(*(one + another for one, another in pairs))


@dataclass(frozen=True)
class Speed:
    """Seconds that one unit of each kind takes one worker."""

    trained: float
    recalibrated: float
    forwarded: float
    mixed: float
    corrupted: float
    start: float = 0.0
    """Until a worker begins."""

    def seconds(self, cost: Cost) -> float:
        kinds = ("trained", "recalibrated", "forwarded", "mixed", "corrupted")
        return float(sum(getattr(self, kind) * getattr(cost, kind) for kind in kinds))


def of_process(run: Run, corrupted: tuple[str, ...]) -> tuple[Speed, float]:
    """How fast this process works at what `run` needs, and how long it tried; its work is thrown away."""
    dataset = run.dataset
    began = time.perf_counter()
    fast = replace(run.config.training, keep="last", compile=False)
    model = run.network()
    weights_now = snapshot(model)
    mask = {name: weights_now[name] > 0 for name in registry.prunable(model, run.config.model.prunable)}

    def learn(steps: int) -> int:
        return train(model, mask, TrainingRun(fast, dataset, run.seed, level=0, stop=steps, fixed_rate=0.0)).images

    def recalibrate(batches: int) -> int:
        pooling = replace(run.config.pooling, recalibration=batches * run.config.evaluation.batch)
        few = replace(run, config=replace(run.config, pooling=pooling))
        few.recalibrate(model)
        return recalibration_images(few.config, few.dataset)

    def score(batches: int) -> int:
        ahead = predict(model, dataset, dataset.validation, run.config.training, run.config.evaluation.batch)
        return sum(len(logits.cpu()) for _, logits in zip(range(batches), ahead, strict=False))

    def mix(times: int) -> int:
        target = Ticket({n: w * mask[n] if n in mask else w for n, w in weights_now.items()}, mask, 0)
        for _ in range(times):
            pruning.prune_back(arithmetic.lerp(target.weights, weights_now, 0.5), target, run.config.pruning.scope)
        return times

    found = Speed(_each(learn), _each(recalibrate), _each(score), _each(mix), _corrupting(dataset, corrupted))
    return found, time.perf_counter() - began


def _each(work: Callable[[int], int]) -> float:
    """Seconds a unit of `work(n)`, which does n things and returns how many units these were.

    The first call, which is slow, does not count; then n doubles until a call takes long enough, or gets no longer.
    """
    before = work(1)
    n = 1
    while True:
        start = time.perf_counter()
        units = work(n)
        seconds = time.perf_counter() - start
        if seconds > SAMPLE_SECONDS / 2 or (n > 1 and units == before):
            return seconds / max(1, units)
        n, before = 2 * n, units


def _corrupting(dataset: Dataset, names: tuple[str, ...]) -> float:
    """Mean seconds an image of the corruptions `names`; 0 for none."""
    if not names:
        return 0.0
    images = dataset.view(dataset.test.batch(torch.arange(min(8, len(dataset.test))))).cpu()
    start = time.perf_counter()
    for name in names:
        corruptions.corrupt(images, name, 3, 0, constants="auto")
    return (time.perf_counter() - start) / len(names) / len(images)


def measured(run: Run, workers: int, threads: int, cluster: str | None) -> Speed:
    """The mean speed of so many workers side by side, and what it takes to start them."""
    names = tuple(dict.fromkeys(condition[1] for condition in run.conditions if not tasks.ready(run, condition)))
    began = time.perf_counter()
    found = list(engine.run_tasks(of_process, [(run, names)] * workers, workers, threads, cluster))
    start = max(0.0, time.perf_counter() - began - max(seconds for _, seconds in found))
    kinds = [field.name for field in dataclasses.fields(Speed)]
    means = {kind: sum(getattr(one, kind) for one, _ in found) / len(found) for kind in kinds}
    return Speed(**{**means, "start": start})

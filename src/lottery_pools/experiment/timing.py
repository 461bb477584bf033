"""How fast this machine does each kind of work: steps of the actual network, tried for a fraction of a second each."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lottery_pools.data import corruptions
from lottery_pools.data.dataset import Dataset
from lottery_pools.experiment import conditions
from lottery_pools.experiment.run import NetworkFacts, Run
from lottery_pools.experiment.selection import recalibrate
from lottery_pools.models import registry
from lottery_pools.pooling import arithmetic, pruning
from lottery_pools.runs import engine
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import losses
from lottery_pools.tickets.forward import inputs, precision, predict
from lottery_pools.tickets.ticket import Ticket, snapshot

SAMPLE_SECONDS = 0.12
"""How long a try must take for its time to count."""
LONG_SECONDS = 0.5
"""A first try that takes longer counts, and no other is made."""
FIRST_OPERATIONS = 10**9
"""Multiply-adds of a first try, so that it is of a whole batch unless the network is large; of two images at least."""
MIXED_NUMBERS = 2**19
"""Of a network with more numbers than this only a part is mixed."""
START_SECONDS = 4.0
"""Until a worker process has imported torch and loaded the data, about."""
KINDS = ("trained", "recalibrated", "forwarded", "mixed", "corrupted")
"""The kinds of work that take time, as `Cost` names them."""

Share = tuple[int, int]
"""How a machine is shared out: (workers, threads of each)."""
Work = Callable[[int], int]
"""Does about so many units of one kind of work; returns how many it was."""


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

    def __add__(self, cost: Cost) -> Cost:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(cost), strict=True)
        return Cost(*map(sum, pairs))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of work that are part of it."""
        return tuple(kind for kind in KINDS if getattr(self, kind))


@dataclass(frozen=True)
class Speed:
    """Seconds that one unit of each kind of work takes one worker; 0 where the kind was not asked for."""

    trained: float = 0.0
    recalibrated: float = 0.0
    forwarded: float = 0.0
    mixed: float = 0.0
    corrupted: float = 0.0
    start: float = 0.0
    """Until a worker begins."""

    def seconds(self, cost: Cost) -> float:
        """How long one worker takes for some work."""
        return float(sum(getattr(self, kind) * getattr(cost, kind) for kind in KINDS))


def measured(
    run: Run, network: NetworkFacts, kinds: Collection[str], share: Share, cluster: str | None = None
) -> Speed:
    """How fast a worker does some kinds of work.

    Tried in this process: to start others, which would slow one another down as they do at work, takes longer than all
    tries together. A cluster's workers are there already: they try side by side, and the mean of their speeds counts.

    Args:
        run: whose network and data are tried.
        network: says how large the network is.
        kinds: of `KINDS`.
        share: how the machine is shared out.
        cluster: address of a Dask scheduler; none: local processes.
    """
    workers, threads = share
    if cluster is None:
        engine.prepare(threads)
        return replace(of_process(run, network, kinds), start=START_SECONDS if workers > 1 else 0.0)
    speeds = list(engine.run_tasks(of_process, [(run, network, kinds)] * workers, workers, threads, cluster))
    return Speed(*(sum(column) / len(speeds) for column in zip(*map(dataclasses.astuple, speeds), strict=True)))


def of_process(run: Run, network: NetworkFacts, kinds: Collection[str]) -> Speed:
    """How fast this process does some kinds of work; what it makes is thrown away."""
    model = run.network()
    batch = run.config.evaluation.batch
    first = max(2, min(batch, FIRST_OPERATIONS // network.multiply_adds))

    def recalibrating(images: int) -> int:
        done = recalibrate(model, run.config, run.dataset, run.seed, min(images, len(run.dataset.train)))
        _wait(run.dataset.device)
        return done

    def forwarding(images: int) -> int:
        split = run.dataset.validation
        split = split.take(torch.arange(min(images, len(split))).to(split.labels.device))
        return sum(len(logits.cpu()) for logits in predict(model, run.dataset, split, run.config.training, batch))

    tries: dict[str, Callable[[], float]] = {
        "trained": lambda: _seconds_to_train(run, model, first),
        "recalibrated": lambda: seconds_a_unit(recalibrating, first),
        "forwarded": lambda: seconds_a_unit(forwarding, first),
        "mixed": lambda: _seconds_to_mix(run, model),
        "corrupted": lambda: _seconds_to_corrupt(run),
    }
    return Speed(**{kind: tries[kind]() for kind in kinds})


def seconds_a_unit(work: Work, first: int) -> float:
    """Seconds that one unit of `work` takes.

    The first call does not count, because it is slow, unless it takes very long. Then the number of units doubles until
    a call takes long enough, or until there are no more units to be had.

    Args:
        work: called with a number of units.
        first: how many units to begin with.
    """
    units, seconds = _timed(work, first)
    if seconds > LONG_SECONDS:
        return seconds / units
    asked, units, seconds = first, *_timed(work, first)
    while seconds < SAMPLE_SECONDS:
        asked *= 2
        more = _timed(work, asked)
        if more[0] <= units:
            break
        units, seconds = more
    return seconds / units


def _timed(work: Work, units: int) -> tuple[int, float]:
    """(units done, seconds that this took)."""
    start = time.perf_counter()
    done = work(units)
    return done, time.perf_counter() - start


def _wait(device: torch.device) -> None:
    """Wait until an accelerator has done all that it was asked to."""
    torch.zeros(1, device=device).item()


def _seconds_to_train(run: Run, model: nn.Module, first: int) -> float:
    """Seconds an image of `training.train`.

    Without PyTorch's optimisers: to create one takes seconds, since that imports a compiler. The update of the weights
    is timed by itself, because a step on few images has one as a step on a whole batch has.
    """
    dataset, settings, parameters = run.dataset, run.config.training, dict(model.named_parameters())
    prunable = set(registry.prunable(model, run.config.model.prunable))
    pruned = {name: weight <= 0 for name, weight in parameters.items() if name in prunable}
    velocities = {name: torch.zeros_like(weight) for name, weight in parameters.items()}
    draws = generator(run.seed, "timing")
    loss = losses.of(settings, dataset.task, dataset.device)

    def differentiate(images: int) -> int:
        batch = min(images, settings.batch, len(dataset.train))
        for _ in range(images // batch):
            model.train().zero_grad()
            indices = torch.randint(len(dataset.train), (batch,), generator=draws).to(dataset.device)
            raw = dataset.augment(dataset.train.batch(indices), dataset.draws(batch, draws))
            with precision(settings, dataset.device):
                output = model(inputs(dataset, raw, settings))
            torch.autograd.backward(loss(output.float(), dataset.train.labels[indices]))
        _wait(dataset.device)
        return images // batch * batch

    def update(times: int) -> int:
        with torch.no_grad():
            for _, (name, weight) in itertools.product(range(times), parameters.items()):
                gradient = velocities[name] if weight.grad is None else weight.grad
                if name in pruned:
                    gradient.masked_fill_(pruned[name], 0)
                weight.sub_(velocities[name].mul_(settings.momentum).add_(gradient), alpha=0.0)
        _wait(dataset.device)
        return times

    return seconds_a_unit(differentiate, min(first, settings.batch)) + seconds_a_unit(update, 1) / settings.batch


def _seconds_to_mix(run: Run, model: nn.Module) -> float:
    """Seconds that it takes to mix two networks, as read from files, and to prune the mixture back.

    Tried on some of the tensors of a large network, since the time is in proportion to its size.
    """
    everything = {name: tensor.cpu() for name, tensor in snapshot(model).items()}
    prunable = registry.prunable(model, run.config.model.prunable)
    weights = {prunable[0]: everything[prunable[0]]}
    for name, tensor in everything.items():
        if _numbers(weights) < MIXED_NUMBERS:
            weights[name] = tensor
    mask = {name: weights[name] > 0 for name in prunable if name in weights}
    pruned = {name: tensor * mask[name] if name in mask else tensor for name, tensor in weights.items()}
    target = Ticket(pruned, mask, 0)

    def mix(times: int) -> int:
        for _ in range(times):
            pruning.prune_back(arithmetic.lerp(target.weights, weights, 0.5), target, run.config.pruning.scope)
        return times

    return seconds_a_unit(mix, 1) * _numbers(everything) / _numbers(weights)


def _numbers(weights: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in weights.values())


def _seconds_to_corrupt(run: Run) -> float:
    """Mean seconds an image, over the corruptions that networks are measured under."""
    names = list(dict.fromkeys(corruption for _, corruption, severity in conditions.of(run) if severity))
    images = _few_images(run.dataset)
    start = time.perf_counter()
    for name in names:
        corruptions.corrupt(images, name, 3, 0, constants="auto")
    return (time.perf_counter() - start) / len(names) / len(images)


def _few_images(dataset: Dataset) -> Tensor:
    """Test images to corrupt: as many as there are in a batch of 8 of 32×32 pixels, but one at least."""
    count = max(1, min(8, 8 * 32 * 32 // math.prod(dataset.input_shape[1:]), len(dataset.test)))
    return dataset.view(dataset.test.batch(torch.arange(count))).cpu()

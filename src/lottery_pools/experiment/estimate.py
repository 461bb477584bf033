"""The plan that `--dry-run` prints: what a command would do, and about what it would cost on this machine."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lottery_pools.experiment import timing
from lottery_pools.experiment.opening import Experiment
from lottery_pools.experiment.plan import Part
from lottery_pools.experiment.pricing import NOTHING, price
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.timing import Cost, Share, Speed


@dataclass(frozen=True)
class Step:
    """A part of a plan."""

    stage: str
    detail: str
    items: int
    done: int
    cost: Cost
    """Of the items that are not done."""
    seconds: float
    """Estimated for this machine and its workers."""


@dataclass(frozen=True)
class Plan:
    """What a command would do, and about what it would cost."""

    folder: str
    exists: bool
    about: str
    machine: str
    steps: tuple[Step, ...]
    operations: int
    """Floating-point operations of the dense network, a multiply-add being two and a trained image three passes: that
    weights are pruned saves none of them here."""
    written: int
    """Bytes on disk."""
    seconds: float


def estimate(experiment: Experiment, parts: Sequence[Part]) -> Plan:
    """The plan of some parts; how long they take is found by trying steps of the network on this machine."""
    prices = {part.stage: price(part, experiment.network) for part in parts}
    shares = {part.stage: experiment.machine.share(len(part.tasks)) for part in parts if part.left}
    speeds = _speeds(experiment, prices, shares)
    steps, running = [], None
    for part in parts:
        seconds = 0.0
        if part.left:
            share = shares[part.stage]
            start = 0.0 if share == running else speeds[share].start  # the processes of the part before stay
            seconds = start + makespan(map(speeds[share].seconds, prices[part.stage]), share[0])
            running = share
        items, done = sum(task.items for task in part.tasks), sum(task.done for task in part.tasks)
        if items:
            steps.append(Step(part.stage, part.detail, items, done, sum(prices[part.stage], NOTHING), seconds))
    total = sum((step.cost for step in steps), NOTHING)
    return Plan(
        str(experiment.out),
        experiment.out.exists(),
        _about(experiment.runs[0]),
        f"{experiment.runs[0].device}, {' or '.join(map(_words, dict.fromkeys(shares.values()))) or 'nothing to do'}",
        tuple(steps),
        2 * experiment.network.multiply_adds * (3 * total.trained + total.recalibrated + total.forwarded),
        total.written,
        sum(step.seconds for step in steps),
    )


def makespan(seconds: Iterable[float], workers: int) -> float:
    """How long so many workers need for tasks that they take in turn."""
    busy_until = [0.0] * workers
    for duration in seconds:
        heapq.heapreplace(busy_until, busy_until[0] + duration)
    return max(busy_until)


def _speeds(
    experiment: Experiment, prices: Mapping[str, Sequence[Cost]], shares: Mapping[str, Share]
) -> dict[Share, Speed]:
    """How fast the machine is when it is shared out as some stages have it, at the kinds of work that these need."""
    speeds = {}
    for share in dict.fromkeys(shares.values()):
        total = sum((cost for stage, costs in prices.items() if shares.get(stage) == share for cost in costs), NOTHING)
        speeds[share] = timing.measured(
            experiment.runs[0], experiment.network, total.kinds, share, experiment.machine.cluster
        )
    return speeds


def _about(run: Run) -> str:
    """Network and data, in words."""
    model, dataset = run.config.model, run.dataset
    arguments = ", ".join(f"{key} {value}" for key, value in model.arguments.items())
    return (
        f"{model.name}{f' ({arguments})' if arguments else ''} on {run.config.data.name}, "
        f"{len(dataset.train):,} training, {len(dataset.validation):,} validation, {len(dataset.test):,} test samples"
    )


def _words(share: Share) -> str:
    """A share of the machine in words: `2 workers × 1 thread`."""
    workers, threads = share
    return f"{workers} worker{'s' if workers > 1 else ''} × {threads} thread{'s' if threads > 1 else ''}"

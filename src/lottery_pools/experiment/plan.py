"""What a command has to do, before it does it: the tasks of every part, which are done, and what the rest costs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.evaluation import cost
from lottery_pools.experiment import tasks as work
from lottery_pools.experiment.diagnose import EXPLAINED, diagnose
from lottery_pools.experiment.selection import recalibration_images
from lottery_pools.experiment.tasks import Condition, Run
from lottery_pools.experiment.timing import Cost, Speed, measured
from lottery_pools.models import registry
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.pooling.method import Method, Offer
from lottery_pools.runs import results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.rows import ENSEMBLE
from lottery_pools.tickets import training_costs
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

CORRUPTING = 10.0
"""Images that a small network forwards while one is corrupted, about."""
ROW_BYTES, TICKET_BYTES, TENSOR_BYTES = 450, 1000, 80
"""Of a result row without its hits, and of a ticket file without its tensors' values, about."""


@dataclass(frozen=True)
class Task:
    """What a worker does by itself."""

    arguments: tuple[Any, ...]
    """Of the part's function."""
    items: int
    done: int
    """How many of the items there are already."""
    cost: Cost = field(default_factory=Cost)
    """Of those that there are not."""
    logged: float = 0.0
    """What the run's log will count as `done` while they are made."""

    @property
    def left(self) -> bool:
        return self.done < self.items


@dataclass(frozen=True)
class Part:
    """Tasks of one kind, which may be done side by side."""

    stage: str
    """As the log names it."""
    function: Callable[..., Any]
    tasks: Sequence[Task]
    detail: str = ""

    @property
    def logged(self) -> float:
        """What is left to do, as the log counts it."""
        return sum(task.logged for task in self.tasks)


@dataclass(frozen=True)
class Step:
    """A part of a plan."""

    stage: str
    detail: str
    items: int
    done: int
    cost: Cost
    """Of the items not done."""
    seconds: float
    """Estimated for this machine and its workers."""


@dataclass(frozen=True)
class Plan:
    """What a command would do and about what it would cost."""

    folder: str
    exists: bool
    about: str
    machine: str
    steps: tuple[Step, ...]
    operations: int
    """Floating-point operations, a multiply-add two and a trained image three passes, of the dense network: that
    weights are pruned saves none of them here."""
    written: int
    """Bytes on disk."""
    seconds: float


def training(runs: Sequence[Run]) -> Part:
    """The tickets of every run, and those of its trained baselines."""
    trained_baselines = [trained_baseline for run in runs for trained_baseline in work.trained_baselines(run)]
    tasks = [_training(run) for run in (*runs, *trained_baselines)]
    names = ", ".join(dict.fromkeys(trained_baseline.config.name for trained_baseline in trained_baselines))
    densities = runs[0].config.pruning.schedule()
    detail = f"{_seeds(runs)} × {len(densities)} levels, density {_percent(densities[0])} to {_percent(densities[-1])}"
    return Part("training", work.train, tasks, detail + (f"; trained_baselines: {names}" if names else ""))


def pooling(runs: Sequence[Run], wanted: Sequence[str]) -> Part:
    """One pooled ticket for every run, method of `wanted` and target; raises UserError where there is one ticket
    only."""
    if len(runs[0].levels) < 2:
        raise UserError("a pool of one ticket: give at least two tickets, with pruning.levels 1 or more")
    model = runs[0].network()
    size, normalised = _ticket_bytes(model, runs[0].config.model.prunable), bool(tracked(model))
    prices = {
        (method, target): _price(runs[0], method, target, size, normalised)
        for method in wanted
        for target in runs[0].targets
    }
    tasks = []
    for run in runs:
        for (method, target), price in prices.items():
            done = run.folder.pool(method, target).exists()
            logged = 0 if done else price.recalibrated + price.forwarded + 3 * price.trained
            tasks.append(Task((run, method, target), 1, int(done), Cost() if done else price, logged))
    targets = f"{len(runs[0].targets)} target{'s' * (len(runs[0].targets) != 1)}"
    return Part("pooling", work.pool, tasks, f"{_seeds(runs)} × {', '.join(wanted)} × {targets}")


def corrupting(run: Run) -> Part:
    """The corrupted test samples that are made once and cached, the same for every seed."""
    tasks = []
    for condition in run.conditions:
        needed = int(condition not in work.CLEAN)
        ready = needed and work.ready(run, condition)
        n = _size(run, condition) if needed and not ready else 0
        size = n * math.prod(run.dataset.input_shape)
        tasks.append(Task((run, condition), needed, int(ready), Cost(corrupted=n, written=size), CORRUPTING * n))
    detail = f"{len({name for _, name, severity in run.conditions if severity})} corruptions, each severity once"
    return Part("corruption", work.corrupt, tasks, detail)


def measuring(runs: Sequence[Run], pools: Collection[tuple[Run, str, int]] = ()) -> Part:
    """The rows of every network that there is, and of the (run, method, target) that will be in `pools`."""
    tasks = []
    recalibrated = recalibration_images(runs[0].config, runs[0].dataset) * bool(tracked(runs[0].network()))
    for run in runs:
        done = {row.key for row in results.read(run.folder.results)}
        planned = [(method, level) for of, method, level in pools if of == run]
        for method, level in dict.fromkeys((*work.networks(run), *planned)):
            levels = run.levels if method == ENSEMBLE else (level,)
            times = len(levels)
            missing = tuple(
                condition
                for condition in run.conditions
                if any((method, each, *condition) not in done for each in levels)
            )
            fresh = method in ("recalibrated", ENSEMBLE, *TRAINED_BASELINES)
            images = times * sum(_size(run, condition) for condition in missing)
            rows = times * sum(ROW_BYTES + _size(run, condition) // 6 for condition in missing)
            spent = Cost(recalibrated=times * fresh * bool(missing) * recalibrated, forwarded=images, written=rows)
            conditions = len(run.conditions)
            tasks.append(Task((run, method, level, missing), conditions, conditions - len(missing), spent, images))
    networks = len(tasks) // max(1, len(runs))
    detail = f"{_seeds(runs)} × {networks} networks × {len(runs[0].conditions)} sets of samples"
    return Part("evaluation", work.measure, tasks, detail)


def diagnosing(runs: Sequence[Run], points: int, done: Sequence[bool]) -> Part:
    """Every run's diagnosis: pairs of tickets, and pooled tickets, are counted."""
    tasks = []
    for run, there in zip(runs, done, strict=True):
        pools = sum(method in EXPLAINED for method, _ in work.networks(run))
        pairs = len(run.levels) * (len(run.levels) - 1) // 2
        tasks.append(Task((run, points), 1, int(there), logged=pairs + pools))
    return Part("diagnosis", diagnose, tasks)


def estimate(parts: Iterable[Part], run: Run, machine: Machine, folder: str, exists: bool) -> Plan:
    """The plan of `parts`, timed by trying steps of the actual network on this machine for some seconds.

    As many workers try them side by side as would work, since they slow one another down.
    """
    speeds: dict[tuple[int, int], Speed] = {}
    steps, shares = [], {}
    dense = cost.flops(run.network(), run.dataset.input_shape)
    for part in parts:
        left = [task for task in part.tasks if task.left]
        seconds = 0.0
        if left:
            share = machine.share(len(part.tasks))
            shares[share] = f"{share[0]} worker{'s' * (share[0] > 1)} × {share[1]} thread{'s' * (share[1] > 1)}"
            if share not in speeds:
                speeds[share] = measured(run, *share, machine.cluster)
            speed = speeds[share]
            seconds = speed.start + _makespan([speed.seconds(task.cost) for task in left], share[0])
        items, done = (sum(getattr(task, name) for task in part.tasks) for name in ("items", "done"))
        if items:
            steps.append(Step(part.stage, part.detail, items, done, sum((task.cost for task in left), Cost()), seconds))
    total = sum((step.cost for step in steps), Cost())
    model = run.config.model
    arguments = ", ".join(f"{key} {value}" for key, value in model.arguments.items())
    about = f"{model.name} ({arguments})" if arguments else model.name
    return Plan(
        folder,
        exists,
        f"{about} on {run.config.data.name}, {len(run.dataset.train):,} training, {len(run.dataset.validation):,} "
        f"validation, {len(run.dataset.test):,} test samples",
        f"{run.device}, {' or '.join(shares.values()) or 'nothing to do'}",
        tuple(steps),
        2 * dense * (3 * total.trained + total.recalibrated + total.forwarded),
        total.written,
        sum(step.seconds for step in steps),
    )


def _training(run: Run) -> Task:
    config, dataset = run.config, run.dataset
    samples = len(dataset.train)
    size = _ticket_bytes(run.network(), config.model.prunable)
    spent, done, before = Cost(), 0, 0
    for level in run.levels:
        after = training_costs.train_images(config, samples, level)
        images, before = after - before, after
        if run.folder.ticket(level).exists():
            done += 1
            continue
        copies = config.pruning.copies if level else 1
        refitted = samples * (copies * (config.training.keep in ("swa", "ema")) + (copies > 1))
        scored = len(dataset.epochs) * round(images / samples) if config.training.keep == "best" else 0
        spent += Cost(trained=images, recalibrated=refitted, forwarded=scored, written=size)
    if not run.folder.rewind.exists():
        spent += Cost(written=size)
    return Task((run,), len(run.levels), done, spent if done < len(run.levels) else Cost(), 3.0 * spent.trained)


def _price(run: Run, method: str, target: int, size: int, has_batchnorm: bool) -> Cost:
    """What one pooled ticket, a file of `size` bytes, costs; only networks with BatchNorm are recalibrated."""
    selection = run.selection(method, target)
    entry = selection.method
    evaluations = _evaluations(run, entry, target, selection.max_evaluations(has_batchnorm))
    recalibrated = evaluations * selection.images + selection.final_images
    return Cost(
        trained=entry.gradient_steps * selection.batch,
        recalibrated=recalibrated if has_batchnorm else 0,
        forwarded=evaluations * len(selection.split),
        # to differentiate by a ticket's share costs about as much as to mix it in
        mixed=evaluations + entry.gradient_steps * len(run.levels),
        written=size,
    )


def _evaluations(run: Run, method: Method, target: int, limit: int | None) -> int:
    """How many networks a method evaluates for a target, at most or about.

    Raises UserError where a limit does not suffice for a method that cannot stop early.
    """
    pooling = run.config.pooling
    levels = [level for level in run.levels if level != target]
    nearest = sorted(levels, key=lambda level: (abs(level - target), level))[: pooling.candidates]
    sparser = sum(level > target for level in nearest)
    evaluations = method.evaluations(Offer(sparser, len(nearest) - sparser, len(pooling.coefficients)))
    if limit is None or evaluations <= limit:
        return evaluations
    if not method.stops_early:
        raise UserError(
            f"pooling.budget allows {limit} evaluations for level {target}, {method.name} needs {evaluations}: raise "
            "it, or choose a method that stops in time (trimmed-soup, average, interpolation)"
        )
    return limit


def _makespan(seconds: Iterable[float], workers: int) -> float:
    """How long so many workers need for tasks that they take in turn."""
    free = [0.0] * workers
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def _size(run: Run, condition: Condition) -> int:
    """Samples of a condition."""
    split, _, severity = condition
    if not severity:
        return len(run.dataset.validation if split == "validation" else run.dataset.test)
    return min(run.config.evaluation.corrupted or len(run.dataset.test), len(run.dataset.test))


def _ticket_bytes(model: nn.Module, rule: str) -> int:
    """The size of a ticket's file."""
    tensors = model.state_dict()
    bits = sum(int(tensors[name].numel()) for name in registry.prunable(model, rule))
    size = sum(int(tensor.numel()) * int(tensor.element_size()) for tensor in tensors.values())
    return TICKET_BYTES + TENSOR_BYTES * len(tensors) + bits // 8 + size


def _seeds(runs: Sequence[Run]) -> str:
    return f"{len(runs)} seed{'s' * (len(runs) != 1)}"


def _percent(density: float) -> str:
    return f"{100 * density:.3g} %"

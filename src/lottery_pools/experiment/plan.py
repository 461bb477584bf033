"""What is to be done: the tasks of every stage, and which of them are done. What they cost says `pricing`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lottery_pools.experiment import baselines, conditions, networks, searches
from lottery_pools.experiment import tasks as work
from lottery_pools.experiment.conditions import CLEAN, Condition
from lottery_pools.experiment.measuring import measure
from lottery_pools.experiment.opening import Experiment
from lottery_pools.experiment.run import Run
from lottery_pools.pooling.methods import BY_SCORE

LOGGED = ("training", "pooling", "tuning", "corruption", "evaluation")
"""The stages, as the runs' logs name them, in their order."""


@dataclass(frozen=True)
class Task:
    """What one worker does by itself: a call of its part's function."""

    arguments: tuple[Any, ...]
    items: int
    """How many things it makes."""
    done: int
    """How many of these there are already."""

    @property
    def left(self) -> bool:
        """Whether there is anything to do."""
        return self.done < self.items


@dataclass(frozen=True)
class Part:
    """Tasks of one kind, which may be done side by side."""

    stage: str
    """As the runs' logs name it."""
    function: Callable[..., Any]
    tasks: Sequence[Task]
    detail: str = ""
    """What it is about, for people."""

    @property
    def left(self) -> list[Task]:
        """The tasks that are not done."""
        return [task for task in self.tasks if task.left]


def parts(experiment: Experiment, stages: Sequence[str], methods: Sequence[str] = ()) -> list[Part]:
    """The parts of the work of `stages` (tickets, pool, evaluate), in their order; pools are made by `methods`.

    What an earlier stage will leave for a later one is foreseen: pools that are not there yet will be measured.
    """
    result = []
    if "tickets" in stages:
        result.append(training(experiment))
    if "pool" in stages:
        result.append(pooling(experiment, methods))
    if "evaluate" in stages:
        planned = [(run, method) for run in experiment.runs for method in methods] if "pool" in stages else []
        result += [tuning(experiment, planned), corrupting(experiment), measuring(experiment, planned)]
    return result


def together(parts: Iterable[Part]) -> Part:
    """The tasks of one or more parts of the same kind as one part."""
    first, *others = parts
    tasks = [task for part in (first, *others) for task in part.tasks]
    return replace(first, tasks=tasks, detail=first.detail if not others else f"{1 + len(others)} experiments")


def training(experiment: Experiment) -> Part:
    """The tickets of every run, and those of its trained baselines."""
    runs = (*experiment.runs, *experiment.trained_baselines)
    tasks = []
    for run in runs:
        done = sum(run.folder.ticket(level).exists() for level in run.levels)
        tasks.append(Task((run,), len(run.levels), done))
    densities = experiment.config.pruning.schedule()
    detail = (
        f"{_seeds(experiment)} × {len(densities)} levels, density {_percent(densities[0])} to {_percent(densities[-1])}"
    )
    if names := experiment.config.evaluation.trained_baselines:
        detail += f"; trained baselines: {', '.join(names)}"
    return Part("training", work.train, tasks, detail)


def pooling(experiment: Experiment, methods: Sequence[str]) -> Part:
    """One pooled ticket for every run, method and target, and for trained baselines whose tickets are pooled too."""
    runs = experiment.runs
    pooled = [(run, methods) for run in runs]
    pooled += [(run, baselines.methods(run)) for run in experiment.trained_baselines]
    tasks = []
    for run, names in pooled:
        for search in (searches.find(run, name) for name in names):
            for target in run.targets:
                done = run.folder.pool(search.name, target).exists()
                tasks.append(Task((run, search, target), 1, int(done)))
    targets = f"{len(runs[0].targets)} target{'' if len(runs[0].targets) == 1 else 's'}"
    return Part("pooling", work.pool, tasks, f"{_seeds(experiment)} × {', '.join(methods)} × {targets}")


def tuning(experiment: Experiment, planned: Collection[tuple[Run, str]] = ()) -> Part:
    """The networks that are fine-tuned on the held-out samples as controls: one for every run, control and target.

    Args:
        experiment: whose networks are tuned.
        planned: (run, method) of the pools that will be there; others are only tuned if they are there.
    """
    wanted = [
        (run, name, level) for run in experiment.runs for name in baselines.tuned_names(run) for level in run.targets
    ]
    tasks = [
        Task((run, name, level), 1, int(run.folder.tuned(name, level).exists()))
        for run, name, level in wanted
        if networks.untuned(run, name, level).exists() or (run, BY_SCORE) in planned
    ]
    names = ", ".join(baselines.tuned_names(experiment.runs[0]))
    return Part("tuning", work.tune, tasks, f"{_seeds(experiment)} × {names} on the held-out samples")


def corrupting(experiment: Experiment) -> Part:
    """The corrupted test samples that are made once and cached, the same for every seed."""
    run = experiment.runs[0]
    corrupted = [condition for condition in conditions.of(run) if condition not in CLEAN]
    tasks = [Task((run, condition), 1, int(conditions.is_ready(run, condition))) for condition in corrupted]
    detail = f"{len({name for _, name, _ in corrupted})} corruptions, each severity once"
    return Part("corruption", work.corrupt, tasks, detail)


def measuring(experiment: Experiment, planned: Collection[tuple[Run, str]] = ()) -> Part:
    """The rows of every network that there is, and of those that there will be.

    Args:
        experiment: whose networks are measured.
        planned: (run, method) of the pools that will be there, for all targets.
    """
    tuned = [task.arguments for task in tuning(experiment, planned).tasks]
    tasks = []
    for run in experiment.runs:
        there, wanted = {row.key for row in run.rows()}, conditions.of(run)
        pools = [(method, target) for of, method in planned if of == run for target in run.targets]
        if planned:
            pools += [(name, target) for name in baselines.pools(run) for target in run.targets]
        pools += [(name, level) for of, name, level in tuned if of == run]
        for method, level in dict.fromkeys((*networks.of(run), *pools)):
            levels = networks.levels_of_rows(run, method, level)
            missing = _missing(method, levels, wanted, there)
            tasks.append(Task((run, method, level, missing), len(wanted), len(wanted) - len(missing)))
    count = len(tasks) // len(experiment.runs)
    detail = f"{_seeds(experiment)} × {count} networks × {len(conditions.of(experiment.runs[0]))} sets of samples"
    return Part("evaluation", measure, tasks, detail)


def _missing(
    method: str, levels: Sequence[int], wanted: Sequence[Condition], there: Collection[tuple[str, int, str, str, int]]
) -> tuple[Condition, ...]:
    """The wanted conditions that lack a row at one of `levels`; `there` are the keys of the rows that there are."""
    return tuple(condition for condition in wanted if not all((method, level, *condition) in there for level in levels))


def _seeds(experiment: Experiment) -> str:
    count = len(experiment.runs)
    return f"{count} seed{'' if count == 1 else 's'}"


def _percent(density: float) -> str:
    return f"{100 * density:.3g} %"

"""The whole story on one page: tickets → pool → evaluate → report. A stage that is done already returns at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError
from lottery_pools.experiment import baselines, estimate, measuring, opening, plan, pricing
from lottery_pools.experiment.conditions import size_of
from lottery_pools.experiment.estimate import Plan
from lottery_pools.experiment.execution import IN_A_TERMINAL, Watching, check_sendable, do, progress
from lottery_pools.experiment.opening import NOBODY, THIS_MACHINE, Experiment
from lottery_pools.experiment.plan import Part, Task
from lottery_pools.experiment.run import OtherRun, Run
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.metric_report import MetricReport
from lottery_pools.runs import results
from lottery_pools.runs.engine import Machine, Workers
from lottery_pools.runs.rows import AnyRow

STAGES = ("tickets", "pool", "evaluate")
"""The commands that do the work, in their order."""
Methods = Mapping[Path, Sequence[str]]
"""The methods by which experiments pool, by the experiments' folders."""
NO_METHODS: Methods = {}


def run(
    config: Config, out: Path, machine: Machine = THIS_MACHINE, watching: Watching = IN_A_TERMINAL
) -> tuple[Path, ReportContent | MetricReport]:
    """Train the tickets of all seeds, pool them, measure everything, and write the report.

    Args:
        config: the settings; methods, corruptions and trained baselines add up with those of earlier calls.
        out: the folder of the experiment; what it has already is not made again.
        machine: where the work is done.
        watching: where progress is shown, and who is told what happens.

    Returns the path of the report and its content. Raises UserError for mistakes in settings, data and model before
    anything is written, and where the folder holds an experiment with other settings.

    Example:
        ```python
        page, report = run(toml.preset("demo"), Path("runs/demo"))
        ```
    """
    work([opening.resolve(config, out, machine)], watching)
    from lottery_pools.experiment import report as reports  # not at the top: only a finished run draws figures

    return reports.make(out)


def work(experiments: Sequence[Experiment], watching: Watching = IN_A_TERMINAL) -> None:
    """Train, pool and measure all of several experiments; what one of them leaves idle of a machine, others use.

    They must be of one machine. Raises UserError as `run`.
    """
    for experiment in experiments:
        _check_pooling(experiment, experiment.all_methods)
    methods = {experiment.out: experiment.all_methods for experiment in experiments}
    with ExitStack() as held:
        for experiment in experiments:
            held.enter_context(opening.hold(experiment))
        held.enter_context(_progress(experiments, watching, STAGES, methods))
        workers = held.enter_context(Workers(experiments[0].machine))
        _train(experiments, workers)
        _pool(experiments, methods, workers)
        _evaluate(experiments, workers)


def tickets(config: Config, out: Path, machine: Machine = THIS_MACHINE, watching: Watching = IN_A_TERMINAL) -> None:
    """Train the tickets of every seed and of its trained baselines, from where an earlier call stopped; as `run`."""
    experiment = opening.resolve(config, out, machine)
    with opening.hold(experiment), _progress([experiment], watching, ("tickets",)), Workers(machine) as workers:
        _train([experiment], workers)


def pool(
    config: Config,
    out: Path,
    machine: Machine = THIS_MACHINE,
    other_run: OtherRun = NOBODY,
    watching: Watching = IN_A_TERMINAL,
) -> None:
    """Pool the tickets of every seed by every method that `config` names, for every target; as `run`.

    Where `other_run` names a run, the targets are pooled with that run's tickets instead, as the control `other-run`.
    This is refused unless it allows another run, and always where the network is another.
    """
    experiment = opening.resolve(config, out, machine, other_run)
    _need_tickets(
        experiment, (*experiment.runs, *(run for run in experiment.trained_baselines if baselines.methods(run)))
    )
    _check_pooling(experiment, experiment.methods)
    methods = {experiment.out: experiment.methods}
    with opening.hold(experiment), _progress([experiment], watching, ("pool",), methods), Workers(machine) as workers:
        _pool([experiment], methods, workers)


def evaluate(config: Config, out: Path, machine: Machine = THIS_MACHINE, watching: Watching = IN_A_TERMINAL) -> None:
    """Measure every ticket, itself recalibrated, its pools and the ensemble, clean and corrupted; as `run`."""
    experiment = opening.resolve(config, out, machine)
    _need_tickets(experiment, (*experiment.runs, *_to_measure(experiment)))
    with opening.hold(experiment), _progress([experiment], watching, ("evaluate",)), Workers(machine) as workers:
        _evaluate([experiment], workers)


def preview(
    config: Config,
    out: Path,
    machine: Machine = THIS_MACHINE,
    stages: Sequence[str] = STAGES,
    other_run: OtherRun = NOBODY,
) -> Plan:
    """What the commands `stages` would do, given what is there already, and about what it would cost.

    Writes nothing. Raises UserError as the commands do.
    """
    experiment = opening.resolve(config, out, machine, other_run)
    methods = experiment.all_methods if "tickets" in stages else experiment.methods
    if "tickets" not in stages:
        of_baselines = _to_measure(experiment) if "evaluate" in stages else ()
        _need_tickets(experiment, (*experiment.runs, *of_baselines))
    if "pool" in stages:
        _check_pooling(experiment, methods)
    return estimate.estimate(experiment, plan.parts(experiment, stages, methods))


def _progress(
    experiments: Sequence[Experiment], watching: Watching, stages: Sequence[str], methods: Methods = NO_METHODS
) -> AbstractContextManager[None]:
    """Progress over the work of `stages`, which is foreseen only where progress is shown."""

    def work() -> tuple[list[Part], dict[str, float]]:
        all_parts: list[Part] = []
        amounts = dict.fromkeys(plan.LOGGED, 0.0)
        for experiment in experiments:
            parts = plan.parts(experiment, stages, methods.get(experiment.out, ()))
            for stage, amount in pricing.logged(parts, experiment.network).items():
                amounts[stage] += amount
            all_parts += parts
        return all_parts, {stage: amount for stage, amount in amounts.items() if amount}

    runs = [run for experiment in experiments for run in (*experiment.runs, *experiment.trained_baselines)]
    return progress(runs, work, watching)


def _need_tickets(experiment: Experiment, runs: Sequence[Run]) -> None:
    """Raise UserError where a run lacks tickets."""
    for run in runs:
        there = sum(run.folder.ticket(level).exists() for level in run.levels)
        if there < len(run.levels):
            raise UserError(
                f"{run.folder.path} has {there} of {len(run.levels)} tickets: train them first with "
                f"`lottery-pools tickets --preset {experiment.out / 'config.toml'} --out {experiment.out}`"
            )


def _to_measure(experiment: Experiment) -> list[Run]:
    """The runs of trained baselines that are measured; a notice names levels that are left out."""
    return [baseline for run in experiment.runs for baseline in baselines.runs_to_measure(run)]


def _check_pooling(experiment: Experiment, methods: Sequence[str]) -> None:
    """Raise UserError where the tickets, the budget or the workers do not allow to pool by `methods`."""
    pricing.check_pooling(experiment.network, experiment.runs[0], methods)
    check_sendable(plan.pooling(experiment, methods), experiment.machine)


def _train(experiments: Sequence[Experiment], workers: Workers) -> None:
    for experiment in experiments:
        for settings in experiment.baseline_settings:
            settings.write()
    do(plan.together(plan.training(experiment) for experiment in experiments), workers)


def _pool(experiments: Sequence[Experiment], methods: Methods, workers: Workers) -> None:
    parts = (plan.pooling(experiment, methods[experiment.out]) for experiment in experiments)
    do(plan.together(parts), workers)


def _evaluate(experiments: Sequence[Experiment], workers: Workers) -> None:
    do(plan.together(plan.tuning(experiment) for experiment in experiments), workers)
    _corrupt(experiments, workers)
    runs = [run for experiment in experiments for run in experiment.runs]
    for run in runs:
        results.mend(run.folder.results)
    there = {run.folder: {row.key for row in run.rows()} for run in runs}

    def keep(task: Task, rows: list[AnyRow]) -> None:
        folder = task.arguments[0].folder
        # the rows of all levels of an ensemble come together: a kill may have left the first of them
        results.append(folder.results, [row for row in rows if row.key not in there[folder]])

    do(plan.together(plan.measuring(experiment) for experiment in experiments), workers, keep)
    for run in runs:
        path = run.folder.results
        if run.config.measures_accuracy:
            results.append(path, measuring.admissible(results.read(path)))
        else:
            results.append(path, measuring.admissible(results.read_metrics(path)))


def _corrupt(experiments: Sequence[Experiment], workers: Workers) -> None:
    """Make the corrupted test samples that are not cached yet, before networks are measured on them."""

    def log(task: Task, _: None) -> None:
        run, condition = task.arguments
        done = pricing.CORRUPTING * size_of(run, condition)
        run.folder.event(stage="corruption", method=condition[1], done=done)

    by_samples = {(experiment.config.data, experiment.config.evaluation): experiment for experiment in experiments}
    do(plan.together(map(plan.corrupting, by_samples.values())), workers, log)

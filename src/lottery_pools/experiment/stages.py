"""The whole story on one page: data → tickets → pools → evaluation → report. Every part returns at once if done."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from lottery_pools.config import toml
from lottery_pools.config.schema import Config
from lottery_pools.data import shifts
from lottery_pools.errors import UserError, unknown
from lottery_pools.evaluation import cost
from lottery_pools.experiment import plan, tasks
from lottery_pools.experiment import report as reports
from lottery_pools.experiment.plan import Part, Plan, Task
from lottery_pools.experiment.tasks import Run
from lottery_pools.pooling import pool as pooling
from lottery_pools.pooling.methods import METHODS
from lottery_pools.reporting import terminal
from lottery_pools.reporting.content import Report
from lottery_pools.runs import engine, results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder, digest, lock, run_folder, write
from lottery_pools.runs.results import Row
from lottery_pools.tickets import files, imp
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

HERE = Machine()
STAGES = ("tickets", "pool", "evaluate")
"""The commands that do the work, in their order."""


def run(config: Config, out: Path, machine: Machine = HERE) -> tuple[Path, Report]:
    """Everything: train the tickets of all seeds, pool them, measure them; the report and its path."""
    with opened(config, out, machine) as runs, _progress(_parts(runs, STAGES)):
        _train(runs, machine)
        _pool(runs, runs[0].config.pooling.methods, machine)
        _evaluate(runs, machine)
    return reports.make(out)


def tickets(config: Config, out: Path, machine: Machine = HERE) -> None:
    """Train the tickets of every seed, and its trained baselines', continuing where an earlier call stopped."""
    with opened(config, out, machine) as runs, _progress(_parts(runs, STAGES[:1])):
        _train(runs, machine)


def pool(
    config: Config,
    out: Path,
    machine: Machine = HERE,
    candidates_from: Path | None = None,
    allow_other_run: bool = False,
) -> None:
    """Pool the tickets of every seed by every method, for every target.

    With `candidates_from`, another run's folder, the targets are pooled with that run's tickets instead, as the
    control `other-run`: refused unless `allow_other_run`, and always where the network is another.
    """
    with opened(config, out, machine) as runs:
        runs, wanted = _offered(runs, config.pooling.methods, candidates_from, allow_other_run)
        _need_tickets(runs, out)
        with _progress(_parts(runs, STAGES[1:2], wanted)):
            _pool(runs, wanted, machine)


def evaluate(config: Config, out: Path, machine: Machine = HERE) -> None:
    """Measure every ticket, its recalibrated self, its pools and the ensemble, clean and corrupted; adds the rows."""
    with opened(config, out, machine) as runs:
        _need_tickets([*runs, *(each for run in runs for each in tasks.trained_baselines(run))], out)
        with _progress(_parts(runs, STAGES[2:])):
            _evaluate(runs, machine)


def preview(
    config: Config,
    out: Path,
    machine: Machine = HERE,
    stages: Sequence[str] = STAGES,
    candidates_from: Path | None = None,
    allow_other_run: bool = False,
) -> Plan:
    """What the commands `stages` would do, from what there is on, and about what it would cost; writes nothing.

    Raises UserError as they would.
    """
    runs = checked(config, out, machine)
    trained_baselines = [trained_baseline for run in runs for trained_baseline in tasks.trained_baselines(run)]
    for run in (*runs, *trained_baselines):
        _joined(run.config, run.folder.path)
    names = (runs[0].config if STAGES[0] in stages else config).pooling.methods
    runs, wanted = _offered(runs, names, candidates_from, allow_other_run)
    if STAGES[0] not in stages:
        _need_tickets([*runs, *trained_baselines] if "evaluate" in stages else runs, out)
    return plan.estimate(_parts(runs, stages, wanted), runs[0], machine, str(out), out.exists())


def _offered(
    runs: list[Run], methods: tuple[str, ...], candidates_from: Path | None, allow_other_run: bool
) -> tuple[list[Run], tuple[str, ...]]:
    """The runs with the other run's tickets that they are to be pooled with, where one is named; the methods.

    Raises UserError where that run lacks tickets, or a run was pooled with those of yet another.
    """
    if candidates_from is None:
        if allow_other_run:
            raise UserError("--allow-other-run is for another run's tickets: name it with --candidates-from")
        return runs, methods
    other = RunFolder(candidates_from)
    for level in runs[0].levels:
        if not other.ticket(level).exists():
            raise UserError(f"{candidates_from} has no ticket of level {level}: give the folder of one seed's run")
    offered = {str(level): digest(other.ticket(level)) for level in runs[0].levels}
    for run, level in product(runs, runs[0].levels):
        path = run.folder.pool(tasks.OTHER_RUN, level)
        origin = files.read_metadata(path)["origin"] if path.exists() else {"parents": {}}
        if any(found != offered[parent] for parent, found in origin["parents"].items() if parent != str(level)):
            raise UserError(
                f"{path} was pooled with the tickets of {os.path.normpath(run.folder.path / origin['candidates'])}, "
                f"not of {candidates_from}: a folder holds one such control, take a copy of it from before that"
            )
    return [replace(run, other=other, allow_other_run=allow_other_run) for run in runs], (tasks.OTHER_RUN,)


def _need_tickets(runs: Sequence[Run], out: Path) -> None:
    """Raise UserError where a run lacks tickets."""
    for run in runs:
        there = sum(run.folder.ticket(level).exists() for level in run.levels)
        if there < len(run.levels):
            raise UserError(
                f"{run.folder.path} has {there} of {len(run.levels)} tickets: train them first with "
                f"`lottery-pools tickets --preset {out / 'config.toml'} --out {out}`"
            )


def _parts(runs: list[Run], stages: Sequence[str], methods: Sequence[str] | None = None) -> list[Part]:
    """The parts of the work of `stages`, in their order; what they will add to one another's is foreseen."""
    wanted = runs[0].config.pooling.methods if methods is None else methods
    parts = []
    if "tickets" in stages:
        parts.append(plan.training(runs))
    if "pool" in stages:
        parts.append(plan.pooling(runs, wanted))
    if "evaluate" in stages:
        pools = [task.arguments for part in parts if part.stage == "pooling" for task in part.tasks]
        parts += [plan.corrupting(runs[0]), plan.measuring(runs, pools)]
    return parts


def _train(runs: list[Run], machine: Machine) -> None:
    for run in runs:
        for trained_baseline in tasks.trained_baselines(run):
            _write_config(trained_baseline.config, trained_baseline.folder.path)
    _do(plan.training(runs), machine)


def _pool(runs: list[Run], wanted: Sequence[str], machine: Machine) -> None:
    _do(plan.pooling(runs, wanted), machine)


def _evaluate(runs: list[Run], machine: Machine) -> None:
    def corrupted(task: Task, nothing: None) -> None:
        run, (_, name, _) = task.arguments
        run.folder.event(stage="corruption", method=name, done=task.logged)

    def keep(task: Task, rows: list[Row]) -> None:
        folder = task.arguments[0].folder
        # the rows of all levels of an ensemble come together: a kill may have left the first of them
        results.append(folder.results, [row for row in rows if row.key not in there[folder]])

    for run in runs:
        results.mend(run.folder.results)
    there = {run.folder: {row.key for row in results.read(run.folder.results)} for run in runs}
    _do(plan.corrupting(runs[0]), machine, corrupted)
    _do(plan.measuring(runs), machine, keep)
    for run in runs:
        results.append(run.folder.results, tasks.admissible(results.read(run.folder.results)))


def diagnose(config: Config, out: Path, machine: Machine = HERE, points: int = 5) -> list[dict[str, Any]]:
    """Why the gains came about: paths, barriers, overlap, attribution, ensemble; kept in each run's folder.

    Every pair of tickets is measured at `points` places of the line between them. Needs the rows of `evaluate`.
    """
    with opened(config, out, machine) as runs:
        for run in runs:
            keys = {row.key for row in results.read(run.folder.results)}
            wanted = product(("ticket", "recalibrated", "admissible"), run.levels, tasks.CLEAN)
            if any((method, level, *condition) not in keys for method, level, condition in wanted):
                raise UserError(
                    f"{run.folder.path} has no results of all tickets yet: run `lottery-pools evaluate {out}` first"
                )

        def path(run: Run) -> Path:
            return run.folder.path / f"diagnosis_{points}.json"

        def keep(task: Task, found: dict[str, Any]) -> None:
            write(path(task.arguments[0]), json.dumps(found, indent=1) + "\n")

        def done(run: Run) -> bool:
            return path(run).exists() and reports.read_json(path(run)).get("rows") == digest(run.folder.results)

        part = plan.diagnosing(runs, points, [done(run) for run in runs])
        with _progress([part]):
            _do(part, machine, keep)
        return [reports.read_json(path(run)) for run in runs]


def replay(pooled: Path, out: Path | None = None) -> bool:
    """Rebuild a pooled ticket from its recipe and its run's tickets; True where its bytes are those of the file.

    `out` keeps the rebuilt file. Raises UserError where the file is none of a run's pools, a parent ticket is missing
    or no longer the same, or this machine lacks the device.
    """
    origin = files.read_metadata(pooled)["origin"]
    if "recipe" not in origin:
        raise UserError(f"{pooled} is a trained ticket, it has no recipe: give a file from a run's pools folder")
    folder = RunFolder(pooled.resolve().parent.parent.parent)
    if "parents" not in origin or not folder.config.exists():
        raise UserError(
            f"{pooled} lies beside no run that has its parents: give RUN/pools/METHOD/level_NN.safetensors, "
            "or rebuild it in Python with lp.replay"
        )
    try:
        Machine(origin["device"]).torch_device()
    except UserError as error:
        raise UserError(
            f"{pooled} was pooled on {origin['device']}, which this machine lacks: replay it there"
        ) from error
    config = toml.read_toml(folder.config)
    candidates = RunFolder((folder.path / origin["candidates"]).resolve())
    run = Run(config, config.seeds[0], folder, origin["device"], candidates)
    method = tasks.OTHER_SEED if candidates != folder else origin["method"]
    offered = run.pool_of(method, origin["target"])
    for level, path in offered.items():
        if not path.exists() or digest(path) != origin["parents"].get(str(level)):
            raise UserError(f"{path} is not the ticket that {pooled} was pooled from: restore it, or pool again")
    torch.set_num_threads(origin["threads"])
    model = run.network()
    ticket = pooling.replay(
        model,
        [files.load(path, model) for path in offered.values()],
        pooling.Recipe.of(files.load(pooled, model)),
        run.recalibrate,
        base=run.base(model),
        allow_other_run=method == tasks.OTHER_SEED,
    )
    with tempfile.TemporaryDirectory() as scratch:
        rebuilt = out or Path(scratch) / pooled.name
        files.save(replace(ticket, origin=origin), rebuilt)
        return rebuilt.read_bytes() == pooled.read_bytes()


@contextmanager
def opened(config: Config, out: Path, machine: Machine) -> Iterator[list[Run]]:
    """The runs of an experiment, as `checked` gives them; its folder is held, its settings are written down.

    Mistakes are raised, as `checked` does, before anything is written or work is shared out.
    """
    runs = checked(config, out, machine)
    with lock(out):
        _write_config(config, out)
        for run in runs:
            if run.folder.path != out:
                _write_config(run.config, run.folder.path)
        yield runs


def checked(config: Config, out: Path, machine: Machine) -> list[Run]:
    """The runs of an experiment, one a seed, each with what else the folder was given before.

    Raises UserError for mistakes in settings, data and model, and where the folder holds a run with other settings.
    """
    for method in config.pooling.methods:
        if method not in (*METHODS, tasks.OTHER_SEED):
            raise unknown("method", method, (*METHODS, tasks.OTHER_SEED))
    device = str(machine.torch_device())
    for name in config.evaluation.trained_baselines:
        if name not in TRAINED_BASELINES:
            raise unknown("trained baseline", name, TRAINED_BASELINES)
    shifts.names(config.data, config.evaluation.corruptions)
    config, dataset = _joined(config, out), tasks.dataset(config.data, device)
    imp.check(config, dataset)
    cost.flops(imp.network(config, dataset, config.seeds[0]), dataset.input_shape)
    folders = [run_folder(config, out, seed) for seed in config.seeds]
    runs = []
    for number, seed in enumerate(config.seeds):
        sibling = folders[(number + 1) % len(folders)] if len(folders) > 1 else None
        runs.append(Run(replace(config, seeds=(seed,)), seed, folders[number], device, sibling))
        for method in config.pooling.methods:
            runs[-1].candidates(method)
    return runs


def _write_config(config: Config, folder: Path) -> None:
    """Write the settings into a new folder, and what they add into an old one, which keeps its targets and budget."""
    path, new = folder / "config.toml", _joined(config, folder)
    if path.exists():
        old = toml.read_toml(path)
        new = replace(new, pooling=replace(new.pooling, targets=old.pooling.targets, budget=old.pooling.budget))
        if new == old:
            return
    write(path, toml.to_toml(new))


def _joined(config: Config, folder: Path) -> Config:
    """`config`, and what the run that `folder` holds has beside it; refuses other settings, but for what only adds.

    Methods, trained baselines and corruptions add up, severities where anything was corrupted; targets and budget
    may differ from call to call; how many samples are corrupted may be said as long as none were.
    """
    if not (folder / "config.toml").exists():
        return config
    old = toml.read_toml(folder / "config.toml")
    pooling, evaluation, before = config.pooling, config.evaluation, old.evaluation
    free = [
        "trained_baselines",
        "corruptions",
        "severities",
        *(() if before.corruptions else ("corrupted", "corrupted_from")),
    ]
    same = replace(
        config,
        pooling=replace(pooling, **{name: getattr(old.pooling, name) for name in ("methods", "targets", "budget")}),
        evaluation=replace(evaluation, **{name: getattr(before, name) for name in free}),
    )
    if same != old:
        raise UserError(
            f"{folder} holds a run with {toml.difference(old, same)}: "
            "choose another --out, or give the settings it was started with"
        )
    severities = sorted({*evaluation.severities, *(before.severities if before.corruptions else ())})
    return replace(
        config,
        pooling=replace(pooling, methods=tuple(dict.fromkeys((*old.pooling.methods, *pooling.methods)))),
        evaluation=replace(
            evaluation,
            trained_baselines=tuple(dict.fromkeys((*before.trained_baselines, *evaluation.trained_baselines))),
            corruptions=tuple(dict.fromkeys((*before.corruptions, *evaluation.corruptions))),
            severities=tuple(severities),
        ),
    )


def _progress(parts: Sequence[Part]) -> AbstractContextManager[None]:
    """Live progress over the parts, as the logs of their runs tell."""
    tasks = [task for part in parts for task in part.tasks if task.left]
    folders = dict.fromkeys(task.arguments[0].folder.path for task in tasks)
    return terminal.watch(list(folders), {part.stage: part.logged for part in parts})


def _do(part: Part, machine: Machine, keep: Callable[[Task, Any], None] = lambda task, result: None) -> None:
    """Do the tasks of a part that are left, and `keep` each result in their order.

    The machine is shared out over all tasks, done or not, so that a run continued computes the same bits.
    """
    workers, threads = machine.share(len(part.tasks))
    left = [task for task in part.tasks if task.left]
    if left:
        found = engine.each(part.function, [task.arguments for task in left], workers, threads, machine.cluster)
        for task, result in zip(left, found, strict=True):
            keep(task, result)

"""The whole story on one page: data → tickets → pools → evaluation → report. Every part returns at once if done."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lottery_pools import config as settings
from lottery_pools import work
from lottery_pools.config import Config
from lottery_pools.data import shifts
from lottery_pools.errors import UserError, unknown
from lottery_pools.evaluation.metrics import gains
from lottery_pools.pooling import methods
from lottery_pools.reporting import page, tables, terminal
from lottery_pools.runs import engine, results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder, digest, lock, write
from lottery_pools.runs.results import PoolRow, Row
from lottery_pools.tickets import files, imp
from lottery_pools.tickets.competitors import COMPETITORS
from lottery_pools.work import CLEAN, Run

HERE = Machine()


def run(config: Config, out: Path, machine: Machine = HERE) -> Path:
    """Everything: train the tickets of all seeds, pool them, measure them, write the report; returns its path."""
    tickets(config, out, machine)
    pool(config, out, machine)
    evaluate(config, out, machine)
    return report(out)


def tickets(config: Config, out: Path, machine: Machine = HERE) -> None:
    """Train the tickets of every seed, and its competitors', continuing where an earlier call stopped."""
    with opened(config, out, machine) as runs:
        rivals = [rival for run in runs for rival in work.rivals(run)]
        for rival in rivals:
            _settle(rival.config, rival.folder.path)
        every = [*runs, *rivals]
        _do(work.train, [(run,) for run in every], every, machine, _training_work, done=lambda task: task[0].trained)


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
        wanted = config.pooling.methods
        if candidates_from is not None:
            other = RunFolder(candidates_from)
            if not other.ticket(0).exists():
                raise UserError(f"{candidates_from} has no tickets: give the folder of one seed's run")
            runs = [replace(run, other=other, allow_other_run=allow_other_run) for run in runs]
            wanted = (work.OTHER_RUN,)
        tasks = [(run, method, target) for run in runs for method in wanted for target in run.targets]

        def done(task: tuple[Any, ...]) -> bool:
            run, method, target = task
            return bool(run.folder.pool(method, target).exists())

        _do(work.pool, tasks, runs, machine, _training_work, _pooling_work, done=done)


def evaluate(config: Config, out: Path, machine: Machine = HERE) -> None:
    """Measure every ticket, its recalibrated self, its pools and the ensemble, clean and corrupted; adds the rows."""
    with opened(config, out, machine) as runs:
        tasks: list[tuple[Any, ...]] = []
        for run in runs:
            results.mend(run.folder.results)
            done = {row.key for row in results.read(run.folder.results)}
            for method, level in work.networks(run):
                missing = tuple(cell for cell in run.cells if (method, level, *cell) not in done)
                tasks += [(run, method, level, missing)]
        corrupting = [(runs[0], cell) for cell in runs[0].cells]
        _do(work.corrupt, corrupting, [], machine, done=lambda task: work.ready(*task))

        def keep(task: tuple[Any, ...], rows: list[Row]) -> None:
            results.append(task[0].folder.results, rows)

        parts = (_training_work, _pooling_work, _evaluation_work)
        _do(work.measure, tasks, runs, machine, *parts, done=lambda task: not task[3], keep=keep)
        for run in runs:
            results.append(run.folder.results, work.admissible(results.read(run.folder.results)))


def diagnose(config: Config, out: Path, machine: Machine = HERE, points: int = 5) -> list[dict[str, Any]]:
    """Why the gains came about: paths, barriers, overlap, attribution, ensemble; kept in each run's folder.

    Every pair of tickets is measured at `points` places of the line between them. Needs the rows of `evaluate`.
    """
    with opened(config, out, machine) as runs:
        for run in runs:
            if not results.read(run.folder.results):
                raise UserError(f"{run.folder.path} has no results yet: run `lottery-pools evaluate {out}` first")

        def path(run: Run) -> Path:
            return run.folder.path / f"diagnosis_{points}.json"

        def keep(task: tuple[Any, ...], found: dict[str, Any]) -> None:
            write(path(task[0]), json.dumps(found, indent=1) + "\n")

        tasks = [(run, points) for run in runs]
        _do(work.diagnose, tasks, runs, machine, done=lambda task: path(task[0]).exists(), keep=keep)
        return [json.loads(path(run).read_text(encoding="utf-8")) for run in runs]


def report(folder: Path, reference: Path | None = None) -> Path:
    """Write `report.md` and `report.html` into `folder` from the rows of its runs; returns the page's path.

    With `reference`, another run's folder, there is a table of mean corruption errors (mCE) relative to its dense
    network, which the table names.
    """
    config, rows, pools = read(folder)
    extra = []
    if reference is not None:
        of, others, _ = read(reference)
        dense = [row for row in others if row.method == "ticket" and row.level == 0]
        extra.append(tables.mce_by_level(rows, dense, f"the dense {of.model.name} of {of.name}"))
    content = (config.name, rows, gains(rows), pools, config, extra)
    write(folder / "report.md", page.markdown(*content))
    write(folder / "report.html", page.render(*content))
    return folder / "report.html"


def publish(folder: Path, to: Path) -> None:
    """Write what is worth sharing of a run into the folder `to`: tables, settings, rows and recipes, but no weights.

    `report` works there as in the run's own folder, and makes the same tables to the byte.
    """
    config, rows, pools = read(folder)
    write(to / "config.toml", settings.to_toml(config))
    write(to / "results.jsonl.xz", lzma.compress(results.to_lines(rows).encode()))
    write(to / "pools.jsonl", results.to_lines(pools))
    write(to / "report.md", page.markdown(config.name, rows, gains(rows), pools, config))


def read(folder: Path) -> tuple[Config, list[Row], list[PoolRow]]:
    """The settings of an experiment's folder, the rows of its runs, and how its pools came about."""
    config = settings.of_folder(folder)
    if (folder / "results.jsonl.xz").exists():
        return config, results.read(folder / "results.jsonl.xz"), results.read_pools(folder / "pools.jsonl")
    runs = [_run_folder(config, folder, seed) for seed in config.seeds]
    rows = [row for run in runs for row in results.read(run.results)]
    if not rows:
        raise UserError(f"{folder} has no results yet: run `lottery-pools evaluate {folder}` first")
    pools = [_pool_row(path) for run in runs for path in sorted((run.path / "pools").glob("*/level_*.safetensors"))]
    return config, rows, pools


def replay(pooled: Path, out: Path | None = None) -> bool:
    """Rebuild a pooled ticket from its recipe and its run's tickets; True where its bytes are those of the file.

    `out` keeps the rebuilt file. Raises UserError where a parent ticket is missing or no longer the same.
    """
    origin = files.read_metadata(pooled)["origin"]
    if "recipe" not in origin:
        raise UserError(f"{pooled} is a trained ticket, it has no recipe: give a file from a run's pools folder")
    folder = RunFolder(pooled.resolve().parents[2])
    config = settings.read_toml(folder.config)
    candidates = RunFolder((folder.path / origin["candidates"]).resolve())
    run = Run(config, config.seeds[0], folder, origin["device"], candidates)
    method = work.OTHER_SEED if candidates != folder else origin["method"]
    offered = run.pool_of(method, origin["target"])
    for level, path in offered.items():
        if not path.exists() or digest(path) != origin["parents"][str(level)]:
            raise UserError(f"{path} is not the ticket that {pooled} was pooled from: restore it, or pool again")
    torch.set_num_threads(origin["threads"])
    model = run.network()
    ticket = methods.replay(
        model,
        [files.load(path, model) for path in offered.values()],
        origin["target"],
        origin["recipe"],
        run.recalibrate,
        base=files.load(folder.rewind, model).weights,
        allow_other_run=method == work.OTHER_SEED,
        **{key: origin[key] for key in ("scope", "method", "mask", "settings")},
    )
    rebuilt = out or pooled.with_name(f".{pooled.name}.replay")
    try:
        files.save(replace(ticket, origin=origin), rebuilt)
        return rebuilt.read_bytes() == pooled.read_bytes()
    finally:
        if out is None:
            rebuilt.unlink(missing_ok=True)


@contextmanager
def opened(config: Config, out: Path, machine: Machine) -> Iterator[list[Run]]:
    """The runs of an experiment, one a seed; its folder is held, its settings written down or checked.

    Mistakes in settings, data and model are raised here, before anything is written or work is shared out.
    """
    for method in config.pooling.methods:
        if method not in (*methods.METHODS, work.OTHER_SEED):
            raise unknown("method", method, (*methods.METHODS, work.OTHER_SEED))
    device = str(machine.torch_device())
    for name in config.evaluation.competitors:
        if name not in COMPETITORS:
            raise unknown("competitor", name, COMPETITORS)
    shifts.names(config.data, config.evaluation.corruptions)
    imp.check(config, work.dataset(config.data, device))
    folders = [_run_folder(config, out, seed) for seed in config.seeds]
    runs = []
    for number, seed in enumerate(config.seeds):
        sibling = folders[(number + 1) % len(folders)] if len(folders) > 1 else None
        runs.append(Run(replace(config, seeds=(seed,)), seed, folders[number], device, sibling))
        for method in config.pooling.methods:
            runs[-1].candidates(method)
    with lock(out):
        _settle(config, out)
        for run in runs:
            if run.folder.path != out:
                _settle(run.config, run.folder.path)
        yield runs


def _run_folder(config: Config, out: Path, seed: int) -> RunFolder:
    """One seed's run folder: `out` itself, or below it where the experiment has several seeds."""
    return RunFolder(out if len(config.seeds) == 1 else out / f"seed_{seed}")


def _settle(config: Config, folder: Path) -> None:
    """Write the settings into a new folder; in an old one, refuse others, but for what only adds to what it has.

    Methods, competitors and corruptions may be added; targets may differ from call to call; how many samples are
    corrupted may be said as long as none were.
    """
    path = folder / "config.toml"
    if path.exists():
        old = settings.read_toml(path)
        pooling = replace(config.pooling, methods=old.pooling.methods, targets=old.pooling.targets)
        evaluation = replace(
            config.evaluation,
            competitors=old.evaluation.competitors,
            corruptions=old.evaluation.corruptions,
            severities=old.evaluation.severities,
        )
        if not old.evaluation.corruptions:
            evaluation = replace(
                evaluation, corrupted=old.evaluation.corrupted, corrupted_from=old.evaluation.corrupted_from
            )
        same = replace(config, pooling=pooling, evaluation=evaluation)
        if same != old:
            raise UserError(
                f"{folder} holds a run with {settings.difference(old, same)}: "
                "choose another --out, or give the settings it was started with"
            )
        more = dict.fromkeys((*old.pooling.methods, *config.pooling.methods))
        competitors = dict.fromkeys((*old.evaluation.competitors, *config.evaluation.competitors))
        corruptions = dict.fromkeys((*old.evaluation.corruptions, *config.evaluation.corruptions))
        severities = sorted({*old.evaluation.severities, *config.evaluation.severities})
        config = replace(
            old,
            pooling=replace(old.pooling, methods=tuple(more)),
            evaluation=replace(
                config.evaluation,
                competitors=tuple(competitors),
                corruptions=tuple(corruptions),
                severities=tuple(severities),
            ),
        )
        if config == old:
            return
    write(path, settings.to_toml(config))


def _do(
    function: Callable[..., Any],
    tasks: list[tuple[Any, ...]],
    runs: list[Run],
    machine: Machine,
    *work: Callable[[Run], float],
    done: Callable[[tuple[Any, ...]], bool] = lambda task: False,
    keep: Callable[[tuple[Any, ...], Any], None] = lambda task, result: None,
) -> None:
    """Do the tasks that are not `done`, `keep` each result in their order, show progress over the parts in `work`.

    The machine is shared out over all tasks, done or not, so that a run continued computes the same bits.
    """
    workers, threads = machine.share(len(tasks))
    left = [task for task in tasks if not done(task)]
    if not left:
        return
    total = sum(part(run) for part in work for run in runs)
    with terminal.watch([run.folder.path for run in runs], total):
        for task, result in zip(left, engine.each(function, left, workers, threads, machine.cluster), strict=True):
            keep(task, result)


def _training_work(run: Run) -> float:
    """Images of one seed's training, one forward and backward pass counted as three forward passes."""
    return 3.0 * imp.train_images(run.config, len(run.dataset.train), run.levels[-1])


def _pooling_work(run: Run) -> float:
    """Images that one seed's pools forward, every look counted."""
    pooling = run.config.pooling
    candidates = min(len(run.levels) - 1, pooling.candidates or len(run.levels))
    searching = ("interpolation", *work.CONTROLS)
    looks = [candidates * (len(pooling.coefficients) if method in searching else 1) + 1 for method in pooling.methods]
    return float(sum(looks) * len(run.targets) * run.images_a_look)


def _evaluation_work(run: Run) -> float:
    """Images that one seed's evaluation forwards."""
    images = run.config.evaluation.corrupted or len(run.dataset.test)
    clean = len(run.dataset.validation) + len(run.dataset.test)
    return float(len(work.networks(run)) * (clean + images * (len(run.cells) - len(CLEAN))))


def _pool_row(path: Path) -> PoolRow:
    """What a pooled ticket's file says of how it came about."""
    metadata = files.read_metadata(path)
    origin = metadata["origin"]
    recipe = tuple((level, alpha) for level, alpha in origin["recipe"])
    density = metadata["kept"] / metadata["prunable"]
    return PoolRow(origin["seed"], path.parent.name, metadata["level"], density, recipe, origin["search_images"])

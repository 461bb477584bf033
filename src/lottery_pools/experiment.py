"""The whole story on one page: data → tickets → pools → evaluation → report. Every part returns at once if done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools import config as settings
from lottery_pools.config import Config, Data
from lottery_pools.data import sources
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError, unknown
from lottery_pools.evaluation.evaluate import evaluate as measure
from lottery_pools.evaluation.metrics import gains
from lottery_pools.pooling import methods, search
from lottery_pools.pooling.batchnorm import recalibrate, tracked
from lottery_pools.reporting import page, terminal
from lottery_pools.runs import engine, results
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder, digest, lock, write
from lottery_pools.runs.results import PoolRow, Row
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import files, imp
from lottery_pools.tickets.ticket import Ticket, load_into
from lottery_pools.tickets.training import Epoch, inputs, precision, predict

SPLITS = ("validation", "test")


HERE = Machine()


@dataclass(frozen=True)
class Run:
    """One seed of an experiment: what a worker needs to know."""

    config: Config
    seed: int
    folder: RunFolder
    device: str

    @property
    def levels(self) -> range:
        return range(len(self.config.pruning.schedule()))

    @property
    def targets(self) -> tuple[int, ...]:
        return self.config.pooling.targets or tuple(self.levels)

    @property
    def dataset(self) -> Dataset:
        return _dataset(self.config.data, self.device)

    @property
    def recalibration_images(self) -> int:
        wanted, available = self.config.pooling.recalibration, len(self.dataset.train)
        return available if wanted == "all" else min(wanted, available)

    @property
    def images_a_look(self) -> int:
        """Images forwarded to recalibrate and score one network in a search."""
        return self.recalibration_images * bool(tracked(self.network())) + len(self.dataset.validation)

    def network(self) -> nn.Module:
        return imp.network(self.config, self.dataset, self.seed)

    def tickets(self, model: nn.Module) -> list[Ticket]:
        return [files.load(self.folder.ticket(level), model) for level in self.levels]

    def score(self, model: nn.Module) -> Tensor:
        """Which validation samples are predicted correctly, (n,) bool."""
        split = self.dataset.validation
        logits = torch.cat(
            list(predict(model, self.dataset, split, self.config.training, self.config.evaluation.batch))
        )
        return logits.argmax(1) == split.labels

    def recalibrate(self, model: nn.Module) -> None:
        """Re-estimate BatchNorm on augmented training images, the same ones each time."""
        if self.recalibration_images == 0:
            return
        dataset, training = self.dataset, self.config.training
        order = torch.randperm(len(dataset.train), generator=generator(self.seed, "recalibrate"))
        chosen = order[: self.recalibration_images].to(dataset.train.images.device)
        draws = generator(self.seed, "recalibrate", "augment")
        parts = torch.split(chosen, self.config.evaluation.batch)
        batches = (inputs(dataset, dataset.augment(dataset.train.images[part], draws), training) for part in parts)
        with precision(training, chosen.device):
            recalibrate(model, batches)


@cache
def _dataset(data: Data, device: str) -> Dataset:
    """The data, once a process."""
    return sources.load(data).to(torch.device(device))


def run(config: Config, out: Path, machine: Machine = HERE) -> Path:
    """Everything: train the tickets of all seeds, pool them, measure them, write the report; returns its path."""
    tickets(config, out, machine)
    pool(config, out, machine)
    evaluate(config, out, machine)
    return report(out)


def tickets(config: Config, out: Path, machine: Machine = HERE) -> None:
    """Train the tickets of every seed by iterative pruning, continuing where an earlier call stopped."""
    with opened(config, out, machine) as runs:
        _do(_train, [(run,) for run in runs], runs, machine, _training_work)


def pool(config: Config, out: Path, machine: Machine = HERE) -> None:
    """Pool the tickets of every seed by every method, for every target."""
    with opened(config, out, machine) as runs:
        tasks = [(run, method, target) for run in runs for method in config.pooling.methods for target in run.targets]
        _do(_pool, tasks, runs, machine, _training_work, _pooling_work)


def evaluate(config: Config, out: Path, machine: Machine = HERE) -> None:
    """Measure every ticket, its recalibrated self and its pools on validation and test; adds the result rows."""
    with opened(config, out, machine) as runs:
        for run in runs:
            results.mend(run.folder.results)
        tasks = [(run, *network, _missing(run, *network)) for run in runs for network in _networks(run)]

        def keep(task: tuple[Any, ...], rows: list[Row]) -> None:
            results.append(task[0].folder.results, rows)

        _do(_measure, tasks, runs, machine, _training_work, _pooling_work, _evaluation_work, keep=keep)
        for run in runs:
            results.append(run.folder.results, _admissible(results.read(run.folder.results)))


def report(folder: Path) -> Path:
    """Write `report.md` and `report.html` into `folder` from the rows of its runs; returns the page's path."""
    config, rows, pools = read(folder)
    content = (config.name, rows, gains(rows), pools, config)
    write(folder / "report.md", page.markdown(*content))
    write(folder / "report.html", page.render(*content))
    return folder / "report.html"


def read(folder: Path) -> tuple[Config, list[Row], list[PoolRow]]:
    """The settings of an experiment's folder, the rows of its runs, and how its pools came about."""
    config = settings.of_folder(folder)
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
    for level, parent in origin["parents"].items():
        path = folder.ticket(int(level))
        if not path.exists() or digest(path) != parent:
            raise UserError(f"{path} is not the ticket that {pooled} was pooled from: restore it, or pool again")
    config = settings.read_toml(folder.config)
    run = Run(config, config.seeds[0], folder, origin["device"])
    torch.set_num_threads(origin["threads"])
    model = run.network()
    ticket = search.replay(
        model, run.tickets(model), origin["target"], origin["recipe"], run.recalibrate, origin["scope"]
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
        if method not in methods.METHODS:
            raise unknown("method", method, methods.METHODS)
    device = str(machine.torch_device())
    imp.check(config, _dataset(config.data, device))
    runs = [Run(replace(config, seeds=(seed,)), seed, _run_folder(config, out, seed), device) for seed in config.seeds]
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
    """Write the settings into a new folder; in an old one, refuse others, but for targets and more methods."""
    path = folder / "config.toml"
    if path.exists():
        old = settings.read_toml(path)
        added = tuple(method for method in config.pooling.methods if method not in old.pooling.methods)
        pooling = replace(config.pooling, methods=old.pooling.methods, targets=old.pooling.targets)
        new = replace(config, pooling=pooling)
        if new != old:
            raise UserError(
                f"{folder} holds a run with {settings.difference(old, new)}: "
                "choose another --out, or give the settings it was started with"
            )
        if not added:
            return
        config = replace(old, pooling=replace(pooling, methods=(*old.pooling.methods, *added)))
    write(path, settings.to_toml(config))


def _do(
    function: Callable[..., Any],
    tasks: list[tuple[Any, ...]],
    runs: list[Run],
    machine: Machine,
    *work: Callable[[Run], float],
    keep: Callable[[tuple[Any, ...], Any], None] = lambda task, result: None,
) -> None:
    """Do all tasks, `keep` each result in the order of the tasks, and show progress over the parts in `work`."""
    workers, threads = machine.share(len(tasks))
    total = sum(part(run) for part in work for run in runs)
    with terminal.watch([run.folder.path for run in runs], total):
        for task, result in zip(tasks, engine.each(function, tasks, workers, threads, machine.cluster), strict=True):
            keep(task, result)


def _training_work(run: Run) -> float:
    """Images of one seed's training, one forward and backward pass counted as three forward passes."""
    pruning, epochs = run.config.pruning, run.config.training.epochs
    rewound = epochs
    if pruning.after == "fine-tune":
        rewound = pruning.fine_tune_epochs
    elif pruning.after != "reinitialise" and pruning.rewind_unit == "epochs":
        rewound = epochs - pruning.rewind
    return 3.0 * len(run.dataset.train) * (epochs + (len(run.levels) - 1) * rewound)


def _pooling_work(run: Run) -> float:
    """Images that one seed's pools forward, every look counted."""
    pooling = run.config.pooling
    candidates = min(len(run.levels) - 1, pooling.candidates or len(run.levels))
    looks = {"average": candidates + 1}
    every = candidates * len(pooling.coefficients) + 1
    return float(sum(looks.get(m, every) for m in pooling.methods) * len(run.targets) * run.images_a_look)


def _evaluation_work(run: Run) -> float:
    """Images that one seed's evaluation forwards."""
    return float(len(_networks(run)) * (len(run.dataset.validation) + len(run.dataset.test)))


def _train(run: Run) -> None:
    """The tickets of one seed."""
    epochs, images = run.config.training.epochs, len(run.dataset.train)

    def log(level: int, epoch: Epoch) -> None:
        run.folder.event(stage="training", level=level, epochs=epochs, done=3 * images, **dataclasses.asdict(epoch))

    for ticket in imp.tickets(run.config, run.dataset, run.folder, run.seed, log):
        run.folder.event(stage="ticket", level=ticket.level, density=ticket.density)


def _pool(run: Run, method: str, target: int) -> None:
    """One pooled ticket with its recipe, saved."""
    path = run.folder.pool(method, target)
    if path.exists():
        return
    run.folder.event(stage="pooling", method=method, level=target)
    pooling = run.config.pooling
    model = run.network()
    all_tickets = run.tickets(model)
    pooled = methods.pool(
        model,
        all_tickets,
        target,
        run.score,
        run.recalibrate,
        method=method,
        coefficients=pooling.coefficients,
        candidates=pooling.candidates,
        scope=run.config.pruning.scope,
    )
    origin = {
        **all_tickets[target].origin,
        **pooled.ticket.origin,
        "target": target,
        "parents": {str(level): digest(run.folder.ticket(level)) for level in run.levels},
        "score": pooled.score,
        "target_score": pooled.target_score,
        "trials": [dataclasses.asdict(trial) for trial in pooled.trials],
        "search_images": pooled.looks * run.images_a_look,
        "train_images": all_tickets[-1].origin["train_images"],
        "threads": torch.get_num_threads(),
        "device": run.device,
    }
    files.save(replace(pooled.ticket, origin=origin), path)
    run.folder.event(stage="pooling", method=method, level=target, accuracy=pooled.score, done=origin["search_images"])


def _networks(run: Run) -> list[tuple[str, int]]:
    """Every network of a run that is measured, (method, level): tickets, recalibrated tickets, and pools there are."""
    own = [(method, level) for method in ("ticket", "recalibrated") for level in run.levels]
    return own + [
        (method, target)
        for method in methods.METHODS
        for target in run.levels
        if run.folder.pool(method, target).exists()
    ]


def _missing(run: Run, method: str, level: int) -> tuple[str, ...]:
    """The splits on which a network is not yet measured."""
    done = {row.key for row in results.read(run.folder.results)}
    return tuple(split for split in SPLITS if (method, level, split, "none", 0) not in done)


def _measure(run: Run, method: str, level: int, splits: tuple[str, ...]) -> list[Row]:
    """The rows of one network, one a split."""
    if not splits:
        return []
    own = method in ("ticket", "recalibrated")
    model = run.network()
    ticket = files.load(run.folder.ticket(level) if own else run.folder.pool(method, level), model)
    load_into(model, ticket.weights)
    search_images = ticket.origin.get("search_images", 0)
    if method == "recalibrated":
        run.recalibrate(model)
        search_images = run.images_a_look - len(run.dataset.validation)
    rows = []
    for split in splits:
        samples = run.dataset.validation if split == "validation" else run.dataset.test
        measured = measure(model, run.dataset, samples, run.config.training, run.config.evaluation.batch)
        row = Row(
            run=run.config.name,
            seed=run.seed,
            method=method,
            level=level,
            density=ticket.density,
            split=split,
            corruption="none",
            severity=0,
            n=len(samples),
            correct=int(measured.hits.sum()),
            loss=measured.loss,
            accuracy=measured.accuracy,
            ece=measured.ece,
            source=level,
            train_images=ticket.origin["train_images"],
            search_images=search_images,
            hits=results.pack_hits(measured.hits),
        )
        rows.append(row)
    done = sum(row.n for row in rows)
    run.folder.event(stage="evaluation", method=method, level=level, accuracy=rows[-1].accuracy, done=done)
    return rows


def _admissible(rows: list[Row]) -> list[Row]:
    """The rows of the best admissible ticket of every level that `rows` lack: those of the ticket taken over.

    It is the ticket at least as sparse as the target that is best on validation, recalibrated; the denser of equals.
    """
    done = {row.key for row in rows}
    own = [row for row in rows if row.method == "recalibrated"]
    added = []
    for level in sorted({row.level for row in own}):
        eligible = [row for row in own if row.split == "validation" and row.level >= level]
        best = max(eligible, key=lambda row: (row.accuracy, -row.level)).level
        taken = [replace(row, method="admissible", level=level, source=best) for row in own if row.level == best]
        added += [row for row in taken if row.key not in done]
    return added


def _pool_row(path: Path) -> PoolRow:
    """What a pooled ticket's file says of how it came about."""
    metadata = files.read_metadata(path)
    origin = metadata["origin"]
    recipe = tuple((level, alpha) for level, alpha in origin["recipe"])
    density = metadata["kept"] / metadata["prunable"]
    return PoolRow(origin["seed"], origin["method"], metadata["level"], density, recipe, origin["search_images"])

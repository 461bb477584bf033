"""The command `sweep`: several experiments that differ in their settings, side by side, in one table and report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError
from lottery_pools.experiment import opening, stages
from lottery_pools.experiment.execution import IN_A_TERMINAL, Watching
from lottery_pools.experiment.opening import THIS_MACHINE
from lottery_pools.reporting import sweep_table
from lottery_pools.reporting.content import ReportContent
from lottery_pools.runs import results
from lottery_pools.runs.disk import write
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder, lock, run_folder

Variants = Mapping[str, Config]
"""The settings of each experiment of a sweep, by the name of its folder."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: one seed of one variant."""

    number: int
    """What `--only` calls it, counted from 0."""
    variant: str
    seed: int
    folder: Path
    tickets: int
    """How many of its tickets there are already."""
    levels: int
    """How many tickets it will have."""
    rows: int
    """How many rows of results there are already."""


def sweep(
    variants: Variants, out: Path, machine: Machine = THIS_MACHINE, watching: Watching = IN_A_TERMINAL
) -> tuple[Path, dict[str, ReportContent]]:
    """Train, pool and measure every variant, as `stages.run` does one, and compare them.

    The tasks of all variants share the workers, so that none waits for another. What is there already is not done
    again: a sweep that was interrupted, or whose runs were done one by one (`only`), goes on from there.

    Args:
        variants: the settings of each experiment, by the name of its folder in `out`.
        out: the folder of the sweep.
        machine: where the work is done.
        watching: where progress is shown, and who is told what happens.

    Returns the path of the comparison, `comparison.html`, and the reports by variant. Beside it are `results.csv`, a
    line for every variant, method and level, and the folders of the variants, each with a report of its own. Raises
    UserError as `stages.run`, before anything is written, whichever variant is mistaken.

    Example:
        ```python
        demo = toml.preset("demo")
        variants = {f"lr-{lr}": replace(demo, training=replace(demo.training, lr=lr)) for lr in (0.05, 0.1)}
        page, reports = sweep(variants, Path("runs/rates"))
        ```
    """
    named = _named(variants)
    experiments = [opening.resolve(config, out / name, machine) for name, config in named.items()]
    with lock(out):
        stages.work(experiments, watching)
        from lottery_pools.experiment import report as reports  # not at the top: only a finished sweep draws figures

        for name in named:
            reports.make(out / name)
        page, contents = reports.compare([out / name for name in named], out / "comparison.html")
        of_accuracy = {name: content for name, content in contents.items() if isinstance(content, ReportContent)}
        write(out / "results.csv", sweep_table.csv_of(of_accuracy))
    return page, of_accuracy


def runs(variants: Variants, out: Path) -> list[SweepRun]:
    """Every run of a sweep, numbered in the order of variants and seeds, and how much of it there is already."""
    return [
        SweepRun(
            number,
            name,
            seed,
            folder.path,
            sum(folder.ticket(level).exists() for level in range(len(config.pruning.schedule()))),
            len(config.pruning.schedule()),
            len(results.read(folder.results)),
        )
        for number, (name, config, seed, folder) in enumerate(_numbered(variants, out))
    ]


def only(
    variants: Variants,
    out: Path,
    number: int,
    machine: Machine = THIS_MACHINE,
    watching: Watching = IN_A_TERMINAL,
) -> Path:
    """Train, pool and measure one run of a sweep, whose number is that of `runs`; returns the folder of the run.

    Others may do other runs at the same time, as the tasks of a scheduler's job array do. The table and the report are
    made by `sweep`, when all runs are done.

    Raises UserError where the sweep has no such run, and as `sweep`.
    """
    numbered = list(_numbered(variants, out))
    if not 0 <= number < len(numbered):
        raise UserError(f"--only is {number}: the sweep has runs 0 to {len(numbered) - 1}")
    _, config, seed, folder = numbered[number]
    experiment = opening.resolve(config.of_seed(seed), folder.path, machine)
    stages.work([experiment], watching)
    return folder.path


def _named(variants: Variants) -> dict[str, Config]:
    """The variants, each called by its name; raises UserError where there is none."""
    if not variants:
        raise UserError("a sweep of nothing: give at least one preset")
    for name, config in variants.items():
        if not config.measures_accuracy:
            raise UserError(f"a sweep compares accuracies, {name} has none: run it by itself")
    return {name: replace(config, name=name) for name, config in variants.items()}


def _numbered(variants: Variants, out: Path) -> Iterator[tuple[str, Config, int, RunFolder]]:
    """Every run of a sweep: its variant, settings, seed and folder."""
    for name, config in _named(variants).items():
        for seed in config.seeds:
            yield name, config, seed, run_folder(config, out / name, seed)

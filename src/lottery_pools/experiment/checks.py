"""Whether what a call asks of an experiment can be done: its methods, controls, trained baselines and corruptions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from lottery_pools.config.schema import Config
from lottery_pools.data import shifts
from lottery_pools.errors import Notice, UserError, unknown
from lottery_pools.experiment import searches
from lottery_pools.experiment.run import OtherRun, Run
from lottery_pools.experiment.searches import OTHER_RUN, OTHER_SEED
from lottery_pools.pooling.methods import METHODS, NOTHING_HELD_OUT, is_retired, refusal
from lottery_pools.runs.disk import digest
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import CONTROLS, TUNED
from lottery_pools.tickets import files
from lottery_pools.tickets.trained_baselines import RETIRED, TRAINED_BASELINES


def check_methods(config: Config, held: Config | None) -> None:
    """Raise UserError where no method has a name that the settings give, or a method would see held-out samples.

    A retired method is no mistake where the folder has it already: its rows stay, and a notice says that no more are
    made.
    """
    known = (*METHODS, OTHER_SEED)
    before = () if held is None else held.pooling.methods
    for name in config.pooling.methods:
        if is_retired(name) and name in before:
            warnings.warn(f"{refusal(name)}; the rows that it has stay as they are", Notice, stacklevel=3)
            continue
        if is_retired(name):
            raise UserError(refusal(name))
        if name not in known:
            raise unknown("method", name, known)
        if name == "fisher" and config.data.task != "single-label":
            raise UserError(
                f"method fisher draws classes from predictions, data.task is {config.data.task}: leave it out"
            )
        if name == OTHER_SEED and config.data.draw == "per-seed":
            raise UserError(
                f"method {name} pools tickets of the next seed, which with data.draw = per-seed were trained on "
                "samples that this seed holds out: give data.draw once"
            )
    _warn_of_nothing_held_out(config)


def _warn_of_nothing_held_out(config: Config) -> None:
    """Say which methods would choose on samples that tickets are trained on."""
    methods = [METHODS[name] for name in config.pooling.methods if name in METHODS]
    misled = [method.name for method in methods if method.chooses]
    if config.data.train_on_validation and misled:
        warnings.warn(
            f"data.train_on_validation: tickets are trained on the samples by which {', '.join(misled)} would choose; "
            f"{NOTHING_HELD_OUT} does without",
            Notice,
            stacklevel=4,
        )


def check_evaluation(config: Config, held: Config | None) -> None:
    """Raise UserError where a trained baseline or a corruption is unknown.

    A retired baseline is no mistake where the folder has it already: its rows stay, and it is not trained further.
    """
    before = () if held is None else held.evaluation.trained_baselines
    for name in config.evaluation.trained_baselines:
        if name in RETIRED and name not in before:
            raise UserError(f"trained baseline {name!r} was not as published and is gone: give {RETIRED[name]}")
        if name not in (*TRAINED_BASELINES, *TUNED, *RETIRED):
            raise unknown("trained baseline", name, (*TRAINED_BASELINES, *TUNED))
    shifts.names(config.data, config.evaluation.corruptions)


def check_controls(runs: Sequence[Run], other_run: OtherRun) -> None:
    """Raise UserError where a control lacks the run whose tickets it is to pool with."""
    for name in runs[0].config.pooling.methods:
        if name in CONTROLS:
            searches.find(runs[0], name)
    if other_run.candidates_from is not None:
        _check_other_run(runs, other_run.candidates_from)
    elif other_run.allow_other_run:
        raise UserError("--allow-other-run is for another run's tickets: name it with --candidates-from")


def _check_other_run(runs: Sequence[Run], candidates_from: Path) -> None:
    """Raise UserError where the other run lacks tickets, or a run was pooled with the tickets of yet another."""
    candidates = RunFolder(candidates_from)
    for level in runs[0].levels:
        if not candidates.ticket(level).exists():
            raise UserError(f"{candidates_from} has no ticket of level {level}: give the folder of one seed's run")
    offered = {str(level): digest(candidates.ticket(level)) for level in runs[0].levels}
    pools = [(run, run.folder.pool(OTHER_RUN, level), str(level)) for run in runs for level in run.levels]
    for run, path, target in pools:
        if not path.exists():
            continue
        origin = files.read_metadata(path)["origin"]
        before = {level: parent for level, parent in origin["parents"].items() if level != target}
        if any(parent != offered[level] for level, parent in before.items()):
            raise UserError(
                f"{path} was pooled with the tickets of {os.path.normpath(run.folder.path / origin['candidates'])}, "
                f"not of {candidates_from}: a folder holds one such control, take a copy of it from before that"
            )

"""What is trained beside the tickets of a run: baselines, each a run in a folder of its own, and their pools."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from lottery_pools.errors import Notice
from lottery_pools.experiment.run import Run
from lottery_pools.pooling.methods import BY_SCORE, DEFAULT, METHODS, NOTHING_HELD_OUT, PAPERS_RULE, WITHOUT_LABELS
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import TUNED, pooled_by
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

POOLED_BY = {
    "learning-rate-rewinding": (PAPERS_RULE, BY_SCORE, WITHOUT_LABELS, DEFAULT),
    # methods that choose by held-out samples would choose by what these tickets were trained on
    "held-out-training": (NOTHING_HELD_OUT,),
}
"""Trained baselines whose tickets are pooled too → the methods that pool them."""


def names(run: Run) -> tuple[str, ...]:
    """The trained baselines that are asked for, without retired ones, which only old folders name."""
    return tuple(name for name in run.config.evaluation.trained_baselines if name in TRAINED_BASELINES)


def tuned_names(run: Run) -> tuple[str, ...]:
    """The controls that are asked for in which networks are fine-tuned on the held-out samples."""
    return tuple(name for name in run.config.evaluation.trained_baselines if name in TUNED)


def run_of(run: Run, name: str, level: int) -> Run:
    """The run that trains the ticket of `level` of the trained baseline `name`."""
    baseline = TRAINED_BASELINES[name]
    settings = baseline.settings(run.config, run.dataset.epoch_size, level)
    path = run.folder.path / "trained_baselines" / name
    former = run.folder.path / "competitors" / name  # its name in folders of earlier versions
    if former.exists() and not path.exists():
        path = former
    path = path / f"level_{level:02d}" if baseline.per_level else path
    return replace(run, config=replace(settings, name=name), folder=RunFolder(path), sibling=None)


def runs_of(run: Run) -> list[Run]:
    """The runs of all trained baselines of a run: one each, or one for each target where levels train by themselves."""
    return [
        run_of(run, name, level)
        for name in names(run)
        for level in (run.targets if TRAINED_BASELINES[name].per_level else run.levels[-1:])
    ]


def levels_to_measure(run: Run, name: str) -> Sequence[int]:
    """The levels of a trained baseline that are measured: where each trains by itself, the targets that are trained.

    If none of these is, they are all targets, whose tickets are missing.
    """
    if not TRAINED_BASELINES[name].per_level:
        return run.levels
    return [level for level in run.targets if run_of(run, name, level).folder.ticket(level).exists()] or run.targets


def runs_to_measure(run: Run) -> list[Run]:
    """The runs of trained baselines that are measured; a notice names levels that are left out."""
    runs, measured = runs_of(run), {name: levels_to_measure(run, name) for name in names(run)}
    left_out = [baseline for baseline in runs if baseline.levels[-1] not in measured[baseline.config.name]]
    for folder in sorted({baseline.folder.path.parent for baseline in left_out}):
        levels = ", ".join(str(baseline.levels[-1]) for baseline in left_out if baseline.folder.path.parent == folder)
        warnings.warn(f"{folder}: levels {levels} are not trained, and are not measured", Notice, stacklevel=3)
    return [baseline for baseline in runs if baseline not in left_out]


# Pools of their tickets.


def pools(run: Run) -> dict[str, tuple[str, str]]:
    """What rows call the pools of a trained baseline's tickets → the baseline and the method."""
    return {pooled_by(name, method): (name, method) for name in names(run) for method in _pooling(run, name)}


def methods(baseline: Run) -> tuple[str, ...]:
    """The methods by which the tickets of a trained baseline, given by its run, are pooled; none: they are not."""
    return _pooling(baseline, baseline.config.name)


def _pooling(run: Run, name: str) -> tuple[str, ...]:
    """The methods that pool the tickets of a trained baseline; none that needs classes where there are none."""
    is_classifier = run.config.data.task == "single-label"
    return tuple(method for method in POOLED_BY.get(name, ()) if is_classifier or not METHODS[method].classifies)

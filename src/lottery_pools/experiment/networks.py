"""The networks of a run that are measured: which they are, where their files lie, and how they are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from lottery_pools.experiment import baselines, placement
from lottery_pools.experiment.run import Run
from lottery_pools.pooling.methods import BY_SCORE, METHODS
from lottery_pools.runs.rows import CONTROLS, ENSEMBLE, TUNED
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

Network = tuple[str, int]
"""What is measured, within a run: (method, level)."""


def of(run: Run) -> list[Network]:
    """Every network of a run that is measured: tickets, the ensemble, the pools that there are, trained baselines.

    The ensemble is one of predicted probabilities: it is left out where another metric than accuracy is measured.
    """
    tickets = [(method, level) for method in ("ticket", "recalibrated") for level in run.levels]
    pools = [(method, level) for method in (*METHODS, *CONTROLS) for level in run.levels]
    trained = [(name, level) for name in baselines.names(run) for level in baselines.levels_to_measure(run, name)]
    pools += [(method, level) for method in (*TUNED, *baselines.pools(run)) for level in run.targets]
    made = [(method, level) for method, level in pools if path(run, method, level).exists()]
    ensemble = [(ENSEMBLE, 0)] if run.config.measures_accuracy else []
    return [*tickets, *ensemble, *made, *trained]


def levels_of_rows(run: Run, method: str, level: int) -> Sequence[int]:
    """The levels of the rows of a network: the ensemble's are the same for every level."""
    return run.levels if method == ENSEMBLE else (level,)


def path(run: Run, method: str, level: int) -> Path:
    """The file of a network: a ticket, a pool, a tuned network, or a trained baseline's."""
    _, file, _ = _place(run, method, level)
    return file


def load(run: Run, method: str, level: int, model: nn.Module) -> Ticket:
    """A network, checked against `model` and the place of its file. Raises UserError where it is another."""
    owner, file, pooled_by = _place(run, method, level)
    network = files.load(file, model)
    owner.check_place(file, network, level, pooled_by)
    return network


def _place(run: Run, method: str, level: int) -> tuple[Run, Path, str]:
    """Where a network lies: the run whose folder holds it, its file, and the method that pooled it."""
    if method in ("ticket", "recalibrated"):
        return run, run.folder.ticket(level), placement.TRAINED
    if method in TUNED:
        return run, run.folder.tuned(method, level), placement.TRAINED
    if method in TRAINED_BASELINES:
        baseline = baselines.run_of(run, method, level)
        return baseline, baseline.folder.ticket(level), placement.TRAINED
    if method in (pools := baselines.pools(run)):
        name, pooled_by = pools[method]
        baseline = baselines.run_of(run, name, level)
        return baseline, baseline.folder.pool(pooled_by, level), pooled_by
    return run, run.folder.pool(method, level), method


def untuned(run: Run, name: str, level: int) -> Path:
    """The file of the network that a control of `TUNED` fine-tunes."""
    return run.folder.ticket(level) if name == "tuned-ticket" else run.folder.pool(BY_SCORE, level)


def recalibrates(method: str) -> bool:
    """Whether a network is recalibrated before it is measured: pools are already, and tickets are measured as saved."""
    return method == "recalibrated" or method in TUNED or method in TRAINED_BASELINES

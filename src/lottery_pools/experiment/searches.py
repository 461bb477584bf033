"""The ways to pool a run's targets: by a method, or by a control that pools with the tickets of another run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lottery_pools.errors import UserError
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.selection import Selection
from lottery_pools.pooling import methods
from lottery_pools.pooling.method import Method
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import CONTROLS

OTHER_SEED, OTHER_RUN = CONTROLS
"""Controls: the paper's rule with the candidates of the experiment's next seed, or of a run that is named."""


@dataclass(frozen=True)
class Search:
    """One way to pool the targets of a run: a method, and the run whose tickets are its candidates."""

    name: str
    """What result rows and the folder of the pools call it: the method's name, or the name of a control."""
    method: Method
    candidates: RunFolder
    allow_other_run: bool = False
    """Whether the candidates may be of other data, settings or seed than the target."""


def find(run: Run, name: str) -> Search:
    """The way to pool that a name stands for: that of a method, or of a control.

    Raises UserError where no method has that name, and where a control lacks the other run.
    """
    papers_rule = methods.METHODS[methods.PAPERS_RULE]
    if name == OTHER_SEED:
        if run.sibling is None:
            raise UserError(f"method {name} needs a second seed: give two or more with --seeds")
        return Search(name, papers_rule, run.sibling, allow_other_run=True)
    if name == OTHER_RUN:
        if run.other_run.candidates_from is None:
            raise UserError(f"method {name} needs pool --candidates-from RUN")
        candidates = RunFolder(run.other_run.candidates_from)
        return Search(name, papers_rule, candidates, run.other_run.allow_other_run)
    return Search(name, methods.find(name), run.folder)


def files_of(run: Run, search: Search, target: int) -> dict[int, Path]:
    """The files of the tickets that are pooled, by level: the target's own, and all others of the candidates."""
    folders = {level: run.folder if level == target else search.candidates for level in run.levels}
    return {level: folder.ticket(level) for level, folder in folders.items()}


def selection(run: Run, search: Search, target: int) -> Selection:
    """What the search for a target is scored on."""
    return Selection(run.config, run.dataset, run.seed, search.method, target)

"""The methods of pooling, one file each (or one a family): adding a method means adding a file here.

A file defines its search and `METHODS`, a tuple of `Method` values; it is found by being in this folder. Files import
torch, and what needs it, inside their functions: so the table of methods is there at once for `--help` and for reports.
"""

from __future__ import annotations

import importlib
import pkgutil

from lottery_pools.errors import UserError, unknown
from lottery_pools.pooling.method import Method, RetiredMethod

PAPERS_RULE = "interpolation"
"""The method of the paper, with every coefficient."""
DEFAULT = "balanced-soup"
"""Our default for classifiers. It chooses by held-out inputs and their labels."""
WITHOUT_LABELS = "fading-soup"
"""What `lottery_pools.pool` takes where it is given held-out inputs without labels."""
BY_SCORE = "trimmed-soup"
"""Our default where a score is to choose: for tasks without classes, and where a score is given."""
NOTHING_HELD_OUT = "sparser-soup"
"""Our default for tickets that were trained on every sample there is: it chooses nothing."""
OURS = (DEFAULT, WITHOUT_LABELS, BY_SCORE)
"""Those of our defaults that choose: the first that was pooled is the one that a report is about."""


def defaults(task: str, nothing_held_out: bool = False) -> tuple[str, ...]:
    """The methods that pool the tickets of an experiment that names none.

    Args:
        task: The setting `data.task`.
        nothing_held_out: The setting `data.train_on_validation`.
    """
    if nothing_held_out:
        return (NOTHING_HELD_OUT,)
    return ("average", PAPERS_RULE, BY_SCORE, *((DEFAULT,) if task == "single-label" else ()))


def _discover() -> dict[str, Method]:
    """Every method of every file in this folder, by name, in the order of their ranks."""
    files = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    methods: list[Method] = [method for file in files for method in file.METHODS]
    return {method.name: method for method in sorted(methods, key=lambda method: method.rank)}


METHODS: dict[str, Method] = _discover()
"""Every method by its name. A method of your own that is added here is known to experiments and reports too."""

RETIRED_METHODS = {
    "best": RetiredMethod(
        "Best (ours, retired)",
        summary="the trimmed soup, then one coefficient a tensor and ticket learned from there",
        nearest=BY_SCORE,
        colour="#009e73",
        marker="D",
    ),
    "consensus-soup-training": RetiredMethod(
        "Consensus soup on training inputs (ours, retired)",
        summary="the consensus soup, choosing by training inputs instead of held-out ones",
        nearest=NOTHING_HELD_OUT,
        colour="#0072b2",
        marker="X",
    ),
    "fading-soup-labels": RetiredMethod(
        "Fading soup with labels (ours, retired)",
        summary="the fading soup, which agrees half with the labels of 500 held-out samples, whatever the tickets",
        nearest=DEFAULT,
        colour="#0072b2",
        marker="v",
    ),
    "slerp": RetiredMethod(
        "SLERP (retired)",
        summary="along the arc to the better of the two nearest tickets",
        nearest=PAPERS_RULE,
        recipe="steps",
        colour="#009e73",
        marker="<",
    ),
    "dare": RetiredMethod(
        "DARE (retired)",
        summary="differences from the rewind point, randomly dropped",
        nearest="ties",
        colour="#e69f00",
        marker="2",
        collapses=True,
    ),
}
"""Methods of earlier versions, by name, whose rows are still read."""


def is_retired(method: str) -> bool:
    """Whether a name is that of a method that is gone, and no method of the user's own has it."""
    return method in RETIRED_METHODS and method not in METHODS


def refusal(method: str) -> str:
    """Why a retired method does not pool, in one line: what it was, and what is nearest."""
    retired = RETIRED_METHODS[method]
    return f"method {method!r} ({retired.summary}) is retired: {retired.nearest} is nearest to it"


def find(method: str | Method) -> Method:
    """The method of that name, or the method itself; raises UserError where no method has that name."""
    if isinstance(method, Method):
        return method
    if is_retired(method):
        raise UserError(refusal(method))
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    return METHODS[method]

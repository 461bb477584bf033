"""What methods and corruptions are called, what kind a method is, which are shown, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lottery_pools.pooling.method import Method, RetiredMethod
from lottery_pools.pooling.methods import METHODS, OURS, PAPERS_RULE, RETIRED_METHODS
from lottery_pools.runs.rows import BASELINES, CONTROLS, ENSEMBLE, TUNED

APART = (*CONTROLS, ENSEMBLE)
"""What is no single pooled network of this run: measured like the methods, but never what a report features."""

TRAINED_BASELINES = (
    *("sparse-model-soups", "swamp-full", "swamp-equal-cost", "learning-rate-rewinding", "longer", "rigl"),
    *("lawa", "tail-ema", "swa-training", "ema-training", "held-out-training"),
)
"""What trains instead of pooling."""

RETIRED = ("sms", "swamp")
"""Trained baselines of earlier versions, whose rows are still read."""

HELD_OUT = ("held-out-training", *TUNED)
"""Controls that train on the held-out samples, which pools are chosen on."""

TRAINED_LINES = 6
"""As many trained baselines have a colour of their own in a figure; tables have all."""

_INSTEAD = (*TRAINED_BASELINES, *TUNED, *RETIRED)
"""All that was ever trained instead of pooling."""

_LABELS = {
    "ticket": "Ticket",
    "recalibrated": "Recalibrated",
    "admissible": "Best admissible",
    "sparse-model-soups": "Sparse Model Soups (3 copies)",
    "swamp-full": "SWAMP (4 particles, 4 × cost)",
    "swamp-equal-cost": "SWAMP (2 particles)",
    "sms": "Two short rewound copies (retired)",
    "swamp": "Two short rewound SWA copies (retired)",
    "learning-rate-rewinding": "Learning-rate rewinding",
    "rigl": "RigL (moving mask)",
    "lawa": "Mean of the last 6 epochs (LAWA)",
    "tail-ema": "EMA of the last epochs",
    "held-out-training": "Trained on held-out too (control)",
    "tuned-ticket": "Ticket tuned on held-out (control)",
    "tuned-pool": "Trimmed soup tuned on held-out (control)",
    "swa-training": "SWA within training",
    "ema-training": "EMA within training",
    "longer": "Trained for longer",
    "other-seed": "Pool of another seed (control)",
    "other-run": "Pool of another run (control)",
    ENSEMBLE: "Ensemble (n passes)",
}
"""Names for people of all that is no method of pooling; each method of pooling has its own."""


_INITIALS = ("iid", "jpeg")


def label(method: str) -> str:
    """A method's name for people; of an unknown one its own, capitalised."""
    if pooling := _pooling(method):
        return pooling.label
    if pool_of_baseline(method):
        baseline, _, pooled_by = method.partition("+")
        return f"{label(baseline)}: {label(pooled_by)}"
    return _LABELS.get(method, method[:1].upper() + method[1:])


def pool_of_baseline(method: str) -> bool:
    """Whether rows of that name are of pools of a trained baseline's tickets (`rows.pooled_by`)."""
    baseline, plus, pooled_by = method.partition("+")
    return bool(plus) and baseline in TRAINED_BASELINES and _pooling(pooled_by) is not None


def instead(method: str) -> bool:
    """Whether a method trains instead of pooling this run's tickets."""
    return method in _INSTEAD or pool_of_baseline(method)


def mixes_in_turn(method: str) -> bool:
    """Whether a method's recipe has Algorithm 2's steps: candidates mixed in one after the other, α the weight of what
    was there before. Other recipes have the share of each ticket in one weighted sum, the target's among them."""
    pooling = _pooling(method)
    return method in CONTROLS or (pooling is not None and pooling.recipe == "steps")


def _pooling(method: str) -> Method | RetiredMethod | None:
    """The method of pooling of that name, present or retired."""
    return METHODS.get(method) or RETIRED_METHODS.get(method)


def kind(corruption: str) -> str:
    """A corruption's name for people."""
    words = " ".join(word.upper() if word in _INITIALS else word for word in corruption.split("_"))
    return words[:1].upper() + words[1:]


def place(method: str) -> tuple[int, float]:
    """Where a method is shown among the others, to sort by: baselines, methods of pooling, retired ones, trained
    baselines, unknown methods, then controls and the ensemble."""
    if method in METHODS:
        return 1, METHODS[method].rank
    if pool_of_baseline(method):
        baseline, _, pooled_by = method.partition("+")
        rank = METHODS[pooled_by].rank if pooled_by in METHODS else 1e4  # retired ones come last
        return 3, _INSTEAD.index(baseline) + (1 + rank) / 1e6
    for group, names in ((0, BASELINES), (2, tuple(RETIRED_METHODS)), (3, _INSTEAD), (5, APART)):
        if method in names:
            return group, names.index(method)
    return 4, 0.0


def pooled(methods: Iterable[str]) -> list[str]:
    """The methods that are no baseline, each once, in the order in which they are shown."""
    return sorted((method for method in dict.fromkeys(methods) if method not in BASELINES), key=place)


def featured(methods: Iterable[str], count: int) -> list[str]:
    """The `count` methods to show where there is no room for all, in the order in which they are shown.

    First comes the paper's Interpolation, then our defaults, its Average, and others in their order.
    """
    names = [method for method in pooled(methods) if method not in APART]
    first = (PAPERS_RULE, *OURS, "average")
    chosen = with_first(first, names)[:count]
    return [method for method in names if method in chosen]


def with_first(first: Sequence[str], methods: Iterable[str]) -> list[str]:
    """The methods, those that `first` names before the others, in its order; the others keep theirs."""
    return sorted(methods, key=lambda method: first.index(method) if method in first else len(first))


def drawn(methods: Iterable[str]) -> list[str]:
    """The methods to draw against density, in the order in which they are shown.

    The paper's Interpolation, our defaults, and all that train instead; others where these are fewer than four, and
    what collapses only where there is nothing else.
    """
    names = [method for method in pooled(methods) if method not in APART]
    first = (PAPERS_RULE, *OURS)
    chosen = [method for method in names if method in first or instead(method)]
    more = [method for method in names if method not in chosen and not _collapses(method)]
    chosen += more[: max(0, 4 - len(chosen))]
    return sorted(chosen, key=place) or names[:4]


def _collapses(method: str) -> bool:
    pooling = _pooling(method)
    return pooling is not None and pooling.collapses


def series(methods: Iterable[str]) -> list[str]:
    """The baselines among the methods, then those `drawn`: the lines of a figure."""
    methods = list(methods)
    return [*(method for method in BASELINES if method in methods), *drawn(methods)]


def main_lines(methods: Iterable[str]) -> list[str]:
    """The at most four lines of a main chart: the ticket, the best admissible ticket, and two methods of pooling.

    These are the paper's rule and the first of our defaults that was measured, else the first of those `drawn`.
    """
    methods = list(methods)
    pooling = drawn(method for method in methods if not instead(method))
    return [method for method in ("ticket", "admissible", *featured(pooling, 2)) if method in methods]


def trained_lines(methods: Iterable[str]) -> list[str]:
    """The lines of a second chart beside the main one: the ticket, and all that was trained instead of pooled.

    Empty where nothing was.
    """
    methods = list(methods)
    chosen = trained(methods)
    return [method for method in ("ticket", *chosen) if method in methods] if chosen else []


def trained(methods: Iterable[str]) -> list[str]:
    """The trained baselines among the methods that a figure shows: as many as there are colours, the first of them.

    The control that trains on the held-out samples is always one of them.
    """
    ordered = sorted({method for method in methods if instead(method)}, key=place)
    first = sorted(ordered, key=lambda method: method != HELD_OUT[0])[:TRAINED_LINES]
    return sorted(first, key=place)


def percent(share: float) -> str:
    """A share, such as a density, as a percentage of three significant digits."""
    return f"{100 * share:.0f} %" if share >= 1 else f"{100 * share:#.3g} %"

"""What methods and corruptions are called, what kind a method is, and which are shown first."""

from __future__ import annotations

from collections.abc import Iterable

BASELINES = {"ticket": "Ticket", "recalibrated": "Recalibrated", "admissible": "Best admissible"}
"""What pooled networks are held against, in the order of the columns."""

CONTROLS = ("other-seed", "other-run")
"""Pools with the tickets of another run: of the experiment's next seed, or of a run that is named."""

IN_TURN = ("average", "interpolation", "swa", "ema", "ema-as-published", "slerp", *CONTROLS)
"""The methods whose recipe is Algorithm 2's: candidates mixed in one after the other, α the weight of what there was.
The others' recipes have the share of each ticket in one weighted sum, the target's among them."""

_LABELS = BASELINES | {
    "swa": "SWA (neighbours)",
    "ema": "EMA (neighbours)",
    "ema-as-published": "EMA as published (inverted weight)",
    "uniform-soup": "Uniform soup",
    "greedy-soup": "Greedy soup",
    "learned-soup": "Learned soup",
    "learned-soup-layers": "Learned soup, by layer",
    "trimmed-soup": "Trimmed soup (ours)",
    "best": "Best (ours)",
    "sms": "Sparse Model Soups (2 copies)",
    "swamp": "SWAMP (2 copies)",
    "swa-training": "SWA within training",
    "ema-training": "EMA within training",
    "longer": "Trained for longer",
    "ties": "TIES",
    "dare": "DARE",
    "slerp": "SLERP",
    "other-seed": "Pool of another seed (control)",
    "other-run": "Pool of another run (control)",
    "ensemble": "Ensemble (n passes)",
}

_INITIALS = ("iid", "jpeg")


def label(method: str) -> str:
    """A method's name for people."""
    return _LABELS.get(method, method[:1].upper() + method[1:])


def kind(corruption: str) -> str:
    """A corruption's name for people."""
    words = " ".join(word.upper() if word in _INITIALS else word for word in corruption.split("_"))
    return words[:1].upper() + words[1:]


def pooled(methods: Iterable[str]) -> list[str]:
    """The methods that are no baseline, each once, in order of first appearance."""
    return [method for method in dict.fromkeys(methods) if method not in BASELINES]


def featured(methods: Iterable[str], count: int) -> list[str]:
    """The `count` methods to show where there is no room for all, in order of appearance.

    First comes the paper's Interpolation, then our default, its Average, and others as they appear. Never what is no
    single pooled network of this run.
    """
    names = [method for method in pooled(methods) if method not in (*CONTROLS, "ensemble")]
    first = ("interpolation", "trimmed-soup", "average")
    chosen = sorted(names, key=lambda method: first.index(method) if method in first else len(first))[:count]
    return [method for method in names if method in chosen]


def percent(share: float) -> str:
    """A share, such as a density, as a percentage of three significant digits."""
    return f"{100 * share:.0f} %" if share >= 1 else f"{100 * share:#.3g} %"

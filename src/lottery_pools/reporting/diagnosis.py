"""A diagnosis as tables: barriers between tickets, where gains come from, the ensemble, the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lottery_pools.reporting.names import label, place
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.words import DASH, fixed, plural, signed

Diagnoses = Sequence[Mapping[str, Any]]
"""One diagnosis a seed, as `experiment.diagnose` returns them."""

PARTS = ("batchnorm", "takeover", "averaging", "repruning", "optimism")
"""The parts of a gain, as `experiment.diagnose` calls them; the first four add up to the gain over the ticket."""


def rises(diagnoses: Diagnoses) -> dict[tuple[int, int], list[float]]:
    """The barrier between each pair of tickets, by their levels: percentage points, one number a seed.

    It is the error on the straight line between their weights above the straight line between their errors; with
    BatchNorm re-estimated where that was measured.
    """
    rise: dict[tuple[int, int], list[float]] = {}
    for diagnosis in diagnoses:
        for pair in diagnosis["pairs"]:
            value = pair["rise"] if pair["rise_recalibrated"] is None else pair["rise_recalibrated"]
            rise.setdefault((pair["first"], pair["second"]), []).append(100 * value)
    return rise


def parts_by_level(diagnoses: Diagnoses) -> dict[tuple[str, int], dict[str, float]]:
    """By method and level, in the order shown: the `gain` over the ticket and its `PARTS`, points, mean over seeds."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for diagnosis in diagnoses:
        for part in diagnosis["attribution"]:
            groups.setdefault((part["method"], part["level"]), []).append(part)
    means = {}
    for (method, level), seeds in sorted(groups.items(), key=lambda item: (place(item[0][0]), item[0])):
        gain = fmean(100 * (seed["pooled"] - seed["ticket"]) for seed in seeds)
        means[method, level] = {"gain": gain} | {name: fmean(100 * seed[name] for seed in seeds) for name in PARTS}
    return means


def tables(diagnoses: Diagnoses) -> list[Table]:
    """All tables of a diagnosis that have a line, in order; none without a diagnosis."""
    made = [make(diagnoses) for make in (barriers, overlap, attribution, ensemble, classes)] if diagnoses else []
    return [table for table in made if table.rows]


def barriers(diagnoses: Diagnoses) -> Table:
    """The height above the straight line, in points, of every pair of tickets; with BatchNorm re-estimated."""
    levels = sorted(
        {pair[end] for diagnosis in diagnoses for pair in diagnosis["pairs"] for end in ("first", "second")}
    )
    rise = rises(diagnoses)
    rows = []
    for a in levels[:-1]:
        cells = (fixed(fmean(rise[a, b]), 1) if (a, b) in rise else DASH for b in levels[1:])
        rows.append((str(a), *cells))
    mean = f"mean of {plural(len(diagnoses), 'seed')}"
    title = f"Barrier between tickets, recalibrated (points of validation error; {mean})"
    return Table(title, ("Level", *map(str, levels[1:])), tuple(rows))


def overlap(diagnoses: Diagnoses) -> Table:
    """Neighbouring tickets: distance and cosine of their prunable weights, overlap of their masks, mean over seeds."""
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for diagnosis in diagnoses:
        for pair in diagnosis["pairs"]:
            if pair["second"] - pair["first"] == 1:
                rows.setdefault(pair["first"], []).append(pair)
    lines = []
    for level, pairs in sorted(rows.items()):
        keys = {"distance_prunable": 2, "cosine": 3, "jaccard": 3, "inside": 3}  # and their decimals
        numbers = (fixed(fmean(pair[key] for pair in pairs), digits) for key, digits in keys.items())
        lines.append((f"{level}, {level + 1}", *numbers))
    columns = ("Levels", "Distance", "Cosine", "Jaccard", "Sparser inside denser")
    return Table("Neighbouring tickets: prunable weights and masks", columns, tuple(lines))


def attribution(diagnoses: Diagnoses) -> Table:
    """The parts of each gain over the ticket, in points of test accuracy, mean over seeds."""
    rows = [
        (label(method), str(level), *map(signed, means.values()))
        for (method, level), means in parts_by_level(diagnoses).items()
    ]
    columns = (
        "Method",
        "Level",
        "Gain",
        "BatchNorm",
        "Takeover",
        "Averaging",
        "Re-pruning",
        "Optimism of selection",
    )
    return Table("Where the gain over the ticket comes from (points of test accuracy)", columns, tuple(rows))


def ensemble(diagnoses: Diagnoses) -> Table:
    """One line a seed: the averaged predictions of all its tickets, and how often two tickets disagree."""
    rows = []
    for diagnosis in diagnoses:
        row = diagnosis["ensemble"]
        accuracy, disagreement = fixed(100 * row["accuracy"]), f"{fixed(100 * row['disagreement'], 1)} %"
        rows.append((str(diagnosis["seed"]), accuracy, str(row["passes"]), disagreement))
    columns = ("Seed", "Accuracy (%)", "Forward passes", "Pairwise disagreement")
    return Table("Naive ensemble of all tickets, on test", columns, tuple(rows))


def classes(diagnoses: Diagnoses, count: int = 3) -> Table:
    """One line a method: the `count` classes that lose most against the ticket, and that gain most, in points."""
    groups: dict[tuple[str, bool], dict[str, list[float]]] = {}
    for diagnosis in diagnoses:
        for row in diagnosis["classes"]:
            for name, gain in row["gains"].items():
                groups.setdefault((row["method"], row["corrupted"]), {}).setdefault(name, []).append(100 * gain)
    rows = []
    for (method, corrupted), gains in sorted(groups.items(), key=lambda item: (item[0][1], place(item[0][0]))):
        ranked = sorted((fmean(values), name) for name, values in gains.items())
        worst, best = (
            ", ".join(f"{name} {signed(gain, 1)}" for gain, name in end)
            for end in (ranked[:count], ranked[: -count - 1 : -1])
        )
        rows.append((label(method), "corrupted" if corrupted else "clean", worst, best))
    columns = ("Method", "Samples", "Lose most", "Gain most")
    title = "Classes against the ticket (points of their accuracy, mean over levels and seeds)"
    return Table(title, columns, tuple(rows))

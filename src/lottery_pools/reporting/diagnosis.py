"""What `diagnose` found, as tables: barriers between tickets, attribution of gains, the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lottery_pools.reporting.names import label, place
from lottery_pools.reporting.tables import DASH, Table

Found = Sequence[Mapping[str, Any]]
"""One diagnosis a seed, as `experiment.diagnose` returns them."""

PARTS = ("batchnorm", "takeover", "averaging", "repruning", "optimism")


def rises(found: Found) -> dict[tuple[int, int], list[float]]:
    """The height above the straight line between each pair of tickets, points, one a seed; recalibrated if known."""
    rise: dict[tuple[int, int], list[float]] = {}
    for one in found:
        for pair in one["pairs"]:
            value = pair["rise"] if pair["rise_recalibrated"] is None else pair["rise_recalibrated"]
            rise.setdefault((pair["first"], pair["second"]), []).append(100 * value)
    return rise


def parts_by_level(found: Found) -> dict[tuple[str, int], dict[str, float]]:
    """The gain over the ticket and its parts, points, mean over seeds, by method and level, in the order shown."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for one in found:
        for part in one["attribution"]:
            groups.setdefault((part["method"], part["level"]), []).append(part)
    means = {}
    for (method, level), some in sorted(groups.items(), key=lambda item: (place(item[0][0]), item[0])):
        gain = fmean(100 * (part["pooled"] - part["ticket"]) for part in some)
        means[method, level] = {"gain": gain} | {name: fmean(100 * part[name] for part in some) for name in PARTS}
    return means


def tables(found: Found) -> list[Table]:
    """All tables of a diagnosis that have a line, in order; none without one."""
    every = [make(found) for make in (barriers, overlap, attribution, ensemble, classes)] if found else []
    return [table for table in every if table.rows]


def barriers(found: Found) -> Table:
    """The height above the straight line, in points, of every pair of tickets; with BatchNorm re-estimated."""
    levels = sorted({pair[end] for one in found for pair in one["pairs"] for end in ("first", "second")})
    rise = rises(found)
    rows = []
    for a in levels[:-1]:
        cells = (f"{fmean(rise[a, b]):.1f}" if (a, b) in rise else DASH for b in levels[1:])
        rows.append((str(a), *cells))
    title = f"Barrier between tickets, recalibrated (points of validation error; mean of {len(found)} seeds)"
    return Table(title, ("Level", *map(str, levels[1:])), tuple(rows))


def overlap(found: Found) -> Table:
    """Distance and mask overlap of tickets of adjacent levels."""
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for one in found:
        for pair in one["pairs"]:
            if pair["second"] - pair["first"] == 1:
                rows.setdefault(pair["first"], []).append(pair)
    lines = []
    for level, some in sorted(rows.items()):
        mean = {key: fmean(pair[key] for pair in some) for key in ("distance_prunable", "cosine", "jaccard", "inside")}
        numbers = (f"{mean[key]:.{digits}f}" for key, digits in zip(mean, (2, 3, 3, 3), strict=True))
        lines.append((f"{level}, {level + 1}", *numbers))
    columns = ("Levels", "Distance", "Cosine", "Jaccard", "Sparser inside denser")
    return Table("Neighbouring tickets: prunable weights and masks", columns, tuple(lines))


def attribution(found: Found) -> Table:
    """The parts of each gain over the ticket, in points of test accuracy, mean over seeds."""
    rows = [
        (label(method), str(level), *(f"{mean:+.2f}" for mean in means.values()))
        for (method, level), means in parts_by_level(found).items()
    ]
    columns = ("Method", "Level", "Gain", "BatchNorm", "Takeover", "Averaging", "Re-pruning", "Optimism of selection")
    return Table("Where the gain over the ticket comes from (points of test accuracy)", columns, tuple(rows))


def ensemble(found: Found) -> Table:
    """The naive ensemble of all tickets of each seed."""
    rows = []
    for one in found:
        row = one["ensemble"]
        rows.append(
            (str(one["seed"]), f"{100 * row['accuracy']:.2f}", str(row["passes"]), f"{row['disagreement']:.1%}")
        )
    columns = ("Seed", "Accuracy (%)", "Forward passes", "Pairwise disagreement")
    return Table("Naive ensemble of all tickets, on test", columns, tuple(rows))


def classes(found: Found, count: int = 3) -> Table:
    """The classes that each method costs most against the ticket, and those that it helps most, in points."""
    groups: dict[tuple[str, bool], dict[str, list[float]]] = {}
    for one in found:
        for row in one["classes"]:
            for name, gain in row["gains"].items():
                groups.setdefault((row["method"], row["corrupted"]), {}).setdefault(name, []).append(100 * gain)
    rows = []
    for (method, corrupted), gains in sorted(groups.items(), key=lambda item: (item[0][1], place(item[0][0]))):
        ranked = sorted((fmean(values), name) for name, values in gains.items())
        worst, best = (
            ", ".join(f"{name} {gain:+.1f}" for gain, name in some)
            for some in (ranked[:count], ranked[: -count - 1 : -1])
        )
        rows.append((label(method), "corrupted" if corrupted else "clean", worst, best))
    columns = ("Method", "Samples", "Lose most", "Gain most")
    return Table(
        "Classes against the ticket (points of their accuracy, mean over levels and seeds)", columns, tuple(rows)
    )

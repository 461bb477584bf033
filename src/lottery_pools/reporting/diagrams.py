"""How pools came about, as figures: recipes, parts of the gains, paths between tickets, barriers, overlap."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from lottery_pools.reporting.diagnosis import PARTS, Found, parts_by_level, rises
from lottery_pools.reporting.names import label, mixes_in_turn
from lottery_pools.reporting.style import COLOURS, INK, Figure, canvas, cells, legend, style, svg
from lottery_pools.runs.rows import PoolRow

_PARTS = {"batchnorm": "BatchNorm", "takeover": "Taking over", "averaging": "Averaging", "repruning": "Re-pruning"}


def shares(pool: PoolRow) -> dict[int, float]:
    """How much of each ticket, by level, is in the pooled network before it is pruned back; they sum to 1.

    Where candidates are mixed in turn, each step multiplies what is there by its α and adds 1 - α of its candidate.
    """
    if not mixes_in_turn(pool.method):
        return dict(pool.steps) or {pool.level: 1.0}
    found = {pool.level: 1.0}
    for level, alpha in pool.steps:
        found = {ticket: alpha * share for ticket, share in found.items()}
        found[level] = found.get(level, 0.0) + 1 - alpha
    return found


def recipes(pools: Sequence[PoolRow], method: str) -> Figure:
    """Who was mixed into whom by `method`, of the first seed: a row a target, a column a ticket.

    The shade is the ticket's share in the pooled network. The number is that share too, or, where candidates are mixed
    in turn, α of the step that took the ticket in, of the last such. The dot is the target, where it has no number.
    """
    first = min(pool.seed for pool in pools if pool.method == method)
    chosen = sorted((p for p in pools if (p.method, p.seed) == (method, first)), key=lambda pool: pool.level)
    levels = range(1 + max(level for p in pools for level in (p.level, *(step for step, _ in p.steps))))
    shade: dict[tuple[int, int], float] = {}
    text: dict[tuple[int, int], str] = {}
    shown: list[tuple[Any, ...]] = []
    in_turn = mixes_in_turn(method)
    for row, pool in enumerate(chosen):
        mixed = shares(pool)
        shade |= {(row, level): share for level, share in mixed.items()}
        text |= {(row, pool.level): "•"} | {(row, level): f"{part:.2f}".lstrip("0") for level, part in pool.steps}
        steps: list[tuple[int | None, int, float | None]]
        steps = [(n, level, part if in_turn else None) for n, (level, part) in enumerate(pool.steps, start=1)]
        if in_turn:
            steps.insert(0, (None, pool.level, None))
        shown += [(label(method), first, pool.level, n, level, alpha, mixed[level]) for n, level, alpha in steps]
    name = f"recipes-{method}"
    with style(name):
        names = [str(pool.level) for pool in chosen]
        drawing = cells(shade, text, names, [str(level) for level in levels], "Ticket (level)", "Target (level)")
        described = f"Which tickets {label(method)} mixed into which target, with which coefficient, seed {first}"
        columns = ("method", "seed", "target", "step", "ticket", "alpha", "share_of_ticket")
        return Figure(name, svg(drawing, described), columns, tuple(shown))


def attribution(found: Found, method: str) -> Figure:
    """The parts of `method`'s gain over the ticket by level, percentage points of test accuracy, mean over seeds."""
    by_level = {level: means for (name, level), means in parts_by_level(found).items() if name == method}
    levels = list(by_level)
    name = f"attribution-{method}"
    with style(name):
        drawing, axes = canvas("Gain over the ticket (points)")
        axes.axhline(0, color=INK, linewidth=0.9)
        above, below = dict.fromkeys(levels, 0.0), dict.fromkeys(levels, 0.0)
        for (part, title), colour in zip(_PARTS.items(), (COLOURS[i] for i in (5, 4, 2, 3)), strict=True):
            heights = [by_level[level][part] for level in levels]
            ends = [above if height > 0 else below for height in heights]
            bottoms = [end[level] for end, level in zip(ends, levels, strict=True)]
            axes.bar(levels, heights, 0.62, bottom=bottoms, color=colour, label=title, linewidth=0)
            for end, level, height in zip(ends, levels, heights, strict=True):
                end[level] += height
        total = [by_level[level]["gain"] for level in levels]
        axes.plot(levels, total, color=INK, marker="_", markersize=16, linestyle="none", label="Gain")
        axes.set_xticks(levels)
        axes.set_xlabel("Level")
        legend(drawing, axes)
        columns = ("method", "level", "gain_points", *PARTS)
        shown: list[tuple[Any, ...]] = [(label(method), level, *by_level[level].values()) for level in levels]
        described = f"Where the gain of {label(method)} over the ticket comes from, by level, in points"
        return Figure(name, svg(drawing, described), columns, tuple(shown))


def paths(found: Found) -> Figure | None:
    """Validation accuracy along the straight lines between tickets of adjacent levels, end to end.

    Thick: mean over seeds, BatchNorm re-estimated; thin: each seed; dotted: BatchNorm mixed like the weights. None
    where the diagnosis has no paths, as those of earlier versions.
    """
    mixed: dict[int, dict[float, float]] = {}
    again: dict[int, dict[float, float]] = {}
    shown = []
    for one in found:
        for pair in one["pairs"]:
            for point in pair.get("path", ()) if pair["second"] - pair["first"] == 1 else ():
                x, score = pair["first"] + 1 - point["alpha"], 100 * point["score"]
                settled = score if point["recalibrated"] is None else 100 * point["recalibrated"]
                shown.append((one["seed"], pair["first"], point["alpha"], score, settled))
                mixed.setdefault(one["seed"], {})[x] = score
                again.setdefault(one["seed"], {})[x] = settled
    if not shown:
        return None
    with style("paths"):
        drawing, axes = canvas("Validation accuracy (%)")
        places = sorted({x for curve in again.values() for x in curve})

        def mean(curves: dict[int, dict[float, float]]) -> list[float]:
            return [fmean(curve[x] for curve in curves.values() if x in curve) for x in places]

        settled_mean = mean(again)
        if mixed != again:
            axes.plot(places, mean(mixed), color=COLOURS[0], linestyle=":", linewidth=1.3, label="BatchNorm mixed")
        for curve in again.values() if len(again) > 1 else ():
            x_seed = sorted(curve)
            axes.plot(x_seed, [curve[x] for x in x_seed], color=COLOURS[1], alpha=0.5, linewidth=0.7)
        axes.plot(
            places, settled_mean, color=COLOURS[1], label="BatchNorm re-estimated" if mixed != again else "Mixture"
        )
        tickets = [(x, y) for x, y in zip(places, settled_mean, strict=True) if x == int(x)]
        axes.plot(*zip(*tickets, strict=True), color=INK, marker="o", linestyle="none", label="Ticket")
        axes.set_xticks([x for x, _ in tickets], [f"{x:.0f}" for x, _ in tickets])
        axes.set_xlabel("Level, and the straight line to the next")
        legend(drawing, axes)
        columns = ("seed", "from_level", "alpha", "accuracy_batchnorm_mixed_percent", "accuracy_recalibrated_percent")
        described = "Validation accuracy along the straight lines between tickets of adjacent levels"
        return Figure("paths", svg(drawing, described), columns, tuple(shown))


def barriers(found: Found) -> Figure:
    """The barrier between every pair of tickets, points of validation error, the deeper the shade the higher."""
    means = {pair: fmean(values) for pair, values in rises(found).items()}
    largest = max([1.0, *means.values()])
    shade = {pair: -max(value, 0.0) / largest for pair, value in means.items()}
    return _pairs("barriers", means, shade, 1, "Barrier between the tickets of two levels, in points", "barrier_points")


def overlap(found: Found) -> Figure:
    """The Jaccard index of the masks of every pair of tickets, the deeper the shade the more they share."""
    groups: dict[tuple[int, int], list[float]] = {}
    for one in found:
        for pair in one["pairs"]:
            groups.setdefault((pair["first"], pair["second"]), []).append(pair["jaccard"])
    means = {pair: fmean(values) for pair, values in groups.items()}
    return _pairs("overlap", means, means, 2, "Overlap of the masks of two levels, Jaccard index", "jaccard")


def _pairs(
    name: str,
    means: dict[tuple[int, int], float],
    shade: dict[tuple[int, int], float],
    digits: int,
    described: str,
    column: str,
) -> Figure:
    """A triangle of cells, one for each pair of levels."""
    first, second = (sorted({pair[end] for pair in means}) for end in (0, 1))
    place = {pair: (first.index(pair[0]), second.index(pair[1])) for pair in means}
    with style(name):
        drawing = cells(
            {place[pair]: value for pair, value in shade.items()},
            {place[pair]: f"{value:z.{digits}f}" for pair, value in means.items()},
            [str(level) for level in first],
            [str(level) for level in second],
            "Level",
            "Level",
        )
        shown = tuple((*pair, value) for pair, value in means.items())
        return Figure(name, svg(drawing, described), ("first", "second", column), shown)

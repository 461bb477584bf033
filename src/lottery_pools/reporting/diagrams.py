"""How pools came about, as figures: recipes, parts of the gains, paths between tickets, barriers, overlap."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from lottery_pools.reporting.diagnosis import PARTS, Diagnoses, parts_by_level, rises
from lottery_pools.reporting.drawing import Side, cells, legend
from lottery_pools.reporting.names import label, mixes_in_turn
from lottery_pools.reporting.style import COLOURS, INK, Figure, canvas, style, svg
from lottery_pools.runs.rows import PoolRow

_PARTS = {"batchnorm": "BatchNorm", "takeover": "Takeover", "averaging": "Averaging", "repruning": "Re-pruning"}


def shares(pool: PoolRow) -> dict[int, float]:
    """How much of each ticket, by level, is in the pooled network before it is pruned back; they sum to 1.

    Where candidates are mixed in turn, each step multiplies what is there by its α and adds 1 - α of its candidate.
    """
    if not mixes_in_turn(pool.method):
        return dict(pool.steps) or {pool.level: 1.0}
    share = {pool.level: 1.0}
    for level, alpha in pool.steps:
        share = {ticket: alpha * before for ticket, before in share.items()}
        share[level] = share.get(level, 0.0) + 1 - alpha
    return share


def recipes(pools: Sequence[PoolRow], method: str) -> Figure:
    """Which tickets `method` mixed into which target, of the first seed: a row a target, a column a ticket.

    Each cell shows the ticket's share in the pooled network before it is pruned back, as its shade and as its number;
    the target's own cell is outlined.
    """
    first = min(pool.seed for pool in pools if pool.method == method)
    chosen = sorted((p for p in pools if (p.method, p.seed) == (method, first)), key=lambda pool: pool.level)
    levels = range(1 + max(level for p in pools for level in (p.level, *(step for step, _ in p.steps))))
    share = {(row, level): part for row, pool in enumerate(chosen) for level, part in shares(pool).items()}
    name = f"recipes-{method}"
    with style(name):
        drawing = cells(
            share,
            {at: _two_digits(part) for at, part in share.items()},
            Side("Target (level)", [str(pool.level) for pool in chosen]),
            Side("Ticket (level)", [str(level) for level in levels]),
            outlined=[(row, pool.level) for row, pool in enumerate(chosen)],
        )
        described = f"Which tickets {label(method)} mixed into which target, with their shares, seed {first}"
        columns = ("method", "seed", "target", "step", "ticket", "alpha", "share_of_ticket")
        shown = ((label(method), first, pool.level, *step) for pool in chosen for step in _steps(pool))
        return Figure(name, svg(drawing, described), columns, tuple(shown))


def _two_digits(share: float) -> str:
    """A share in as few characters as a small cell has room for: `.25`, `1`, and `<.01` where two digits are none."""
    if 0 < share < 0.005:
        return "<.01"
    return f"{share:.2f}".removeprefix("0") if share < 0.995 else "1"


def _steps(pool: PoolRow) -> list[tuple[int | None, int, float | None, float]]:
    """A recipe's steps: number, ticket, α where candidates are mixed in turn, and the ticket's share in the end.

    Where they are, the target comes first, as the ticket that no step took in.
    """
    share = shares(pool)
    in_turn = mixes_in_turn(pool.method)
    target: list[tuple[int | None, int, float | None, float]]
    target = [(None, pool.level, None, share[pool.level])] if in_turn else []
    return target + [
        (number, level, part if in_turn else None, share[level])
        for number, (level, part) in enumerate(pool.steps, start=1)
    ]


def attribution(diagnoses: Diagnoses, method: str) -> Figure:
    """The parts of `method`'s gain over the ticket by level, percentage points of test accuracy, mean over seeds."""
    by_level = {level: means for (name, level), means in parts_by_level(diagnoses).items() if name == method}
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


_Curves = dict[int, dict[float, float]]
"""By seed: accuracy in percent by the place on the path, which is the level where it begins and the way to the next."""


def paths(diagnoses: Diagnoses) -> Figure | None:
    """Validation accuracy along the straight lines between tickets of adjacent levels, end to end.

    Thick: mean over seeds, BatchNorm re-estimated; thin: each seed; dotted: BatchNorm mixed like the weights. None
    where the diagnosis has no paths, as those of earlier versions.
    """
    mixed: _Curves = {}
    again: _Curves = {}
    shown = []
    for diagnosis in diagnoses:
        for pair in diagnosis["pairs"]:
            for point in pair.get("path", ()) if pair["second"] - pair["first"] == 1 else ():
                x, score = pair["first"] + 1 - point["alpha"], 100 * point["score"]
                settled = score if point["recalibrated"] is None else 100 * point["recalibrated"]
                shown.append((diagnosis["seed"], pair["first"], point["alpha"], score, settled))
                mixed.setdefault(diagnosis["seed"], {})[x] = score
                again.setdefault(diagnosis["seed"], {})[x] = settled
    if not shown:
        return None
    with style("paths"):
        drawing, axes = canvas("Validation accuracy (%)")
        _draw_paths(axes, mixed, again)
        legend(drawing, axes)
        columns = ("seed", "from_level", "alpha", "accuracy_batchnorm_mixed_percent", "accuracy_recalibrated_percent")
        described = "Validation accuracy along the straight lines between tickets of adjacent levels"
        return Figure("paths", svg(drawing, described), columns, tuple(shown))


def _draw_paths(axes: Axes, mixed: _Curves, again: _Curves) -> None:
    """The curves with BatchNorm mixed, and re-estimated, and the tickets that they join."""
    places = sorted({x for curve in again.values() for x in curve})

    def mean(curves: _Curves) -> list[float]:
        return [fmean(curve[x] for curve in curves.values() if x in curve) for x in places]

    settled = mean(again)
    if mixed != again:
        axes.plot(places, mean(mixed), color=COLOURS[0], linestyle=":", linewidth=1.3, label="BatchNorm mixed")
    for curve in again.values() if len(again) > 1 else ():
        x_seed = sorted(curve)
        axes.plot(x_seed, [curve[x] for x in x_seed], color=COLOURS[1], alpha=0.5, linewidth=0.7)
    axes.plot(places, settled, color=COLOURS[1], label="BatchNorm re-estimated" if mixed != again else "Mixture")
    tickets = [(x, y) for x, y in zip(places, settled, strict=True) if x == int(x)]
    axes.plot(*zip(*tickets, strict=True), color=INK, marker="o", linestyle="none", label="Ticket")
    axes.set_xticks([x for x, _ in tickets], [f"{x:.0f}" for x, _ in tickets])
    axes.set_xlabel("Level, and the straight line to the next")


def barriers(diagnoses: Diagnoses) -> Figure:
    """The barrier between every pair of tickets, points of validation error, the deeper the shade the higher."""
    means = {pair: fmean(values) for pair, values in rises(diagnoses).items()}
    largest = max([1.0, *means.values()])
    shade = {pair: -max(value, 0.0) / largest for pair, value in means.items()}
    described = "Barrier between the tickets of two levels, in points"
    texts = {pair: f"{value:z.1f}" for pair, value in means.items()}
    drawing = _triangle("barriers", shade, texts, described)
    return Figure("barriers", drawing, ("first", "second", "barrier_points"), _flat(means))


def overlap(diagnoses: Diagnoses) -> Figure:
    """The Jaccard index of the masks of every pair of tickets, the deeper the shade the more they share."""
    groups: dict[tuple[int, int], list[float]] = {}
    for diagnosis in diagnoses:
        for pair in diagnosis["pairs"]:
            groups.setdefault((pair["first"], pair["second"]), []).append(pair["jaccard"])
    means = {pair: fmean(values) for pair, values in groups.items()}
    described = "Overlap of the masks of two levels, Jaccard index"
    texts = {pair: f"{value:.2f}" for pair, value in means.items()}
    return Figure(
        "overlap", _triangle("overlap", means, texts, described), ("first", "second", "jaccard"), _flat(means)
    )


_Pairs = dict[tuple[int, int], float]
"""A number for each pair of levels."""


def _flat(means: _Pairs) -> tuple[tuple[int, int, float], ...]:
    return tuple((*pair, value) for pair, value in means.items())


def _triangle(name: str, shade: _Pairs, texts: dict[tuple[int, int], str], described: str) -> str:
    """The drawing of a triangle of cells, one for each pair of levels, as SVG."""
    first, second = (sorted({pair[end] for pair in shade}) for end in (0, 1))
    place = {pair: (first.index(pair[0]), second.index(pair[1])) for pair in shade}
    with style(name):
        drawing = cells(
            {place[pair]: value for pair, value in shade.items()},
            {place[pair]: text for pair, text in texts.items()},
            Side("Level", [str(level) for level in first]),
            Side("Level", [str(level) for level in second]),
        )
        return svg(drawing, described)

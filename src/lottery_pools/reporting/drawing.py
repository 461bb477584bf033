"""What several figures have: their own colours, names at the ends of lines, the density axis, a grid of cells."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from lottery_pools.reporting.style import BETTER, COLOURS, GREY, INK, WORSE, look
from lottery_pools.reporting.words import MINUS

_SIZE, _LINE, _WIDTH = 8.5, 10.5, 19
"""Of a name at the end of a line: font size and height of a line in points, and how many characters a line has."""


def colours(methods: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A colour for each method, none of them twice and none of those `taken`.

    A method has its own colour (`look`) unless a method before it has the same; then it has the first of grey and the
    palette that is still free. With more methods than colours, the last are grey.
    """
    methods = list(dict.fromkeys(methods))
    chosen: dict[str, str] = {}
    for method in methods:
        if look(method)[0] not in (*chosen.values(), *taken):
            chosen[method] = look(method)[0]
    free = [colour for colour in (GREY, *COLOURS) if colour not in (*chosen.values(), *taken)]
    rest = [method for method in methods if method not in chosen]
    return chosen | {method: free[n] if n < len(free) else GREY for n, method in enumerate(rest)}


@dataclass(frozen=True)
class End:
    """The end of a line in a plot against density, where its name is written."""

    density: float
    height: float
    name: str
    colour: str
    marker: str


def name_ends(drawing: Drawing, axes: Axes, ends: Sequence[End]) -> None:
    """Write the name of each line at its end, after a marker like the line's; no name covers another.

    Lines that end at the lowest density have their names to the right of the axes, others right beside their end.
    """
    lowest = min((end.density for end in ends), default=0.0)
    last = [end for end in ends if end.density <= 1.06 * lowest]  # points of one density may stand side by side
    for end in ends:
        if end not in last:
            at = (end.density, end.height)
            axes.annotate(end.name, at, (6, 3), textcoords="offset points", fontsize=_SIZE)
    right = axes.get_yaxis_transform()
    texts = [axes.text(1, end.height, _lines(end.name), va="center", fontsize=_SIZE) for end in last]
    for text in texts:
        text.set_transform(offset_copy(right, drawing, x=14, units="points"))
    drawing.draw_without_rendering()  # makes the axes as narrow as the names need, which says how high they are
    bottom, top = axes.get_ylim()
    line = _LINE * (top - bottom) / (axes.get_window_extent().height * 72 / drawing.dpi)
    heights = [line * (text.get_text().count("\n") + 1) for text in texts]
    for text, end, place in zip(texts, last, spread([end.height for end in last], heights), strict=True):
        text.set_y(place)
        marker = Line2D([1], [place], color=end.colour, marker=end.marker, linestyle="none", clip_on=False)
        marker.set_transform(offset_copy(right, drawing, x=7, units="points"))
        axes.add_artist(marker)


def _lines(name: str) -> str:
    """A name in lines that are short enough for the margin."""
    return textwrap.fill(name, _WIDTH, break_long_words=False)


def spread(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Centres for things of these `heights`, as near to those `wanted` as leaves room for all.

    >>> spread([1.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    [1.5, -0.5, 0.5]
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    stacks: list[list[int]] = []
    for index in order:
        stacks.append([index])
        while len(stacks) > 1 and _bottom(stacks[-1], wanted, heights) < _top(stacks[-2], wanted, heights):
            last = stacks.pop()
            stacks[-1] += last
    centres = [0.0] * len(wanted)
    for stack in stacks:
        height = _bottom(stack, wanted, heights)
        for index in stack:
            centres[index] = height + heights[index] / 2
            height += heights[index]
    return centres


def _bottom(stack: Sequence[int], wanted: Sequence[float], heights: Sequence[float]) -> float:
    """Where a stack of things begins whose middle is the mean of where they are wanted."""
    return sum(wanted[index] for index in stack) / len(stack) - sum(heights[index] for index in stack) / 2


def _top(stack: Sequence[int], wanted: Sequence[float], heights: Sequence[float]) -> float:
    return _bottom(stack, wanted, heights) + sum(heights[index] for index in stack)


def legend(drawing: Drawing, axes: Axes) -> None:
    """The names of the series above the axes; the drawing grows by the lines that they need."""
    names = axes.get_legend_handles_labels()[1]
    if names:
        columns = 4 if sum(len(name) + 3 for name in names) < 58 else 3 if max(map(len, names)) <= 16 else 2
        drawing.legend(loc="outside upper left", ncols=columns)
        drawing.set_figheight(drawing.get_figheight() - 0.2 + 0.2 * ceil(len(names) / columns))


def densities(axes: Axes, measured: Collection[float]) -> None:
    """The density axis, logarithmic, dense on the left; of more than ten levels only some have their number."""
    falling = sorted(set(measured), reverse=True)
    ticks = falling[:: 1 + len(falling) // 10]
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{100 * density:.3g}" for density in ticks])
    axes.set_xlabel("Density (% of prunable weights kept)")
    if falling:
        axes.set_xlim(1.1 * falling[0], falling[-1] / 1.1)


@dataclass(frozen=True)
class Side:
    """One side of a grid: its title, and the name of each row or column."""

    title: str
    names: Sequence[str]


def cells(
    shades: Mapping[tuple[int, int], float],
    texts: Mapping[tuple[int, int], str],
    rows: Side,
    columns: Side,
    outlined: Collection[tuple[int, int]] = (),
) -> Drawing:
    """A grid of cells by (row, column), the first row on top, with a text in each; some of them `outlined`.

    Shades are from -1 to 1: blue above 0, orange below, the deeper the further. They are translucent over the page and
    under the page's own ink, so they are legible in light and dark.
    """
    count = len(rows.names)
    drawing = Drawing(figsize=(5.2, 0.7 + max(0.25, min(0.4, 3 / count)) * count), layout="constrained")
    axes = drawing.add_subplot()
    for (row, column), shade in shades.items():
        colour = (BETTER if shade > 0 else WORSE, 0.75 * abs(shade))
        axes.barh(row, 0.96, 0.92, left=column - 0.48, color=[colour], linewidth=0)
    for row, column in outlined:
        axes.barh(row, 0.96, 0.92, left=column - 0.48, facecolor="none", edgecolor=INK, linewidth=1)
    size = 9.5 if len(columns.names) <= 10 else 6.5
    for (row, column), text in texts.items():
        axes.text(column, row, text.replace("-", MINUS), ha="center", va="center_baseline", fontsize=size)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(columns.names) - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    _name_sides(axes, rows, columns)
    return drawing


def _name_sides(axes: Axes, rows: Side, columns: Side) -> None:
    """The titles and names of a grid's sides; where there are few rows, the left title lies flat to have room."""
    axes.set_xticks(range(len(columns.names)), columns.names)
    axes.set_yticks(range(len(rows.names)), rows.names)
    axes.set_xlabel(columns.title)
    if len(rows.names) < 4:
        axes.set_ylabel(rows.title, rotation=0, ha="right", va="center")
    else:
        axes.set_ylabel(rows.title, rotation=90, ha="center", va="bottom")

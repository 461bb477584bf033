"""How figures look: one palette, ink that follows the page around it, the same bytes every time."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from lottery_pools.pooling.methods import METHODS

INK = "#010203"
"""Drawn in this colour, then handed to the page as `currentColor`."""

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette for all kinds of colour vision (2008), legible on white and on black first."""

WORSE, BETTER = COLOURS[:2]

_PINK, _AMBER, _SKY = COLOURS[3:]

_LOOKS = {
    "ticket": (INK, "o"),
    "recalibrated": (INK, "."),
    "admissible": (INK, "d"),
    "sms": (_PINK, "^"),
    "swamp": (_AMBER, "v"),
    "swa-training": (_PINK, "P"),
    "ema-training": (_AMBER, "p"),
    "longer": (_SKY, "*"),
}
"""Colour and marker of all that is no method of pooling, in every figure; baselines have the colour of the text."""

Value = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """A figure and the numbers that it shows."""

    name: str
    """Of its files, without ending."""
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    @property
    def csv(self) -> str:
        """The numbers with a line of headings; floats to six significant digits, what is missing left empty."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
        return file.getvalue()


@contextmanager
def style(salt: str) -> Iterator[None]:
    """Our own look, whatever the user's own settings; `salt` keeps the ids of two figures of one page apart."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.hashsalt": salt,
                "svg.fonttype": "none",
                "text.parse_math": False,
                "font.size": 9.5,
                "text.color": INK,
                "axes.labelcolor": INK,
                "axes.edgecolor": INK,
                "axes.linewidth": 0.6,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.grid.axis": "y",
                "axes.unicode_minus": True,
                "grid.color": INK,
                "grid.alpha": 0.12,
                "grid.linewidth": 0.6,
                "xtick.color": INK,
                "ytick.color": INK,
                "ytick.major.size": 0,
                "lines.linewidth": 1.6,
                "lines.markersize": 4.5,
                "legend.frameon": False,
            }
        )
        yield


def canvas(y_label: str, height: float = 3.4) -> tuple[Drawing, Axes]:
    """An empty drawing of the width that all have."""
    drawing = Drawing(figsize=(5.2, height), layout="constrained")
    axes = drawing.add_subplot()
    axes.set_ylabel(y_label)
    return drawing, axes


def look(method: str) -> tuple[str, str]:
    """Colour and marker of a method; the colour of one that has none of its own follows from its name."""
    if method in METHODS:
        entry = METHODS[method]
        return entry.colour or _colour_of_name(method), entry.marker
    return _LOOKS.get(method) or (_colour_of_name(method), "8")


def _colour_of_name(method: str) -> str:
    return COLOURS[sum(method.encode()) % len(COLOURS)]


def legend(drawing: Drawing, axes: Axes) -> None:
    """The names of the series above the axes; the drawing grows by the lines that they need."""
    names = axes.get_legend_handles_labels()[1]
    if names:
        columns = 4 if sum(len(name) + 3 for name in names) < 58 else 3 if max(map(len, names)) <= 16 else 2
        drawing.legend(loc="outside upper left", ncols=columns)
        drawing.set_figheight(drawing.get_figheight() - 0.2 + 0.2 * ceil(len(names) / columns))


def densities(axes: Axes, found: set[float]) -> None:
    """The density axis, logarithmic, dense on the left, every level or every so many of them named."""
    falling = sorted(found, reverse=True)
    ticks = falling[:: 1 + len(falling) // 10]
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{100 * density:.3g}" for density in ticks])
    axes.set_xlabel("Density (% of prunable weights kept)")
    if falling:
        axes.set_xlim(1.1 * falling[0], falling[-1] / 1.1)


def cells(
    shades: Mapping[tuple[int, int], float],
    texts: Mapping[tuple[int, int], str],
    rows: Sequence[str],
    columns: Sequence[str],
    x_label: str,
    y_label: str = "",
) -> Drawing:
    """A grid of cells by (row, column), the first row on top, with a text in each.

    Shades are from -1 to 1: blue above 0, orange below, the deeper the further. They are translucent over the page and
    under the page's own ink, so they are legible in light and dark.
    """
    drawing = Drawing(figsize=(5.2, 0.7 + max(0.25, min(0.4, 3 / len(rows))) * len(rows)), layout="constrained")
    axes = drawing.add_subplot()
    for (row, column), shade in shades.items():
        colour = (BETTER if shade > 0 else WORSE, 0.75 * abs(shade))
        axes.barh(row, 0.96, 0.92, left=column - 0.48, color=[colour], linewidth=0)
    size = 9.5 if len(columns) <= 10 else 6.5
    for (row, column), text in texts.items():
        axes.text(column, row, text.replace("-", "−"), ha="center", va="center_baseline", fontsize=size)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(x_label)
    few = len(rows) < 4  # then there is no room for an upright label
    axes.set_ylabel(
        y_label, rotation=0 if few else 90, ha="right" if few else "center", va="center" if few else "bottom"
    )
    return drawing


def svg(drawing: Drawing, description: str) -> str:
    """The drawing as an SVG element that can stand in a page: no prologue, no date, no styles that leak out of it."""
    file = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    drawing.savefig(file, format="svg", transparent=True, metadata=metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    described = html.escape(description)
    return re.sub(
        r"<svg ([^>]*)>",
        lambda match: (
            f'<svg role="img" aria-label="{described}" stroke-linejoin="round" {match[1]}>\n<title>{described}</title>'
        ),
        text,
        count=1,
    )

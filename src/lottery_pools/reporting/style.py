"""How figures look: one palette, ink that follows the page around it, the same bytes every time."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from lottery_pools.pooling.methods import METHODS, RETIRED_METHODS

INK = "#010203"
"""Drawn in this colour, then handed to the page as `currentColor`."""

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette for all kinds of colour vision (2008), legible on white and on black first."""

GREY = "#7f868c"
"""Stands out from the ink, from all colours, and from a light and from a dark page."""

WORSE, BETTER = COLOURS[:2]

_PINK, _AMBER, _SKY = COLOURS[3:]

_LOOKS = {
    "ticket": (INK, "o"),
    "recalibrated": (INK, "."),
    "admissible": (INK, "d"),
    "sparse-model-soups": (_PINK, "^"),
    "swamp-full": (_SKY, "v"),
    "swamp-equal-cost": (_AMBER, "v"),
    "sms": (_PINK, "1"),
    "swamp": (_AMBER, "2"),
    "learning-rate-rewinding": (COLOURS[0], "X"),
    "rigl": (_PINK, "*"),
    "lawa": (_PINK, "D"),
    "tail-ema": (_AMBER, "D"),
    "held-out-training": (COLOURS[1], "H"),
    "tuned-ticket": (COLOURS[2], "d"),
    "tuned-pool": (COLOURS[2], "H"),
    "swa-training": (_PINK, "P"),
    "ema-training": (_AMBER, "p"),
    "longer": (_SKY, "s"),
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
    entry = METHODS.get(method) or RETIRED_METHODS.get(method)
    if entry is not None:
        return entry.colour or _colour_of_name(method), entry.marker
    return _LOOKS.get(method) or (_colour_of_name(method), "8")


def _colour_of_name(method: str) -> str:
    return COLOURS[sum(method.encode()) % len(COLOURS)]


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

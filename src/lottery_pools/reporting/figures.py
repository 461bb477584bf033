"""Result rows as figures: inline SVG, the same bytes every time, in colours that follow the page around it."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from statistics import fmean

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lottery_pools.reporting.tables import clean, corrupted, differences, featured, kind, label
from lottery_pools.runs.results import Gain, Row

_INK = "#010203"
"""Drawn in this colour, then handed to the page as `currentColor`."""

_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette for all kinds of colour vision (2008), legible on white and on black first."""

_MARKERS = "osD^vPXp"

_SERIES = 4
"""Pooling methods that one figure shows; the tables show all."""


def accuracy(rows: Sequence[Row], under_corruption: bool = False) -> str:
    """Test accuracy against density: the ticket, its recalibrated self and the featured methods, as SVG.

    Clean, or the mean over corruptions and severities. Lines are means over seeds, bands run from the lowest seed to
    the highest; the horizontal line is the dense ticket's mean.
    """
    rows = corrupted(rows) if under_corruption else clean(rows)
    methods = ["recalibrated", "ticket", *featured((row.method for row in rows), _SERIES)]
    samples = "accuracy under corruption" if under_corruption else "accuracy"
    with _style("corrupted" if under_corruption else "accuracy"):
        figure, axes = _canvas(f"Test {samples} (%)")
        for index, method in enumerate(methods, start=-2):
            seeds: dict[tuple[float, int], list[float]] = {}
            for row in rows:
                if row.method == method:
                    seeds.setdefault((row.density, row.seed), []).append(100 * row.accuracy)
            levels: dict[float, list[float]] = {}
            for (density, _), measured in seeds.items():
                levels.setdefault(density, []).append(fmean(measured))
            x = sorted(levels, reverse=True)
            if not x:
                continue
            means = [fmean(levels[d]) for d in x]
            if method == "recalibrated":  # a reference, so thin and without a band
                axes.plot(x, means, color=_INK, linestyle=":", linewidth=1.2, label=label(method))
                continue
            colour, marker = _look(index)
            axes.fill_between(
                x, [min(levels[d]) for d in x], [max(levels[d]) for d in x], color=colour, alpha=0.13, linewidth=0
            )
            axes.plot(x, means, color=colour, marker=marker, label=label(method))
        dense = [100 * row.accuracy for row in rows if row.method == "ticket" and row.level == 0]
        if dense:
            axes.axhline(fmean(dense), color=_INK, linestyle=(0, (5, 4)), linewidth=0.9, label="Dense network")
        _finish(figure, axes, {row.density for row in rows})
        names = ", ".join(map(label, methods))
        return _svg(figure, f"Test {samples} in percent against density in percent, one line each for {names}")


def gains(gains: Sequence[Gain]) -> str:
    """Gain over the recalibrated ticket against density, with 95 % intervals, one series a featured method, as SVG."""
    gains = [g for g in gains if g.density is not None and g.against == "recalibrated" and g.corruption == "none"]
    methods = featured((gain.method for gain in gains), _SERIES)
    with _style("gains"):
        figure, axes = _canvas("Gain (percentage points)")
        axes.axhline(0, color=_INK, linewidth=0.9)
        for index, method in enumerate(methods):
            here = [gain for gain in gains if gain.method == method]
            colour, marker = _look(index)
            # Side by side, so that the intervals of one level do not hide each other.
            shift = 1 + min(0.03, 0.13 / len(methods)) * ((len(methods) - 1) / 2 - index)
            axes.errorbar(
                [gain.density * shift for gain in here if gain.density],
                [gain.gain for gain in here],
                [[gain.gain - gain.low for gain in here], [gain.high - gain.gain for gain in here]],
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=1.4,
                label=label(method),
            )
        _finish(figure, axes, {gain.density for gain in gains if gain.density})
        names = ", ".join(map(label, methods))
        return _svg(figure, f"Gain in accuracy over the recalibrated ticket against density, with intervals: {names}")


def heat_map(rows: Sequence[Row], method: str) -> str:
    """A method's accuracy less the recalibrated ticket's, one cell a corruption and severity, as SVG.

    Percentage points, the mean over levels and seeds; blue is better, orange worse, the deeper the more.
    """
    rows = corrupted(rows)
    found = differences(rows, lambda row: (row.corruption, row.severity))
    cells = {place: value for (name, place), value in found.items() if name == method}
    corruptions = list(dict.fromkeys(corruption for corruption, _ in cells))
    severities = sorted({severity for _, severity in cells})
    largest = max([1.0, *map(abs, cells.values())])  # one point at least: noise stays pale
    with _style("heat"):
        figure = Figure(figsize=(5.2, 0.7 + 0.25 * len(corruptions)), layout="constrained")
        axes = figure.add_subplot()
        for (corruption, severity), value in cells.items():
            x, y = severities.index(severity), corruptions.index(corruption)
            # Translucent over the page, under the page's own ink: legible in light and dark.
            colour = (_COLOURS[1] if value > 0 else _COLOURS[0], 0.75 * abs(value) / largest)
            axes.barh(y, 0.96, 0.92, left=x - 0.48, color=[colour], linewidth=0)
            axes.text(x, y, f"{value:+z.2f}".replace("-", "−"), ha="center", va="center_baseline")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks(range(len(severities)), [str(severity) for severity in severities])
        axes.set_yticks(range(len(corruptions)), [kind(corruption) for corruption in corruptions])
        axes.set_xlim(-0.5, len(severities) - 0.5)
        axes.set_ylim(len(corruptions) - 0.5, -0.5)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("Severity")
        name = label(method)
        return _svg(figure, f"Accuracy of {name} less the recalibrated ticket's, by corruption and severity, in points")


@contextmanager
def _style(salt: str) -> Iterator[None]:
    """Our own look, whatever the user's own settings; `salt` keeps the ids of two figures of one page apart."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.hashsalt": salt,
                "svg.fonttype": "none",
                "text.parse_math": False,
                "font.size": 9.5,
                "text.color": _INK,
                "axes.labelcolor": _INK,
                "axes.edgecolor": _INK,
                "axes.linewidth": 0.6,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.grid.axis": "y",
                "axes.unicode_minus": True,
                "grid.color": _INK,
                "grid.alpha": 0.12,
                "grid.linewidth": 0.6,
                "xtick.color": _INK,
                "ytick.color": _INK,
                "ytick.major.size": 0,
                "lines.linewidth": 1.6,
                "lines.markersize": 4.5,
                "legend.frameon": False,
            }
        )
        yield


def _canvas(y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel(y_label)
    return figure, axes


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of a series; the ticket, at -1, has the colour of the text."""
    return (_INK if index < 0 else _COLOURS[index % len(_COLOURS)], _MARKERS[(index + 1) % len(_MARKERS)])


def _finish(figure: Figure, axes: Axes, densities: set[float]) -> None:
    """The density axis, logarithmic, dense on the left, every level or every so many of them named; and the legend."""
    falling = sorted(densities, reverse=True)
    ticks = falling[:: 1 + len(falling) // 10]
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{100 * density:.3g}" for density in ticks])
    axes.set_xlabel("Density (% of prunable weights kept)")
    if falling:
        axes.set_xlim(1.1 * falling[0], falling[-1] / 1.1)
        names = axes.get_legend_handles_labels()[1]
        columns = 4 if sum(map(len, names)) < 45 else 3 if max(map(len, names)) <= 16 else 2
        figure.legend(loc="outside upper left", ncols=columns)
        figure.set_figheight(3.2 + 0.2 * ceil(len(names) / columns))


def _svg(figure: Figure, description: str) -> str:
    """The figure as an SVG element that can stand in a page: no prologue, no date, no styles that leak out of it."""
    file = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
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

"""Result rows as figures: accuracy, gains, corruptions, calibration."""

from __future__ import annotations

from collections.abc import Sequence

from lottery_pools.reporting.names import featured, kind, label, series
from lottery_pools.reporting.style import INK, Figure, canvas, cells, densities, legend, look, style, svg
from lottery_pools.reporting.tables import differences
from lottery_pools.runs.rows import Accuracy, Gain, Row, clean, corrupted

_LINES = {"recalibrated": ":", "admissible": "-."}
"""References: thin, without markers and intervals."""

_FEW = 20
"""Samples below which a bin of confidence is not drawn: its accuracy would be noise."""


def accuracy(accuracies: Sequence[Accuracy], corruption: str = "none") -> Figure:
    """Test accuracy against density: the baselines and the methods `drawn`, on samples of `corruption`, as `Gain` has.

    Lines are means over seeds, bands their 95 % intervals; the horizontal line is the dense ticket's mean.
    """
    found = [one for one in accuracies if one.corruption == corruption]
    measured = {one.method for one in found}
    methods = series(measured)
    samples = "accuracy" if corruption == "none" else "accuracy under corruption"
    name = "accuracy" if corruption == "none" else "accuracy-corrupted"
    shown: list[tuple[str, float, float, float, float, int]] = []
    with style(name):
        drawing, axes = canvas(f"Test {samples} (%)")
        for method in methods:
            here = sorted((one for one in found if one.method == method), key=lambda one: one.level)
            shown += [(label(method), one.density, one.mean, one.low, one.high, one.seeds) for one in here]
            x, mean = [one.density for one in here], [one.mean for one in here]
            colour, marker = look(method)
            if method in _LINES:
                axes.plot(x, mean, color=colour, linestyle=_LINES[method], linewidth=1.2, label=label(method))
                continue
            low, high = [one.low for one in here], [one.high for one in here]
            if len(here) == 1:  # too narrow for a band
                axes.vlines(x, low, high, color=colour, alpha=0.5)
            axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
            axes.plot(x, mean, color=colour, marker=marker, label=label(method))
        dense = [one.mean for one in found if one.method == "ticket" and one.level == 0]
        if dense:
            axes.axhline(dense[0], color=INK, linestyle=(0, (5, 4)), linewidth=0.9, label="Dense network")
        means = [row[2] for row in shown]
        if means:  # intervals of two seeds can be so wide that nothing else is seen: they may leave the axes
            room = max(1.0, max(means) - min(means))
            bottom, top = axes.get_ylim()
            axes.set_ylim(max(bottom, min(means) - room), min(top, max(means) + room))
        densities(axes, {one.density for one in found})
        legend(drawing, axes)
        names = ", ".join(map(label, methods))
        picture = svg(drawing, f"Test {samples} in percent against density in percent, one line each for {names}")
    columns = ("method", "density", "accuracy_percent", "low_95", "high_95", "seeds")
    return Figure(name, picture, columns, tuple(shown))


def gains(gains: Sequence[Gain]) -> Figure:
    """Gain over the recalibrated ticket against density, with 95 % intervals: the best admissible one, and the methods
    `drawn`."""
    gains = [g for g in gains if g.density is not None and g.against == "recalibrated" and g.corruption == "none"]
    measured = {gain.method for gain in gains}
    methods = series(measured)
    shown = []
    with style("gains"):
        drawing, axes = canvas("Gain (points of test accuracy)")
        axes.axhline(0, color=INK, linewidth=0.9)
        for index, method in enumerate(methods):
            here = [gain for gain in gains if gain.method == method]
            shown += [(label(method), g.level, g.density, g.gain, g.low, g.high, g.seeds, g.n) for g in here]
            colour, marker = look(method)
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
        densities(axes, {gain.density for gain in gains if gain.density})
        legend(drawing, axes)
        names = ", ".join(map(label, methods))
        described = f"Gain in accuracy over the recalibrated ticket against density, with intervals: {names}"
        columns = ("method", "level", "density", "gain_points", "low_95", "high_95", "seeds", "samples_a_seed")
        return Figure("gains", svg(drawing, described), columns, tuple(shown))


def heat_map(rows: Sequence[Row], method: str) -> Figure:
    """A method's accuracy less the recalibrated ticket's, one cell a corruption and severity.

    Percentage points, the mean over levels and seeds; blue is better, orange worse, the deeper the more.
    """
    found = differences(corrupted(rows), lambda row: (row.corruption, row.severity))
    measured = {place: value for (name, place), value in found.items() if name == method}
    corruptions = list(dict.fromkeys(corruption for corruption, _ in measured))
    severities = sorted({severity for _, severity in measured})
    largest = max([1.0, *map(abs, measured.values())])  # one point at least: noise stays pale
    places = {place: (corruptions.index(place[0]), severities.index(place[1])) for place in measured}
    with style("heat"):
        drawing = cells(
            {places[place]: value / largest for place, value in measured.items()},
            {places[place]: f"{value:+z.2f}" for place, value in measured.items()},
            [kind(corruption) for corruption in corruptions],
            [str(severity) for severity in severities],
            "Severity",
        )
        described = f"Accuracy of {label(method)} less the recalibrated ticket's, by corruption and severity, in points"
        shown = tuple((label(method), *place, value) for place, value in measured.items())
        columns = ("method", "corruption", "severity", "difference_points")
        return Figure("corruptions", svg(drawing, described), columns, shown)


def calibration(rows: Sequence[Row]) -> Figure | None:
    """Test accuracy against confidence, in 15 bins: the ticket, its recalibrated self and two featured methods.

    Samples of all levels and seeds that every one of them has are counted together; bins of few samples are in the
    numbers, but not drawn. None where rows have no bins.
    """
    binned = [row for row in clean(rows) if row.bins]
    methods = ["ticket", "recalibrated", *featured((row.method for row in binned), 2)]
    found = {m: {(row.seed, row.level): row.bins for row in binned if row.method == m} for m in methods}
    found = {method: places for method, places in found.items() if places}
    common = set.intersection(*(set(places) for places in found.values())) if found else set()
    if not common:
        return None
    shown: list[tuple[str, float, int, float | None, float | None]] = []
    with style("calibration"):
        drawing, axes = canvas("Test accuracy (%)", height=3.8)
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.9, linestyle=(0, (5, 4)), label="Perfect")
        for method in methods:
            if method not in found:
                continue
            bins = list(zip(*(found[method][place] for place in sorted(common)), strict=True))
            points = []
            for number, parts in enumerate(bins):
                n = sum(count for count, _, _ in parts)
                sure = 100 * sum(count * mean for count, _, mean in parts) / n if n else None
                right = 100 * sum(correct for _, correct, _ in parts) / n if n else None
                shown.append((label(method), 100 * number / len(bins), n, sure, right))
                if n >= _FEW:
                    points.append((sure, right))
            x, y = zip(*points, strict=True) if points else ((), ())
            colour, marker = look(method)
            line = {"linestyle": ":", "linewidth": 1.2} if method == "recalibrated" else {"marker": marker}
            axes.plot(x, y, color=colour, label=label(method), **line)
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="Confidence (%)")
        legend(drawing, axes)
        described = f"Test accuracy against confidence: {', '.join(map(label, found))}"
        columns = ("method", "bin_from_percent", "samples", "confidence_percent", "accuracy_percent")
        return Figure("calibration", svg(drawing, described), columns, tuple(shown))

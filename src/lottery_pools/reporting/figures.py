"""Result rows as figures: accuracy, gains, corruptions, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lottery_pools.reporting.names import featured, kind, label
from lottery_pools.reporting.style import INK, Figure, canvas, cells, densities, legend, look, style, svg
from lottery_pools.reporting.tables import clean, corrupted, differences
from lottery_pools.runs.results import Gain, Row

_SERIES = 4
"""Pooling methods that one figure shows; the tables show all."""

_FEW = 20
"""Samples below which a bin of confidence is not drawn: its accuracy would be noise."""


def accuracy(rows: Sequence[Row], under_corruption: bool = False) -> Figure:
    """Test accuracy against density: the ticket, its recalibrated self and the featured methods.

    Clean, or the mean over corruptions and severities. Lines are means over seeds, bands run from the lowest seed to
    the highest; the horizontal line is the dense ticket's mean.
    """
    rows = corrupted(rows) if under_corruption else clean(rows)
    methods = ["recalibrated", "ticket", *featured((row.method for row in rows), _SERIES)]
    samples = "accuracy under corruption" if under_corruption else "accuracy"
    name = "accuracy-corrupted" if under_corruption else "accuracy"
    shown: list[tuple[str, float, float, float, float, int]] = []
    with style(name):
        drawing, axes = canvas(f"Test {samples} (%)")
        for index, method in enumerate(methods, start=-2):
            seeds: dict[tuple[float, int], list[float]] = {}
            for row in rows:
                if row.method == method:
                    seeds.setdefault((row.density, row.seed), []).append(100 * row.accuracy)
            levels: dict[float, list[float]] = {}
            for (density, _), measured in seeds.items():
                levels.setdefault(density, []).append(fmean(measured))
            if not levels:
                continue
            x = sorted(levels, reverse=True)
            mean, low, high = ([summary(levels[d]) for d in x] for summary in (fmean, min, max))
            seeds_each = [len(levels[density]) for density in x]
            shown += list(zip([label(method)] * len(x), x, mean, low, high, seeds_each, strict=True))
            if method == "recalibrated":  # a reference, so thin and without a band
                axes.plot(x, mean, color=INK, linestyle=":", linewidth=1.2, label=label(method))
                continue
            colour, marker = look(index)
            axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
            axes.plot(x, mean, color=colour, marker=marker, label=label(method))
        dense = [100 * row.accuracy for row in rows if row.method == "ticket" and row.level == 0]
        if dense:
            axes.axhline(fmean(dense), color=INK, linestyle=(0, (5, 4)), linewidth=0.9, label="Dense network")
        densities(axes, {row.density for row in rows})
        legend(drawing, axes)
        names = ", ".join(map(label, methods))
        drawn = svg(drawing, f"Test {samples} in percent against density in percent, one line each for {names}")
    columns = ("method", "density", "accuracy_percent", "lowest_seed", "highest_seed", "seeds")
    return Figure(name, drawn, columns, tuple(shown))


def gains(gains: Sequence[Gain]) -> Figure:
    """Gain over the recalibrated ticket against density, with 95 % intervals, one series a featured method."""
    gains = [g for g in gains if g.density is not None and g.against == "recalibrated" and g.corruption == "none"]
    methods = featured((gain.method for gain in gains), _SERIES)
    shown = []
    with style("gains"):
        drawing, axes = canvas("Gain (percentage points)")
        axes.axhline(0, color=INK, linewidth=0.9)
        for index, method in enumerate(methods):
            here = [gain for gain in gains if gain.method == method]
            shown += [(label(method), g.level, g.density, g.gain, g.low, g.high, g.seeds, g.n) for g in here]
            colour, marker = look(index)
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
    methods = ["recalibrated", "ticket", *featured((row.method for row in binned), 2)]
    found = {m: {(row.seed, row.level): row.bins for row in binned if row.method == m} for m in methods}
    found = {method: places for method, places in found.items() if places}
    shared = set.intersection(*(set(places) for places in found.values())) if found else set()
    if not shared:
        return None
    shown: list[tuple[str, float, int, float | None, float | None]] = []
    with style("calibration"):
        drawing, axes = canvas("Test accuracy (%)", height=3.8)
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.9, linestyle=(0, (5, 4)), label="Perfect")
        for index, method in enumerate(methods, start=-2):
            if method not in found:
                continue
            bins = list(zip(*(found[method][place] for place in sorted(shared)), strict=True))
            points = []
            for number, parts in enumerate(bins):
                n = sum(count for count, _, _ in parts)
                sure = 100 * sum(count * mean for count, _, mean in parts) / n if n else None
                right = 100 * sum(correct for _, correct, _ in parts) / n if n else None
                shown.append((label(method), 100 * number / len(bins), n, sure, right))
                if n >= _FEW:
                    points.append((sure, right))
            x, y = zip(*points, strict=True) if points else ((), ())
            colour, marker = look(index)
            line = {"linestyle": ":", "linewidth": 1.2} if method == "recalibrated" else {"marker": marker}
            axes.plot(x, y, color=colour, label=label(method), **line)
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="Confidence (%)")
        legend(drawing, axes)
        described = f"Test accuracy against confidence: {', '.join(map(label, found))}"
        columns = ("method", "bin_from_percent", "samples", "confidence_percent", "accuracy_percent")
        return Figure("calibration", svg(drawing, described), columns, tuple(shown))

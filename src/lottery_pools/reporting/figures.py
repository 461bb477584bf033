"""Result rows as figures: accuracy, gains, corruptions, calibration."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lottery_pools.reporting.corruption_tables import differences
from lottery_pools.reporting.drawing import End, Side, cells, colours, densities, legend, name_ends
from lottery_pools.reporting.measure import ACCURACY, Measure
from lottery_pools.reporting.names import featured, instead, kind, label
from lottery_pools.reporting.style import GREY, INK, Figure, canvas, look, style, svg
from lottery_pools.runs.rows import Accuracy, Bins, Gain, Row, clean, corrupted

_FEW = 20
"""Samples below which a bin of confidence is not drawn: its accuracy would be noise."""


def accuracy(
    accuracies: Sequence[Accuracy], methods: Sequence[str], corruption: str = "none", measure: Measure = ACCURACY
) -> Figure:
    """Test accuracy against density, one line for each of `methods`, on the samples that `corruption` names.

    Lines are means over seeds, bands their 95 % intervals. `corruption` is `none` or `all`, as in `Gain`. Colours are
    each used once, and each line has its name at its end. `measure` is accuracy in percent, or another metric.
    """
    samples = measure.name if corruption == "none" else f"{measure.name} under corruption"
    unit = " (%)" if measure.is_accuracy else ""
    kind_of = "accuracy" if measure.is_accuracy else "metric"
    name = f"{kind_of}{'' if corruption == 'none' else '-corrupted'}{_suffix(methods)}"
    by_level = sorted((value for value in accuracies if value.corruption == corruption), key=lambda value: value.level)
    by_method = {method: [value for value in by_level if value.method == method] for method in methods}
    with style(name):
        drawing, axes = canvas(f"Test {samples}{unit}")
        colour, ends = colours(methods), []
        for method, values in by_method.items():
            if values:
                _band(axes, values, colour[method])
                last = values[-1]
                ends.append(End(last.density, last.mean, label(method), colour[method], look(method)[1]))
        _limit(axes, [value.mean for values in by_method.values() for value in values], measure)
        densities(axes, [value.density for values in by_method.values() for value in values])
        name_ends(drawing, axes, ends)
        names = ", ".join(map(label, methods))
        counted = " in percent" if measure.is_accuracy else ""
        picture = svg(drawing, f"Test {samples}{counted} against density in percent, one line each for {names}")
    columns = (
        "method",
        "density",
        "accuracy_percent" if measure.is_accuracy else "value",
        "low_95",
        "high_95",
        "seeds",
    )
    shown = (
        (label(method), value.density, value.mean, value.low, value.high, value.seeds)
        for method, values in by_method.items()
        for value in values
    )
    return Figure(name, picture, columns, tuple(shown))


def _suffix(methods: Sequence[str]) -> str:
    """What the names of figures of trained baselines end in."""
    return "-trained" if any(map(instead, methods)) else ""


def _band(axes: Axes, values: Sequence[Accuracy], colour: str) -> None:
    """The line of one method with its band, of a single level a point with a bar."""
    method = values[0].method
    x, mean = [value.density for value in values], [value.mean for value in values]
    low, high = [value.low for value in values], [value.high for value in values]
    if len(values) == 1:  # too narrow for a band
        axes.vlines(x, low, high, color=colour, alpha=0.5)
    axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
    axes.plot(x, mean, color=colour, marker=look(method)[1])


def _limit(axes: Axes, means: Sequence[float], measure: Measure) -> None:
    """Let intervals leave the axes where they are so wide, as those of two seeds, that the lines would look flat."""
    if means:
        room = max(1.0 if measure.is_accuracy else 0.0, max(means) - min(means)) or 1.0
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, min(means) - room), min(top, max(means) + room))


def gains(gains: Sequence[Gain], methods: Sequence[str], measure: Measure = ACCURACY) -> Figure:
    """Gain over the recalibrated ticket against density, with 95 % intervals, one line for each of `methods`.

    The ticket is the line at zero. Gains are on clean test samples, in percentage points, of another metric
    in its unit.
    """
    by_level = [g for g in gains if g.density is not None and (g.against, g.corruption) == ("recalibrated", "none")]
    methods = [method for method in methods if any(gain.method == method for gain in by_level) and method != "ticket"]
    name = f"gains{_suffix(methods)}"
    shown: list[tuple[str, int | None, float | None, float, float, float, int, int]] = []
    with style(name):
        drawing, axes = canvas(
            "Gain (points of test accuracy)" if measure.is_accuracy else f"Gain in {measure.name} on test samples"
        )
        axes.axhline(0, color=INK, linewidth=0.9)
        colour = colours(("recalibrated", *methods))
        lowest = min((gain.density for gain in by_level if gain.density), default=1.0)
        ends = [End(lowest, 0.0, "Recalibrated ticket", INK, "_")]
        for number, method in enumerate(methods):
            values = sorted((g for g in by_level if g.method == method), key=lambda g: -(g.density or 0))
            shown += [(label(method), g.level, g.density, g.gain, g.low, g.high, g.seeds, g.n) for g in values]
            # Side by side, so that the intervals of one level do not hide each other.
            shift = 1 + min(0.03, 0.13 / len(methods)) * ((len(methods) - 1) / 2 - number)
            x = [gain.density * shift for gain in values if gain.density]
            _whiskers(axes, x, values, colour[method])
            ends.append(End(values[-1].density or 0.0, values[-1].gain, label(method), colour[method], look(method)[1]))
        densities(axes, [gain.density for gain in by_level if gain.density])
        name_ends(drawing, axes, ends)
        names = ", ".join(map(label, methods))
        described = f"Gain in {measure.name} over the recalibrated ticket against density, with intervals: {names}"
        columns = ("method", "level", "density", measure.gain_column, "low_95", "high_95", "seeds", "samples_a_seed")
        return Figure(name, svg(drawing, described), columns, tuple(shown))


def _whiskers(axes: Axes, x: Sequence[float], values: Sequence[Gain], colour: str) -> None:
    """The line of one method's gains, with a whisker for each interval."""
    axes.errorbar(
        x,
        [gain.gain for gain in values],
        [[gain.gain - gain.low for gain in values], [gain.high - gain.gain for gain in values]],
        color=colour,
        marker=look(values[0].method)[1],
        linewidth=1.2,
        elinewidth=0.9,
    )


def heat_map(rows: Sequence[Row], method: str) -> Figure:
    """A method's accuracy less the recalibrated ticket's, one cell a corruption and severity.

    Percentage points, the mean over levels and seeds; blue is better, orange worse, the deeper the more.
    """
    difference = differences(corrupted(rows), lambda row: (row.corruption, row.severity))
    measured = {place: value for (name, place), value in difference.items() if name == method}
    corruptions = list(dict.fromkeys(corruption for corruption, _ in measured))
    severities = sorted({severity for _, severity in measured})
    largest = max([1.0, *map(abs, measured.values())])  # one point at least: noise stays pale
    places = {place: (corruptions.index(place[0]), severities.index(place[1])) for place in measured}
    with style("heat"):
        drawing = cells(
            {places[place]: value / largest for place, value in measured.items()},
            {places[place]: f"{value:+z.2f}" for place, value in measured.items()},
            Side("", [kind(corruption) for corruption in corruptions]),
            Side("Severity", [str(severity) for severity in severities]),
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
    by_method = _shared_bins(rows)
    if not by_method:
        return None
    shown = [(label(method), *values) for method, bins in by_method.items() for values in bins]
    with style("calibration"):
        drawing, axes = canvas("Test accuracy (%)", height=3.8)
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.9, linestyle=(0, (5, 4)), label="Perfect")
        colour = colours(by_method, taken=(GREY,))
        for method, bins in by_method.items():
            points = [
                (sure, right) for _, n, sure, right in bins if n >= _FEW and sure is not None and right is not None
            ]
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, color=colour[method], marker=look(method)[1], label=label(method))
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="Confidence (%)")
        legend(drawing, axes)
        described = f"Test accuracy against confidence: {', '.join(map(label, by_method))}"
        columns = ("method", "bin_from_percent", "samples", "confidence_percent", "accuracy_percent")
        return Figure("calibration", svg(drawing, described), columns, tuple(shown))


_Bin = tuple[float, int, float | None, float | None]
"""Where a bin of confidence begins (percent), its samples, their mean confidence and their accuracy (percent)."""


def _shared_bins(rows: Sequence[Row]) -> dict[str, list[_Bin]]:
    """The bins of the methods drawn, over the levels and seeds that every one of them has; empty without such."""
    binned = [row for row in clean(rows) if row.bins]
    methods = ["ticket", "recalibrated", *featured((row.method for row in binned), 2)]
    by_place = {m: {(row.seed, row.level): row.bins for row in binned if row.method == m} for m in methods}
    by_place = {method: bins for method, bins in by_place.items() if bins}
    common = set.intersection(*map(set, by_place.values())) if by_place else set()
    if not common:
        return {}
    return {method: _summed([bins[place] for place in sorted(common)]) for method, bins in by_place.items()}


def _summed(networks: Sequence[Bins]) -> list[_Bin]:
    """Bins of several networks as one."""
    summed: list[_Bin] = []
    for number, parts in enumerate(zip(*networks, strict=True)):
        n = sum(count for count, _, _ in parts)
        sure = 100 * sum(count * mean for count, _, mean in parts) / n if n else None
        right = 100 * sum(correct for _, correct, _ in parts) / n if n else None
        summed.append((100 * number / len(networks[0]), n, sure, right))
    return summed

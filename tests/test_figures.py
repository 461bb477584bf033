"""Figures: valid, self-contained, deterministic SVG that takes its ink from the page."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from lottery_pools.evaluation.metrics import accuracies
from lottery_pools.pooling.methods import METHODS, RETIRED_METHODS
from lottery_pools.reporting import figures
from lottery_pools.reporting.names import main_lines, trained_lines
from lottery_pools.reporting.style import Figure, look
from lottery_pools.runs.rows import BASELINES, Row
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES
from tests.test_tables import MANY, make_gain, make_rows, make_shifted

BINS = ((0, 0, 0.0), (40, 10, 0.375), (60, 48, 0.9))


def binned() -> list[Row]:
    return [replace(row, bins=BINS) for row in make_rows(MANY)]


def draw_accuracy(methods: tuple[str, ...] = ("ticket", "average", "interpolation")) -> Figure:
    return figures.accuracy(accuracies(make_rows(methods)), methods)


def draw_gains() -> Figure:
    methods = ("average", "interpolation")
    return figures.gains([make_gain(method, level) for method in methods for level in range(4)], methods)


def draw_corrupted() -> Figure:
    return figures.accuracy(accuracies(make_rows(MANY) + make_shifted()), main_lines(MANY), "all")


def draw_heat_map() -> Figure:
    return figures.heat_map(make_rows(MANY) + make_shifted(), "interpolation")


def draw_calibration() -> Figure:
    figure = figures.calibration(binned())
    assert figure is not None
    return figure


DRAWS = (draw_accuracy, draw_corrupted, draw_gains, draw_calibration, draw_heat_map)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_figure_is_the_same_to_the_byte_whatever_the_users_matplotlib_settings(draw: Callable[[], Figure]) -> None:
    first = draw()
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.facecolor": "red"}):
        assert draw() == first


@pytest.mark.parametrize("draw", DRAWS)
def test_a_figure_is_accessible_and_loads_nothing(draw: Callable[[], Figure]) -> None:
    svg = draw().svg
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert "ccuracy" in (root.get("aria-label") or "")
    assert root[0].tag.endswith("title")
    assert set(re.findall(r"https?://[^\"' ]+", svg)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<style" not in svg
    assert len(svg) < 40_000


def test_text_is_text_in_the_colour_of_the_page() -> None:
    svg = draw_accuracy().svg
    for text in ("Test accuracy (%)", "Ticket", "Average", "Interpolation", "51.2"):
        assert f">{text}</text>" in svg
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "#000000" not in svg


def test_the_means_are_drawn_from_dense_to_sparse() -> None:
    """The ticket's line rises to the right, as its accuracy does with level in the rows, clean and corrupted."""
    for figure in (
        figures.accuracy(accuracies(make_rows(("ticket",))), ["ticket"]),
        figures.accuracy(accuracies(make_shifted(("ticket",), levels=4)), ["ticket"], "all"),
    ):
        line = max(re.findall(r'<path d="(M [^"z]*)" clip-path', figure.svg), key=len)
        points = [tuple(map(float, point)) for point in re.findall(r"([\d.]+) ([\d.]+)", line)]
        assert len(points) == 4
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))


def test_figures_of_one_page_share_no_id() -> None:
    ids = [set(re.findall(r'\bid="([^"]*)"', draw().svg)) for draw in DRAWS]
    assert all(ids[:4])
    assert len(set.union(*ids)) == sum(map(len, ids))


@pytest.mark.parametrize("shifted", [False, True])
def test_the_main_chart_has_four_lines_and_what_was_trained_a_chart_of_its_own(shifted: bool) -> None:
    methods = (
        *("ensemble", "longer", "best", "uniform-soup", "ticket", "recalibrated", "admissible", "interpolation"),
        *("trimmed-soup", "sparse-model-soups"),
    )
    rows = accuracies(make_shifted(methods) if shifted else make_rows(methods))
    gains = [make_gain(method, 1) for method in methods if method != "recalibrated"]
    for lines, shown in (
        (main_lines(methods), ("Ticket", "Best admissible", "Interpolation", "Trimmed soup (ours)")),
        (trained_lines(methods), ("Ticket", "Sparse Model Soups", "(3 copies)", "Trained for longer")),
    ):
        accuracy = figures.accuracy(rows, lines, "all" if shifted else "none")
        assert len({row[0] for row in accuracy.rows}) == len(lines) <= 4
        gain = figures.gains(gains, lines)
        for svg, ticket in ((accuracy.svg, "Ticket"), (gain.svg, "Recalibrated ticket")):
            named = set(re.findall(r">([A-Z(][^<]*)</text>", svg))
            assert {ticket, *shown[1:]} <= named
            assert named.isdisjoint({"Uniform soup", "Ensemble (n passes)", "Best (ours, retired)"})
    assert figures.gains(gains, main_lines(methods)).name == "gains"
    assert figures.gains(gains, trained_lines(methods)).name == "gains-trained"
    assert trained_lines(("ticket", "interpolation")) == []


@pytest.mark.parametrize("lines", [main_lines, trained_lines])
def test_no_colour_is_used_twice_in_a_figure(lines: Callable[[tuple[str, ...]], list[str]]) -> None:
    methods = (*BASELINES, *METHODS, *TRAINED_BASELINES)
    accuracy = figures.accuracy(accuracies(make_rows(methods)), lines(methods))
    gains = figures.gains([make_gain(method, level) for method in methods for level in (0, 1)], lines(methods))
    for figure in (accuracy, gains):
        strokes = re.findall(r'<path d="M [^"]*" clip-path[^>]*style="fill: none; stroke: ([^;"]+)', figure.svg)
        drawn = [stroke for stroke in dict.fromkeys(strokes) if stroke != "currentColor"]
        assert len(drawn) == len({row[0] for row in figure.rows} - {"Ticket"})


def test_names_stand_at_the_ends_of_lines_and_do_not_overlap() -> None:
    """All four lines end at the same accuracy; the names are one below the other to the right of the axes."""
    rows = [replace(row, accuracy=0.5) for row in make_rows(("ticket", "admissible", "interpolation", "trimmed-soup"))]
    svg = figures.accuracy(accuracies(rows), ["ticket", "admissible", "interpolation", "trimmed-soup"]).svg
    place = r'transform="translate\(([\d.]+) ([\d.]+)\)">\s*{}</text>'
    places = []
    for name in ("Ticket", "Best admissible", "Interpolation", r"Trimmed soup \(ours\)"):
        (position,) = re.findall(rf'<text[^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>{name}</text>', svg) or re.findall(
            place.format(name), svg
        )
        places.append(tuple(map(float, position)))
    assert len({x for x, _ in places}) == 1
    heights = sorted(y for _, y in places)
    assert all(below - above >= 10 for above, below in pairwise(heights))


def test_a_method_looks_the_same_whatever_else_is_drawn() -> None:
    looks = [look(method) for method in (*BASELINES, *METHODS, *RETIRED_METHODS, *TRAINED_BASELINES)]
    assert len(set(looks)) == len(looks)
    assert look("mine") == look("mine")
    for methods in (("ticket", "best"), ("ticket", "interpolation", "best", "longer")):
        for svg in (
            figures.accuracy(accuracies(make_rows(methods)), methods).svg,
            figures.gains([make_gain(method, 1) for method in methods[1:]], methods).svg,
        ):
            assert look("best")[0] in svg
            assert (look("interpolation")[0] in svg) == ("interpolation" in methods)


def test_wide_intervals_do_not_flatten_the_lines() -> None:
    """Two seeds 4 points apart: Student's interval of their mean is 25 points to each side."""
    rows = [replace(row, accuracy=row.accuracy + 0.036 * row.seed) for row in make_rows(("ticket",))]
    figure = figures.accuracy(accuracies(rows), ["ticket"])
    _, _, mean, _, high, _ = figure.rows[0]
    assert isinstance(mean, float)
    assert isinstance(high, float)
    assert high - mean > 20
    named = [int(text) for text in re.findall(r">(\d\d)</text>", figure.svg)]
    assert min(named) > 40


def test_a_method_of_a_single_level_has_an_interval_too() -> None:
    rows = [row for row in make_rows(("ticket", "longer")) if row.method == "ticket" or row.level == 0]
    colour = look("longer")[0]

    def draw(rows: list[Row]) -> Figure:
        return figures.accuracy(accuracies(rows), ["ticket", "longer"])

    assert re.search(rf'fill: none; stroke: {colour}[^"]*opacity: 0.5', draw(rows).svg)


def test_the_heat_map_prints_every_difference_in_the_colour_of_its_sign() -> None:
    """Interpolation is 3 points above the recalibrated ticket, but for fog at severity 2 where it is level."""
    svg = draw_heat_map().svg
    assert svg.count(">+3.00</text>") == 5
    assert svg.count(">+0.00</text>") == 1
    assert [text for text in ("Gaussian noise", "Fog", "JPEG compression", "Severity") if f">{text}</text>" in svg]
    assert "fill: #0072b2" in svg
    worse = figures.heat_map(make_shifted(), "ticket").svg
    assert worse.count(">−1.00</text>") == 5
    assert "fill: #d55e00" in worse
    assert "fill: #0072b2" not in worse


def test_a_cell_that_was_not_measured_stays_empty() -> None:
    rows = [row for row in make_shifted() if (row.corruption, row.severity) != ("fog", 1)]
    assert figures.heat_map(rows, "interpolation").svg.count("00</text>") == 5


def test_missing_levels_hostile_names_and_many_methods_are_drawn() -> None:
    name = '<b>&"$x^$'
    methods = ("ticket", name, *(f"m{k}" for k in range(12)))
    rows = [row for row in make_rows(methods) if row.method == "ticket" or row.level % 2]
    svg = figures.accuracy(accuracies(rows), methods).svg
    ElementTree.fromstring(svg)
    assert "<b>" not in svg


def test_only_gains_over_the_recalibrated_ticket_by_level_count() -> None:
    gain = make_gain(level=1)
    other = type(gain)(**{**vars(gain), "against": "ticket", "method": "other"})
    methods = ["interpolation", "other"]
    assert figures.gains([gain, other, make_gain(level=None)], methods) == figures.gains([gain], methods)


def test_the_numbers_of_a_figure_are_those_drawn() -> None:
    accuracy = draw_accuracy(("ticket", "average"))
    assert accuracy.rows[1] == pytest.approx(("Ticket", 0.8, 52.2, 52.2 - 12.706 * 0.2, 52.2 + 12.706 * 0.2, 2))
    assert len(accuracy.rows) == 2 * 4
    assert draw_gains().rows[0] == ("Average", 0, 1.0, 1.0, 0.5, 1.5, 2, 1000)
    cells = {tuple(row[1:3]): row[3] for row in draw_heat_map().rows}
    assert len(cells) == 6
    assert cells["fog", 1] == pytest.approx(3)


def test_the_csv_quotes_what_it_must_and_has_one_line_a_row() -> None:
    figure = replace(draw_accuracy(), rows=(('a "b", c', 0.1 + 0.2, 3, None),), columns=("w", "x", "y", "z"))
    assert list(csv.reader(figure.csv.splitlines())) == [["w", "x", "y", "z"], ['a "b", c', "0.3", "3", ""]]


def test_calibration_counts_samples_of_all_levels_and_seeds_together() -> None:
    figure = draw_calibration()
    rows = [row for row in figure.rows if row[0] == "Ticket"]
    assert [row[2] for row in rows] == [0, 320, 480]
    assert rows[0][3:] == (None, None)
    assert rows[1][3:] == pytest.approx((37.5, 25.0))
    assert rows[2][3:] == pytest.approx((90.0, 80.0))
    assert {row[0] for row in figure.rows} == {"Ticket", "Recalibrated", "Average", "Interpolation"}


def test_calibration_compares_only_what_all_methods_have_and_needs_bins() -> None:
    assert figures.calibration(make_rows(MANY)) is None
    rows = [row if row.method != "average" or row.level == 1 else replace(row, bins=()) for row in binned()]
    figure = figures.calibration(rows)
    assert figure is not None
    assert [row[2] for row in figure.rows if row[0] == "Ticket"] == [0, 80, 120]
    disjoint = [row for row in rows if row.method != "ticket" or row.level == 0]
    assert figures.calibration(disjoint) is None


def test_a_bin_of_few_samples_is_not_drawn_but_told() -> None:
    def markers(bins: tuple[tuple[int, int, float], ...]) -> int:
        figure = figures.calibration([replace(row, bins=bins) for row in make_rows(("ticket",), seeds=1, levels=1)])
        assert figure is not None
        assert len(figure.rows) == 3
        return figure.svg.count("<use")

    assert markers(((0, 0, 0.0), (20, 5, 0.5), (20, 9, 0.9))) == markers(((0, 0, 0.0), (19, 5, 0.5), (20, 9, 0.9))) + 1

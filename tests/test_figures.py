"""Figures: valid, self-contained, deterministic SVG that takes its ink from the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from lottery_pools.reporting import figures
from tests.test_tables import MANY, make_gain, make_rows, make_shifted


def draw_accuracy(methods: tuple[str, ...] = ("ticket", "average", "interpolation")) -> str:
    return figures.accuracy(make_rows(methods))


def draw_gains() -> str:
    return figures.gains([make_gain(method, level) for method in ("average", "interpolation") for level in range(4)])


def draw_corrupted() -> str:
    return figures.accuracy(make_rows(MANY) + make_shifted(), under_corruption=True)


def draw_heat_map() -> str:
    return figures.heat_map(make_rows(MANY) + make_shifted(), "interpolation")


DRAWS = (draw_accuracy, draw_corrupted, draw_gains, draw_heat_map)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_figure_is_the_same_to_the_byte_whatever_the_users_matplotlib_settings(draw: Callable[[], str]) -> None:
    first = draw()
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.facecolor": "red"}):
        assert draw() == first


@pytest.mark.parametrize("draw", DRAWS)
def test_a_figure_is_accessible_and_loads_nothing(draw: Callable[[], str]) -> None:
    svg = draw()
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert "ccuracy" in (root.get("aria-label") or "")
    assert root[0].tag.endswith("title")
    assert set(re.findall(r"https?://[^\"' ]+", svg)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<style" not in svg
    assert len(svg) < 40_000


def test_text_is_text_in_the_colour_of_the_page() -> None:
    svg = draw_accuracy()
    for text in ("Test accuracy (%)", "Ticket", "Average", "Interpolation", "Dense network", "51.2"):
        assert f">{text}</text>" in svg
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "#000000" not in svg


def test_the_means_are_drawn_from_dense_to_sparse() -> None:
    """The ticket's line rises to the right, as its accuracy does with level in the rows, clean and corrupted."""
    for svg in (
        figures.accuracy(make_rows(("ticket",))),
        figures.accuracy(make_shifted(("ticket",), levels=4), under_corruption=True),
    ):
        line = max(re.findall(r'<path d="(M [^"z]*)" clip-path', svg), key=len)
        points = [tuple(map(float, point)) for point in re.findall(r"([\d.]+) ([\d.]+)", line)]
        assert len(points) == 4
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))


def test_figures_of_one_page_share_no_id() -> None:
    ids = [set(re.findall(r'\bid="([^"]*)"', draw())) for draw in DRAWS]
    assert all(ids[:3])
    assert len(set.union(*ids)) == sum(map(len, ids))


def test_a_figure_shows_the_papers_methods_and_two_more() -> None:
    methods = ("ticket", "recalibrated", "ema", "ensemble", "swa", "average", "ties", "interpolation")
    for svg in (
        figures.accuracy(make_rows(methods)),
        figures.accuracy(make_shifted(methods), under_corruption=True),
    ):
        for text in ("Ticket", "Recalibrated", "Average", "Interpolation", "EMA (neighbours)", "SWA (neighbours)"):
            assert f">{text}</text>" in svg
        assert "TIES" not in svg
        assert "Ensemble" not in svg
    shown = figures.gains([make_gain(method, 1) for method in methods[2:]])
    assert "Average" in shown
    assert "TIES" not in shown


def test_the_heat_map_prints_every_difference_in_the_colour_of_its_sign() -> None:
    """Interpolation is 3 points above the recalibrated ticket, but for fog at severity 2 where it is level."""
    svg = draw_heat_map()
    assert svg.count(">+3.00</text>") == 5
    assert svg.count(">+0.00</text>") == 1
    assert [text for text in ("Gaussian noise", "Fog", "JPEG compression", "Severity") if f">{text}</text>" in svg]
    assert "fill: #0072b2" in svg
    worse = figures.heat_map(make_shifted(), "ticket")
    assert worse.count(">−1.00</text>") == 5
    assert "fill: #d55e00" in worse
    assert "fill: #0072b2" not in worse


def test_a_cell_that_was_not_measured_stays_empty() -> None:
    rows = [row for row in make_shifted() if (row.corruption, row.severity) != ("fog", 1)]
    assert figures.heat_map(rows, "interpolation").count("00</text>") == 5


def test_missing_levels_hostile_names_and_many_methods_are_drawn() -> None:
    name = '<b>&"$x^$'
    rows = make_rows(("ticket", name, *(f"m{k}" for k in range(12))))
    svg = figures.accuracy([row for row in rows if row.method == "ticket" or row.level % 2])
    ElementTree.fromstring(svg)
    assert "<b>" not in svg


def test_only_gains_over_the_recalibrated_ticket_by_level_count() -> None:
    gain = make_gain(level=1)
    other = type(gain)(**{**vars(gain), "against": "ticket", "method": "other"})
    assert figures.gains([gain, other, make_gain(level=None)]) == figures.gains([gain])

"""Figures: valid, self-contained, deterministic SVG that takes its ink from the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from lottery_pools.reporting import figures
from tests.test_tables import make_gain, make_rows


def draw_accuracy(methods: tuple[str, ...] = ("ticket", "average", "interpolation")) -> str:
    return figures.accuracy(make_rows(methods))


def draw_gains() -> str:
    return figures.gains([make_gain(method, level) for method in ("average", "interpolation") for level in range(4)])


@pytest.mark.parametrize("draw", [draw_accuracy, draw_gains])
def test_a_figure_is_the_same_to_the_byte_whatever_the_users_matplotlib_settings(draw: Callable[[], str]) -> None:
    first = draw()
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.facecolor": "red"}):
        assert draw() == first


@pytest.mark.parametrize("draw", [draw_accuracy, draw_gains])
def test_a_figure_is_accessible_and_loads_nothing(draw: Callable[[], str]) -> None:
    svg = draw()
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert "density" in (root.get("aria-label") or "")
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
    """The ticket's line rises to the right, as its accuracy does with level in the rows."""
    svg = figures.accuracy(make_rows(("ticket",)))
    line = max(re.findall(r'<path d="(M [^"z]*)" clip-path', svg), key=len)
    points = [tuple(map(float, point)) for point in re.findall(r"([\d.]+) ([\d.]+)", line)]
    assert len(points) == 4
    assert points == sorted(points, key=lambda point: (point[0], -point[1]))


def test_two_figures_of_one_page_share_no_id() -> None:
    accuracy, gains = (set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (draw_accuracy(), draw_gains()))
    assert accuracy
    assert gains
    assert not accuracy & gains


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

"""How pools came about, as figures: the right numbers in the right cells."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.reporting import diagrams
from lottery_pools.reporting.style import Figure
from lottery_pools.runs.rows import PoolRow
from tests.test_diagnosis import FOUND

POOLS = [
    PoolRow(1, "average", 0, 1.0, ((2, 0.25),), 9),
    PoolRow(0, "average", 0, 1.0, ((1, 0.5), (2, 0.4)), 9),
    PoolRow(0, "average", 1, 0.8, (), 9),
    PoolRow(0, "interpolation", 1, 0.8, ((2, 0.9),), 9),
]


def draw_paths() -> Figure:
    figure = diagrams.paths(FOUND)
    assert figure is not None
    return figure


DRAWS: tuple[Callable[[], Figure], ...] = (
    lambda: diagrams.recipes(POOLS, "average"),
    lambda: diagrams.attribution(FOUND, "average"),
    lambda: diagrams.barriers(FOUND),
    lambda: diagrams.overlap(FOUND),
    draw_paths,
)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_figure_is_the_same_to_the_byte_and_valid(draw: Callable[[], Figure]) -> None:
    figure = draw()
    assert draw() == figure
    assert ElementTree.fromstring(figure.svg).get("aria-label")
    assert {len(row) for row in figure.rows} == {len(figure.columns)}


def test_shares_multiply_along_the_recipe() -> None:
    assert diagrams.shares(POOLS[1]) == pytest.approx({0: 0.2, 1: 0.2, 2: 0.6})
    assert diagrams.shares(POOLS[2]) == {1: 1.0}


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), max_size=8))
def test_shares_sum_to_one_whatever_the_steps(steps: list[tuple[int, float]]) -> None:
    shares = diagrams.shares(PoolRow(0, "average", 3, 0.5, tuple(steps), 0))
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {3, *(level for level, _ in steps)}


def test_a_soup_s_recipe_is_its_shares() -> None:
    soup = PoolRow(0, "trimmed-soup", 0, 1.0, ((0, 0.25), (1, 0.75)), 9)
    assert diagrams.shares(soup) == {0: 0.25, 1: 0.75}
    assert diagrams.shares(replace(soup, steps=())) == {0: 1.0}
    figure = diagrams.recipes([soup], "trimmed-soup")
    assert figure.rows == (
        ("Trimmed soup (ours)", 0, 0, 1, 0, None, 0.25),
        ("Trimmed soup (ours)", 0, 0, 2, 1, None, 0.75),
    )
    assert ">.75</text>" in figure.svg


def test_recipes_show_the_first_seed_with_shares_and_an_outline_for_each_target() -> None:
    figure = diagrams.recipes(POOLS, "average")
    shown: list[tuple[Any, ...]] = [row[2:] for row in figure.rows]
    assert shown[0] == pytest.approx((0, None, 0, None, 0.2))
    assert shown[1:3] == [(0, 1, 1, 0.5, pytest.approx(0.2)), (0, 2, 2, 0.4, pytest.approx(0.6))]
    assert shown[3] == (1, None, 1, None, 1.0)
    assert len(shown) == 4
    numbers = re.findall(r">(\.\d\d|1)</text>", figure.svg)
    assert sorted(numbers) == [".20", ".20", ".60", *["1"] * 3], "three shares; a row, a column and a share of 1"
    assert (
        len(
            re.findall(
                r'z\n" clip-path[^>]*style="fill: none; stroke: currentColor; stroke-linejoin: miter"', figure.svg
            )
        )
        == 2
    )
    assert "•" not in figure.svg
    assert re.search('fill: #0072b2[^"]*opacity: 0.75', figure.svg), "the target that took nothing in is all its own"


def test_attribution_stacks_what_helps_above_and_what_hurts_below() -> None:
    figure = diagrams.attribution(FOUND, "average")
    assert figure.rows[0] == pytest.approx(("Average", 1, 2.0, 1.0, 0.0, 2.0, -1.0, 0.5))
    for text in ("Gain", "BatchNorm", "Takeover", "Averaging", "Re-pruning"):
        assert f">{text}</text>" in figure.svg


def test_paths_join_neighbours_only_and_are_none_without_points() -> None:
    figure = draw_paths()
    assert figure.rows[1] == pytest.approx((0, 0, 0.5, 30, 50))
    assert len(figure.rows) == 2 * 2 * 3
    assert ">BatchNorm mixed</text>" in figure.svg
    old = [
        {**of_seed, "pairs": [{k: v for k, v in p.items() if k != "path"} for p in of_seed["pairs"]]}
        for of_seed in FOUND
    ]
    assert diagrams.paths(old) is None
    assert diagrams.paths([]) is None


def test_without_batchnorm_there_is_one_line() -> None:
    pair = {**FOUND[0]["pairs"][0], "path": [{"alpha": a, "score": 0.5, "recalibrated": None} for a in (1.0, 0.0)]}
    figure = diagrams.paths([{"seed": 0, "pairs": [pair]}])
    assert figure is not None
    assert ">Mixture</text>" in figure.svg
    assert "BatchNorm" not in figure.svg


def test_barriers_and_overlap_are_means_over_seeds_of_every_pair() -> None:
    figure = diagrams.barriers(FOUND)
    for row, expected in zip(figure.rows, ((0, 1, 1), (0, 2, 2), (1, 2, 3)), strict=True):
        assert row == pytest.approx(expected)
    assert figure.svg.count(">2.0</text>") == 1
    assert re.search('fill: #d55e00[^"]*opacity: 0.75', figure.svg)
    assert diagrams.overlap(FOUND).svg.count(">0.70</text>") == 3


def test_the_label_of_few_rows_lies_flat_so_that_it_is_not_cut_off() -> None:
    def turned(pools: list[PoolRow]) -> bool:
        (label,) = re.findall(r"<text ([^>]*)>Target \(level\)</text>", diagrams.recipes(pools, "average").svg)
        return "rotate(-90" in label

    assert not turned(POOLS[:1])
    assert turned([replace(POOLS[2], level=level) for level in range(4)])

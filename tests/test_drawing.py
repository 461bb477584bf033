"""Parts of figures: colours used once, names that do not cover each other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.pooling.methods import METHODS
from lottery_pools.reporting import drawing, names
from lottery_pools.reporting.style import COLOURS, GREY, INK, look
from lottery_pools.runs.rows import BASELINES


@pytest.mark.parametrize(
    "methods",
    [
        (*BASELINES, "interpolation", "trimmed-soup"),
        names.trained_lines(("ticket", *names.TRAINED_BASELINES)),
        (*BASELINES, "sparse-model-soups", "swa-training", "swa", "uniform-soup"),
        ("a", "b", "c", "d"),
    ],
)
def test_no_colour_is_used_twice(methods: tuple[str, ...]) -> None:
    chosen = drawing.colours(methods)
    assert list(chosen) == sorted(chosen, key=list(chosen).index)
    assert set(chosen) == set(methods)
    assert len(set(chosen.values())) == len(methods)
    assert set(chosen.values()) <= {INK, GREY, *COLOURS}
    assert GREY not in drawing.colours(methods[:3], taken=(GREY,)).values()


def test_a_method_keeps_its_own_colour_where_it_is_free() -> None:
    chosen = drawing.colours(("ticket", "admissible", "interpolation", "trimmed-soup"))
    assert {method: look(method)[0] for method in chosen if method != "admissible"}.items() <= chosen.items()
    for method in METHODS:
        assert drawing.colours([method]) == {method: look(method)[0]}


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 5)), max_size=8))
def test_names_are_spread_in_order_and_do_not_overlap(things: list[tuple[float, float]]) -> None:
    wanted, heights = [place for place, _ in things], [height for _, height in things]
    placed = sorted(zip(drawing.spread(wanted, heights), heights, wanted, strict=True))
    for (below, low, _), (above, high, _) in pairwise(placed):
        assert above - below >= (low + high) / 2 - 1e-9
    assert [want for _, _, want in placed] == sorted(wanted)


def test_names_with_room_stay_where_they_are_wanted() -> None:
    assert drawing.spread([3.0, 1.0], [1.0, 1.0]) == [3.0, 1.0]
    assert drawing.spread([], []) == []

"""The tables of a diagnosis."""

from __future__ import annotations

from typing import Any

import pytest

from lottery_pools.reporting import diagnosis


def pair(first: int, second: int, rise: float, recalibrated: float | None) -> dict[str, Any]:
    path = [{"alpha": a, "score": 0.5 - h, "recalibrated": 0.5} for a, h in ((1.0, 0.0), (0.5, 0.2), (0.0, 0.0))]
    same = {"distance_prunable": 1.5, "cosine": 0.5, "jaccard": 0.7, "inside": 0.9, "path": path}
    return {"first": first, "second": second, "rise": rise, "rise_recalibrated": recalibrated, **same}


def part(level: int, ticket: float, pooled: float) -> dict[str, Any]:
    parts = {"batchnorm": 0.01, "takeover": 0.0, "averaging": 0.02, "repruning": -0.01, "optimism": 0.005}
    return {"method": "average", "level": level, "ticket": ticket, "pooled": pooled, **parts}


FOUND: list[dict[str, Any]] = [
    {
        "seed": seed,
        "pairs": [pair(0, 1, 0.5, 0.01), pair(0, 2, 0.5, 0.02), pair(1, 2, 0.5, 0.03)],
        "attribution": [part(1, 0.5, 0.52), part(2, 0.5, 0.52)],
        "classes": [{"method": "average", "corrupted": False, "gains": {"cat": -0.02, "cow": 0.0, "dog": 0.04 * seed}}],
        "ensemble": {"accuracy": 0.75, "passes": 3, "disagreement": 0.125},
    }
    for seed in (0, 1)
]


def test_barriers_are_a_triangle_in_points_with_batchnorm_re_estimated() -> None:
    table = diagnosis.barriers(FOUND)
    assert table.columns == ("Level", "1", "2")
    assert table.rows == (("0", "1.0", "2.0"), ("1", "–", "3.0"))
    assert "mean of 2 seeds" in table.title


def test_barriers_without_batchnorm_are_the_plain_ones() -> None:
    table = diagnosis.barriers([{"pairs": [pair(0, 1, 0.5, None)]}])
    assert table.rows == (("0", "50.0"),)


def test_overlap_is_of_adjacent_levels() -> None:
    assert diagnosis.overlap(FOUND).rows == (
        ("0, 1", "1.50", "0.500", "0.700", "0.900"),
        ("1, 2", "1.50", "0.500", "0.700", "0.900"),
    )


def test_attribution_is_the_mean_over_seeds() -> None:
    assert diagnosis.attribution(FOUND).rows[0] == (
        "Average", "1", "+2.00", "+1.00", "+0.00", "+2.00", "−1.00", "+0.50",
    )  # fmt: skip


def test_the_ensemble_is_told_for_each_seed() -> None:
    assert diagnosis.ensemble(FOUND).rows == (("0", "75.00", "3", "12.5 %"), ("1", "75.00", "3", "12.5 %"))


def test_the_classes_that_lose_and_gain_most_come_first() -> None:
    assert diagnosis.classes(FOUND, 2).rows == (("Average", "clean", "cat −2.0, cow +0.0", "dog +2.0, cow +0.0"),)


def test_the_parts_of_a_level_come_with_the_gain_in_points() -> None:
    parts = diagnosis.parts_by_level(FOUND)
    assert list(parts) == [("average", 1), ("average", 2)]
    assert list(parts["average", 1]) == ["gain", *diagnosis.PARTS]
    assert parts["average", 1]["gain"] == pytest.approx(2)
    assert parts["average", 1]["gain"] == pytest.approx(sum(parts["average", 1][part] for part in diagnosis.PARTS[:4]))


def test_all_tables_that_have_a_line_and_none_without_a_diagnosis() -> None:
    assert len(diagnosis.tables(FOUND)) == 5
    assert len(diagnosis.tables([{**of_seed, "classes": [], "attribution": []} for of_seed in FOUND])) == 3
    assert diagnosis.tables([]) == []

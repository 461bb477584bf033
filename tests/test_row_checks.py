"""Rows that contradict themselves are told apart from rows that can be true; more cases are in test_results.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.runs.row_checks import check
from lottery_pools.runs.rows import MetricRow, PoolRow, pack_hits, pack_values
from tests.test_rows import ROW

POOL = PoolRow(0, "average", 1, 0.8, ((2, 0.5),), 7)


@given(st.lists(st.booleans(), max_size=40))
def test_rows_that_agree_with_their_hits(hits: list[bool]) -> None:
    n, correct = len(hits), sum(hits)
    row = replace(ROW, n=n, correct=correct, accuracy=correct / n if n else 0.0, hits=pack_hits(np.array(hits, bool)))
    check(row)
    with pytest.raises(ValueError, match=r"hits are not|correct of"):
        check(replace(row, correct=correct + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy": 0.5},
        {"correct": 3, "accuracy": 0.3},
        {"seed": -1},
        {"loss": float("nan")},
        {"ece": float("inf")},
        {"split": None},
        {"bins": ((1, 2, 0.5),)},
        {"bins": ((1, 1, -0.5),)},
    ],
)
def test_rows_that_cannot_be_true(changes: dict[str, Any]) -> None:
    check(ROW)
    with pytest.raises(ValueError, match=r"^(its|it|a) "):
        check(replace(ROW, **changes))


@pytest.mark.parametrize("changes", [{"density": float("nan")}, {"steps": ((True, 0.5),)}, {"density": -0.1}])
def test_pools_that_cannot_be_true(changes: dict[str, Any]) -> None:
    check(POOL)
    with pytest.raises(ValueError, match=r"^(its|it|a) "):
        check(replace(POOL, **changes))


VALUES = np.array([0.5, -1.25, 2], np.float32)
METRIC = MetricRow(
    "tiny",
    0,
    "ticket",
    1,
    0.8,
    "test",
    "none",
    0,
    3,
    "r2",
    float(VALUES.mean()),
    0.4,
    1,
    100,
    0,
    7,
    pack_values(VALUES),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 4}, "it has values of 3 samples, not of 4"),
        ({"value": 0.5}, "it says that its metric is 0.5, the mean of its values is 0.416667"),
        ({"value": float("nan")}, "its value is"),
        ({"loss": float("inf")}, "its loss is"),
        ({"values": "="}, "padding|base64"),
        ({"metric": None}, "its metric is"),
    ],
)
def test_metrics_that_cannot_be_true(changes: dict[str, Any], message: str) -> None:
    check(METRIC)
    with pytest.raises(ValueError, match=message):
        check(replace(METRIC, **changes))

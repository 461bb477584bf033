"""The values of rows: what identifies one, packed hits, and the rows that means are compared over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.runs.rows import (
    MetricRow,
    Row,
    clean,
    common_rows,
    complete,
    corrupted,
    merit,
    pack_hits,
    pack_values,
    unpack_hits,
    unpack_values,
    values_of,
)

ROW = Row(
    run="größer",
    seed=3,
    method="average",
    level=2,
    density=0.64,
    split="test",
    corruption="none",
    severity=0,
    n=10,
    correct=4,
    loss=1.25,
    accuracy=0.4,
    ece=0.1,
    source=2,
    train_images=10**12,
    search_images=5,
    flops=7,
    hits=pack_hits(np.arange(10) < 4),
)


def test_the_key_says_what_was_measured() -> None:
    assert ROW.key == ("average", 2, "test", "none", 0)


def test_clean_and_corrupted_rows_are_of_test_samples() -> None:
    fog, validation = replace(ROW, corruption="fog", severity=2), replace(ROW, split="validation")
    assert clean([ROW, fog, validation]) == [ROW]
    assert corrupted([ROW, fog, validation]) == [fog]


@given(st.lists(st.booleans(), max_size=40))
def test_hits_are_packed_without_loss(hits: list[bool]) -> None:
    packed = pack_hits(np.array(hits, bool))
    assert unpack_hits(replace(ROW, n=len(hits), hits=packed)).tolist() == hits
    assert len(packed) <= len(hits) / 6 + 4


def test_complete_and_common_rows() -> None:
    """`swa` lacks seed 1 at level 1: it is incomplete there, and level 1 is not common."""
    rows = [
        replace(ROW, method=method, level=level, seed=seed)
        for method in ("ticket", "swa")
        for level in (0, 1)
        for seed in (0, 1)
        if (method, level, seed) != ("swa", 1, 1)
    ]
    assert [row for row in rows if row not in complete(rows)] == [rows[-1]]
    assert common_rows(rows) == [row for row in rows if row.level == 0]
    assert common_rows([]) == complete([]) == []


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_values_are_packed_without_loss(values: list[float]) -> None:
    assert unpack_values(pack_values(np.array(values, np.float32))).tolist() == values


def test_both_kinds_of_rows_say_what_networks_are_compared_by() -> None:
    values = np.array([0.25, -1], np.float32)
    described = {name: value for name, value in vars(ROW).items() if name in MetricRow.__dataclass_fields__}
    row = MetricRow(**{**described, "n": 2}, metric="r2", value=-0.375, values=pack_values(values))
    assert (merit(row), merit(ROW)) == (-0.375, 0.4)
    assert row.key == ROW.key
    assert values_of(row).tolist() == [0.25, -1]
    assert values_of(ROW).tolist() == [True] * 4 + [False] * 6

"""The values of rows: what identifies one, packed hits, and the rows that means are compared over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.runs.rows import Row, clean, common_rows, complete, corrupted, pack_hits, unpack_hits

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

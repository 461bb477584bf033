"""Values that JSON can hold and gives back as they were."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.tickets.origin import MAX_DEPTH, check_known, plain

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**39), 10**39) | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=20,
)


@given(JSON)
def test_what_json_holds_stays_as_it_is(value: Any) -> None:
    assert plain(value) == value
    assert json.loads(json.dumps(plain(value))) == value


def test_numbers_of_numpy_and_torch_become_plain() -> None:
    value = {"a": [np.int8(3), np.bool_(True)], 5: (np.float64(0.5), torch.tensor(2.0), np.str_("x"))}
    assert plain(value) == {"a": [3, True], "5": (0.5, 2.0, "x")}
    assert json.dumps(plain(value)) == '{"a": [3, true], "5": [0.5, 2.0, "x"]}'


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, r"\{1, 2\}, a set, which JSON does not hold"),
        (np.zeros(3), "a ndarray, which JSON does not hold"),
        (torch.zeros(2), "a Tensor, which JSON does not hold"),
        ({True: 1}, "the key True, which is no text"),
        (10**40, "a whole number of more than 40 digits"),
        ("\ud800", "half of a surrogate pair"),
        ({"\udfff": 1}, "half of a surrogate pair"),
        (nested(MAX_DEPTH + 1), "nested too deep"),
        (nested(500), "nested too deep"),
    ],
)
def test_what_json_cannot_hold(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain(value)
    with pytest.raises(ValueError, match=message):
        plain({"a": [value]} if message != "nested too deep" else value)


def test_entries_that_the_package_reads_must_be_of_their_type() -> None:
    right = {
        "recipe": [[1, 0.5], [2.0, 1]],
        "parents": {"0": "ab", "-1": "cd"},
        "trials": [{}],
        "settings": {},
        "method": "average",
        "score": None,
        "target_score": 0.5,
        "train_images": 7,
        "anything": object(),
    }
    check_known(right)
    wrong: list[dict[str, object]] = [
        {"recipe": [[1]]},
        {"recipe": [["1", 0.5]]},
        {"recipe": [[float("inf"), 0.5]]},
        {"recipe": {"1": 0.5}},
        {"parents": {"x": "ab"}},
        {"parents": ["ab"]},
        {"trials": [3]},
        {"settings": []},
        {"method": ["average"]},
        {"score": "high"},
        {"accuracy": True},
        {"train_images": -1},
        {"train_images": 1.5},
    ]
    for origin in wrong:
        with pytest.raises(ValueError, match=f"as '{next(iter(origin))}', which must be "):
            check_known({**right, **origin})

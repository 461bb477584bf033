"""JSON that nobody vouches for: read, or refused with a ValueError of one line."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.errors import shown
from lottery_pools.runs.strict_json import MAX_DIGITS, parse


@given(st.dictionaries(st.text(), st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False)))
def test_json_is_read(value: dict[str, Any]) -> None:
    assert parse(json.dumps(value)) == parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ('{"a": 1} x', "Extra data"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "the key 'c' is there twice"),
        ("1" * (MAX_DIGITS + 1), "a whole number has 41 digits"),
        ("-" + "9" * 100_000, "a whole number has 100001 digits"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        (b"\xff", "can't decode"),
        ('{"a": 1}'.encode("utf-16"), "can't decode|Expecting"),
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
    ],
)
def test_everything_else_is_a_value_error_of_one_line(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_constants_are_read_where_they_are_allowed() -> None:
    assert parse("[Infinity, -Infinity]", finite=False) == [math.inf, -math.inf]
    assert math.isnan(parse("NaN", finite=False))


@given(st.text())
def test_a_message_shows_a_short_line(text: str) -> None:
    assert len(shown(text)) <= 80
    assert "\n" not in shown(text)

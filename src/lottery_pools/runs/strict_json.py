"""JSON from files that nobody vouches for: read strictly, with one kind of error for everything that is wrong."""

from __future__ import annotations

import json
from typing import Any

from lottery_pools.errors import shown

MAX_DIGITS = 40
"""The most digits that a whole number may have. All that this package writes fit in 20."""


def parse(text: bytes | str, finite: bool = True) -> Any:
    """Return the value that a JSON text holds.

    Python's own parser takes more than the JSON standard allows, and raises several kinds of errors. This one refuses
    an object that has one key twice, since one of the two values would be lost, and numbers of thousands of digits,
    which take long to convert.

    Args:
        text: The text; bytes must be UTF-8.
        finite: Refuse `NaN` and `Infinity`, which Python writes but the standard does not know.

    Raises:
        ValueError: The text is not such JSON. The message says why, in one line.

    Examples:
        >>> parse('{"level": 3}')
        {'level': 3}
        >>> parse('{"level": 3, "level": 4}')
        Traceback (most recent call last):
        ValueError: the key 'level' is there twice
        >>> parse("[" * 5000)
        Traceback (most recent call last):
        ValueError: lists or objects are nested too deep
    """
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        return (_FINITE if finite else _ANY).decode(decoded)
    except RecursionError:
        raise ValueError("lists or objects are nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values; raises ValueError if a key is repeated."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {shown(key)} is there twice")
            seen.add(key)
    return values


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


_FINITE = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number, parse_constant=_refuse_constant)
_ANY = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number, parse_constant=float)

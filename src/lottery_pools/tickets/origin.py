"""Where a ticket came from, as plain values: what JSON can hold and gives back as it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from lottery_pools.errors import shown
from lottery_pools.runs.strict_json import MAX_DIGITS

MAX_DEPTH = 32
"""How deep lists and mappings may be nested."""


def plain(value: object, depth: int = 0) -> Any:
    """The same value in dicts, lists, tuples, text, numbers, bools and None alone.

    Numbers of NumPy, and tensors of one number, become the number; whole numbers as keys become text, as they would in
    JSON.

    Args:
        value: Any value.
        depth: In how many lists and mappings it lies.

    Raises:
        ValueError: Something in it is of another type, or nested too deep. The message says what.
    """
    if depth > MAX_DEPTH:
        raise ValueError("lists or mappings nested too deep")
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.ndim == 0):
        value = value.item()
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise ValueError(f"a whole number of more than {MAX_DIGITS} digits")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [plain(item, depth + 1) for item in value]
        return items if isinstance(value, list) else tuple(items)
    raise ValueError(f"{shown(value)}, a {type(value).__name__}, which JSON does not hold")


def check_known(origin: Mapping[str, Any]) -> None:
    """Raise ValueError if an entry that this package reads is of another type than it writes.

    Entries with other names may be anything.
    """
    for name, (fits, expected) in _KNOWN.items():
        if name in origin and not fits(origin[name]):
            raise ValueError(f"{shown(origin[name])} as {name!r}, which must be {expected}")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{shown(value)}, which has half of a surrogate pair") from error
    return value


def _key(key: object) -> str:
    if isinstance(key, str):
        return _text(key)
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return str(int(key))
    raise ValueError(f"the key {shown(key)}, which is no text")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_recipe(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(step, list | tuple)
        and len(step) == 2
        and _is_number(step[0])
        and math.isfinite(step[0])
        and _is_number(step[1])
        for step in value
    )


def _is_parents(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        key.removeprefix("-").isdecimal() and isinstance(digest, str) for key, digest in value.items()
    )


def _is_trials(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(trial, Mapping) for trial in value)


_KNOWN = {
    "recipe": (_is_recipe, "a list of pairs of a level and a number"),
    **dict.fromkeys(("parents", "mixed"), (_is_parents, "a mapping of levels to digests")),
    "trials": (_is_trials, "a list of mappings"),
    **dict.fromkeys(("settings", "preprocessing"), (_is_mapping, "a mapping")),
    **dict.fromkeys(
        ("method", "scope", "mask", "scored_by", "candidates", "device", "data_digest"), (_is_text, "text")
    ),
    **dict.fromkeys(("score", "target_score", "accuracy"), (_is_number_or_none, "a number")),
    **dict.fromkeys(("train_images", "search_images", "threads", "budget"), (_is_count, "a whole number, 0 or more")),
}
"""The entries of an origin that this package reads: what each must be, as a function and in words."""

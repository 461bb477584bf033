"""What the dataclasses of settings share: the mark of rarely used settings, and checks of values.

Every check raises `UserError` with one line that names the setting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, TypeVar

from lottery_pools.errors import UserError

T = TypeVar("T")

RARE = "rarely used"
Rare = Annotated[T, RARE]
"""Marks a setting that few people change, as in `gamma: Rare[float] = 0.1`: the `--help` of a command leaves its option
out, `--help-all` lists it. The option works all the same."""


@dataclass(frozen=True)
class NamesCode:
    """Marks a setting whose value may be `package.module:function`, which `config/trust.py` then guards.

    As in `name: Annotated[str, NamesCode(packages=("timm",))]`: `timm:NAME` is a network that timm knows, and runs
    nothing that a file chooses.
    """

    packages: tuple[str, ...] = ()
    """Packages whose names, written `PACKAGE:NAME`, are looked up in a list."""


NETWORK_PACKAGES = ("timm", "torchvision")
"""Packages whose networks are known by name."""


LARGEST = 1 << 53
"""No whole number in settings, but for seeds and arguments of networks, is as large."""


def require(condition: bool, message: str) -> None:
    """Raise `UserError` with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def require_unique(name: str, values: Sequence[Any]) -> None:
    """Raise `UserError` where `values`, those of the setting `name`, has the same value twice."""
    for value in values:
        require(values.count(value) == 1, f"{name} has {value} twice: give each once")


def require_finite(settings: Any, path: str = "") -> None:
    """Raise `UserError` where a number in `settings`, a dataclass, is infinite or not a number.

    Such a number has no meaning in any setting, and `config.toml` could not hold it. `path` is the name of the part
    that `settings` is, with a dot at its end: `training.`.
    """
    for field in fields(settings):
        value, name = getattr(settings, field.name), f"{path}{field.name}"
        if is_dataclass(value):
            require_finite(value, f"{name}.")
        numbers = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        for number in numbers:
            finite = not isinstance(number, float) or math.isfinite(number)
            require(finite, f"{name} is {number}: give a finite number")
            small = not isinstance(number, int) or isinstance(value, dict) or name == "seeds" or abs(number) < LARGEST
            if not small:
                raise UserError(f"{name} is {number:,}: give a smaller number")

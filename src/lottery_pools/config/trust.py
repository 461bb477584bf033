"""What a file may make this program run: nothing, unless the user says so. This is the one place that decides it.

A settings file, a run's folder or a ticket may come from a stranger, and may name code: a setting such as `model.name`
holds `package.module:function`. Reading the file runs nothing. The code runs only if the user names it too, on the
command line, or trusts the file as a whole (`--trust-model`, or `trust=True` in Python).

A setting that may name code is marked as such where it is declared, and is then checked with all others:

    >>> from lottery_pools.config.schema import Config, Model
    >>> untrusted(Config(model=Model("os:system")), NOTHING)
    "names the code 'os:system' as model.name, which would run"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from lottery_pools.config.fields import NETWORK_PACKAGES, NamesCode
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError

_OTHER_FILES = re.compile(r"pretrained|checkpoint|weights|cache|path|file|url", re.IGNORECASE)
"""Arguments of timm and torchvision by which a network reads other files."""


@dataclass(frozen=True)
class Trust:
    """What the user trusts of the code that a file names."""

    everything: bool = False
    """Whether the file is trusted as a whole."""
    names: frozenset[str] = frozenset()
    """Code that the user has named too: `package.module:function`."""
    arguments: frozenset[str] = frozenset()
    """Arguments of the network that the user has given."""


NOTHING = Trust()
"""The user says nothing about the file."""
NOT_RUN = Trust(everything=True)
"""For settings that are only shown or compared: nothing that they name is built."""


def check(settings: Config, where: str, trust: Trust) -> None:
    """Raise `UserError` if `settings`, read from the file `where`, name code that is not trusted."""
    if reason := untrusted(settings, trust):
        raise UserError(f"{where} {reason}: add --trust-model if you trust the file")


def untrusted(settings: Config, trust: Trust) -> str | None:
    """What in `settings` would run code, or read other files, that the user does not trust, in words; none: nothing."""
    if trust.everything:
        return None
    for setting, value, packages in _code_names(settings):
        if names_code(value, packages) and value not in trust.names:
            return f"names the code {value!r} as {setting}, which would run"
    return untrusted_arguments(settings.model.name, settings.model.arguments, trust)


def untrusted_arguments(name: str, arguments: Mapping[str, Any], trust: Trust) -> str | None:
    """As `untrusted`, of the arguments of the network called `name`."""
    if trust.everything or (name in trust.names and names_code(name, NETWORK_PACKAGES)):
        return None
    for key, value in arguments.items():
        reads = _OTHER_FILES.search(key) or not isinstance(value, int | float | bool | str)
        if reads and key not in trust.arguments:
            return f"gives the network the argument {key!r}, which may read other files"
    return None


def names_code(value: str, packages: tuple[str, ...]) -> bool:
    """Whether the value of a setting is `package.module:function`, not a name known here or `PACKAGE:NAME` of these
    packages."""
    return ":" in value and value.partition(":")[0] not in packages


def settings_naming_code(kind: type, path: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """The settings of a dataclass, and of its parts, that may name code, and the packages whose names are known.

    >>> from lottery_pools.config.schema import Config
    >>> ("model.name", ("timm", "torchvision")) in settings_naming_code(Config)
    True
    """
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        marks = getattr(hints[field.name], "__metadata__", ())
        plain = get_args(hints[field.name])[0] if marks else hints[field.name]
        for mark in marks:
            if isinstance(mark, NamesCode):
                yield f"{path}{field.name}", mark.packages
        if is_dataclass(plain):
            yield from settings_naming_code(plain, f"{path}{field.name}.")  # type: ignore[arg-type]


def _code_names(settings: Config) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The settings that may name code: each name, value, and packages whose names are known."""
    for setting, packages in settings_naming_code(type(settings)):
        value: Any = settings
        for part in setting.split("."):
            value = getattr(value, part)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, str):
                yield setting, item, packages

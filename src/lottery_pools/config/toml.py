"""Settings as TOML: reading and writing them, the presets, comparing two of them, and a name for their content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lottery_pools.config.schema import Config
from lottery_pools.config.trust import NOTHING, Trust, check
from lottery_pools.errors import UserError, shown, unknown

T = TypeVar("T")

MAX_BYTES = 1 << 18
"""The largest file of settings that is read. Those of this package have 3,000 bytes."""
MAX_DIGITS = 40
"""The most digits that a whole number may have."""
_LONG_KEY = re.compile(r"""(?:["']?[\w-]{0,60}["']?[ \t]*\.[ \t]*){20}""")
"""A key of more than 20 parts (`a.a.a…`): reading such keys takes a time that grows with the square of their length."""

RENAMED = {"evaluation.competitors": "evaluation.trained_baselines"}
"""Former name of a setting → its name now. Files may have either name: run folders of older versions have the former.
The command line refuses the former and offers the new one."""


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass of settings as plain values that TOML and JSON know; settings that are None are left out."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            items = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return {key: item for key, item in items.items() if item is not None}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    result: dict[str, Any] = plain(config)
    return result


def relevant(config: Config) -> dict[str, Any]:
    """The settings that have an effect, as plain values: what reports show.

    That is all of them, as in `to_dict`, but for `data.difficulty`: only the generator of MNIST-1D reads it, so it is
    left out where the data are others.
    """
    values = to_dict(config)
    if config.data.name != "mnist1d":
        del values["data"]["difficulty"]
    return values


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """The dataclass `cls` with these plain values; what they leave out has its default.

    `where` says in messages where the values stand. Raises `UserError` naming the key that is unknown or whose value
    has the wrong type.
    """
    hints = get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            raise unknown(f"setting in {where}", key, hints)
        arguments[key] = _convert(hints[key], value, f"{where}: {key}")
    return cls(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value`, as read from TOML or JSON, as the type `hint`; raises UserError where it has another type."""
    origin, parts = get_origin(hint), get_args(hint)
    if type(value) is int and abs(value) >= 10**MAX_DIGITS:
        raise UserError(f"{where} is a number of more than {MAX_DIGITS} digits: give a smaller one")
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        if parts[-1] is not Ellipsis and len(value) != len(parts):
            raise UserError(f"{where} has {len(value)} values: give {len(parts)}")
        return tuple(_convert(parts[0], item, where) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {key: _convert(parts[1], item, where) for key, item in value.items()}
    if origin is Literal and value in parts:
        return value
    if origin in (Union, UnionType):
        for part in parts:
            try:
                return _convert(part, value, where)
            except UserError:
                continue
    if hint is float and type(value) in (int, float):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    choices = ", ".join(map(str, parts)) if origin is Literal else str(getattr(hint, "__name__", hint))
    raise UserError(f"{where} is {shown(value)}: give {choices}")


def to_toml(config: Any) -> str:
    """A dataclass of settings, or what `to_dict` makes of one, as TOML; keys are in the order of its fields."""

    def table(items: Mapping[str, Any], path: str) -> list[str]:
        lines = [f"{key} = {_toml_value(item)}" for key, item in items.items() if not isinstance(item, Mapping)]
        for key, item in items.items():
            if isinstance(item, Mapping):
                lines += ["", f"[{path}{key}]", *table(item, f"{path}{key}.")]
        return lines

    return "\n".join(table(config if isinstance(config, Mapping) else to_dict(config), "")) + "\n"


def _toml_value(value: Any) -> str:
    """One value as TOML writes it: a string, number, boolean, or list of such."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    """A character as TOML writes it: what cannot be seen as its number."""
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def read_toml(path: Path, trust: Trust = NOTHING) -> Config:
    """The experiment that the TOML file `path` describes; settings that the file leaves out have their defaults.

    A byte-order mark, which some editors on Windows write, is passed over. Raises `UserError` where the file cannot be
    read, is not TOML, has a key or value that is not allowed, or names code that `trust` does not cover.
    """
    try:
        if path.is_fifo():
            raise UserError(f"{path} is a pipe, which may never end: give a TOML file of settings")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES:,} bytes: give a TOML file of settings")
        values = _parsed(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a TOML file of settings") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not TOML: {_one_line(error)}") from error
    _rename(values, str(path))
    try:
        config = from_dict(Config, values, str(path))
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from error
    check(config, str(path), trust)
    return config


def _parsed(text: str) -> dict[str, Any]:
    """What TOML holds; raises ValueError or RecursionError for text that is none, or would take long to read."""
    if _LONG_KEY.search(text):
        raise ValueError("a key has too many parts")
    return tomllib.loads(text)


def _one_line(error: Exception) -> str:
    """What a parser says of a mistake."""
    return "it is nested too deep" if isinstance(error, RecursionError) else shown(str(error))[1:-1]


def _rename(values: dict[str, Any], where: str) -> None:
    """Give settings in `values` that have a former name the name of now; raises UserError where both are there."""
    for former, now in RENAMED.items():
        part, _, former_key = former.partition(".")
        settings = values.get(part)
        if not isinstance(settings, dict) or former_key not in settings:
            continue
        key = now.partition(".")[2]
        if key in settings:
            raise UserError(f"{where} has both {now} and {former}, its former name: remove {former}")
        settings[key] = settings.pop(former_key)


def of_folder(folder: Path, trust: Trust = NOTHING) -> Config:
    """The settings of the run in `folder`, read from its `config.toml`.

    Raises `UserError` where the folder holds no run, and offers the nearest folder that holds one; and as `read_toml`.
    """
    if not (folder / "config.toml").exists():
        runs = [str(path.parent) for path in sorted(folder.parent.glob("*/config.toml"))]
        runs += [str(path.parent) for path in sorted(Path("runs").glob("*/config.toml"))]
        near = get_close_matches(str(folder), runs, n=1, cutoff=0.4) or runs[:1]
        hint = f"did you mean {near[0]}?" if near else f"start one with `lottery-pools run --out {folder}`"
        raise UserError(f"{folder} is no run folder (it has no config.toml): {hint}")
    return read_toml(folder / "config.toml", trust)


def presets() -> dict[str, Path]:
    """The TOML files of settings that come with the package, by name: `demo`, `cifar100-cpu` and others."""
    folder = Path(str(resources.files("lottery_pools") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def preset(name: str, trust: Trust = NOTHING) -> Config:
    """The settings of the preset `name`; a name that ends in `.toml` is the path of a file to read instead.

    Raises `UserError` where there is no such preset, and as `read_toml` does.

    >>> preset("demo").data.name
    'mnist1d'
    """
    if name.endswith(".toml"):
        return read_toml(Path(name), trust)
    paths = presets()
    if name not in paths:
        raise unknown("preset", name, paths)
    return read_toml(paths[name], trust)


def identity(config: Any) -> str:
    """Sixteen hexadecimal digits that stand for the content of settings, a dataclass or a tuple of such.

    Two settings have the same digits if and only if all their values are equal; 1 and 1.0 are. The digits are a hash
    of the settings that differ from their defaults, and only of these, so that a setting added to the schema later
    does not change the digits of earlier runs.
    """

    def canonical(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            default: Any = type(value)()  # type: ignore[misc]
            names = [field.name for field in dataclasses.fields(value)]
            changed = [name for name in names if getattr(value, name) != getattr(default, name)]
            return {name: canonical(getattr(value, name)) for name in changed}
        if isinstance(value, dict):
            return {key: canonical(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [canonical(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    text = json.dumps(canonical(config), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(first: Any, second: Any, path: str = "") -> str:
    """The first setting in which two dataclasses of settings differ, and both values; "none" where they are equal.

    The text reads `training.epochs = 5, not 3`, with the value of `first` first. `path` is the name of the part that
    the two are, with a dot at its end.
    """
    for field in dataclasses.fields(first):
        values = getattr(first, field.name), getattr(second, field.name)
        if values[0] != values[1]:
            if dataclasses.is_dataclass(values[0]):
                return difference(*values, f"{path}{field.name}.")
            current, former = ("none" if value is None else _toml_value(value) for value in values)
            return f"{path}{field.name} = {current}, not {former}"
    return "none"

"""Settings as TOML: read, written, found by the name of a preset, compared, and identified by content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError, unknown

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain values that TOML and JSON know; what is None is left out."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            items = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return {key: item for key, item in items.items() if item is not None}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    result: dict[str, Any] = plain(config)
    return result


def relevant(config: Config) -> dict[str, Any]:
    """The settings that play a part, as `to_dict`: what only the generator of MNIST-1D reads is left out elsewhere."""
    values = to_dict(config)
    if config.data.name != "mnist1d":
        del values["data"]["difficulty"]
    return values


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """The dataclass `cls` from plain values; raises UserError naming the key that is unknown or of the wrong type."""
    hints = get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            raise unknown(f"setting in {where}", key, hints)
        arguments[key] = _convert(hints[key], value, f"{where}: {key}")
    return cls(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value`, as read from TOML or JSON, as the type `hint`; raises UserError where it is of another."""
    origin, parts = get_origin(hint), get_args(hint)
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
    raise UserError(f"{where} is {value!r}: give {choices}")


def _value(item: Any) -> str:
    """As in TOML."""
    many = isinstance(item, list | tuple)
    return f"[{', '.join(map(_value, item))}]" if many else json.dumps(item, ensure_ascii=False)


def to_toml(config: Any) -> str:
    """A dataclass, or what `to_dict` makes of one, as TOML, in the order of its fields."""

    def table(items: Mapping[str, Any], path: str) -> list[str]:
        lines = [f"{key} = {_value(item)}" for key, item in items.items() if not isinstance(item, Mapping)]
        for key, item in items.items():
            if isinstance(item, Mapping):
                lines += ["", f"[{path}{key}]", *table(item, f"{path}{key}.")]
        return lines

    return "\n".join(table(config if isinstance(config, Mapping) else to_dict(config), "")) + "\n"


def read_toml(path: Path) -> Config:
    """The experiment that a TOML file describes; what it leaves out has its default."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a TOML file of settings") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    return from_dict(Config, values, str(path))


def of_folder(folder: Path) -> Config:
    """The settings of a run's folder; where it is none, the nearest that is one is offered."""
    if not (folder / "config.toml").exists():
        runs = [str(path.parent) for path in sorted(folder.parent.glob("*/config.toml"))]
        runs += [str(path.parent) for path in sorted(Path("runs").glob("*/config.toml"))]
        near = get_close_matches(str(folder), runs, n=1, cutoff=0.4) or runs[:1]
        hint = f"did you mean {near[0]}?" if near else f"start one with `lottery-pools run --out {folder}`"
        raise UserError(f"{folder} is no run folder (it has no config.toml): {hint}")
    return read_toml(folder / "config.toml")


def presets() -> dict[str, Path]:
    """The settings that come with the package, by name."""
    folder = Path(str(resources.files("lottery_pools") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def preset(name: str) -> Config:
    """The settings called `name`, or read from the TOML file of that path."""
    if name.endswith(".toml"):
        return read_toml(Path(name))
    known = presets()
    if name not in known:
        raise unknown("preset", name, known)
    return read_toml(known[name])


def identity(config: Any) -> str:
    """Sixteen hexadecimal digits that name these settings: equal if and only if all of them are (1 and 1.0 are).

    Only settings that are not at their default count, so that a new setting leaves the names of old runs alone.
    """

    def canonical(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            default: Any = type(value)()  # type: ignore[misc]
            found = {f.name: (getattr(value, f.name), getattr(default, f.name)) for f in dataclasses.fields(value)}
            return {name: canonical(own) for name, (own, usual) in found.items() if own != usual}
        if isinstance(value, dict):
            return {key: canonical(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [canonical(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    text = json.dumps(canonical(config), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(one: Any, other: Any, path: str = "") -> str:
    """The first setting in which two differ, with both values, as `training.epochs = 5, not 3`."""
    for setting in dataclasses.fields(one):
        a, b = getattr(one, setting.name), getattr(other, setting.name)
        if a != b:
            if dataclasses.is_dataclass(a):
                return difference(a, b, f"{path}{setting.name}.")
            one, other = ("none" if value is None else _value(value) for value in (a, b))
            return f"{path}{setting.name} = {one}, not {other}"
    return "none"

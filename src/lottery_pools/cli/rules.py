"""Our rules for tyro, the parser: how values are written on the command line, and what its help shows."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
    UnsupportedTypeAnnotationError,
)

from lottery_pools.config.fields import RARE

NONE = ("none", "None")
"""What people write for no value. An empty list may be written so too."""

VALUES = ConstructorRegistry()
"""The rules for values, to be given to `tyro.cli`."""


@VALUES.primitive_rule
def _no_value(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[None] | None:
    """`none` is no value; tyro itself takes only `None`."""
    if info.type is not type(None):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=NONE[0],
        choices=NONE,
        instance_from_str=lambda words: None,
        is_instance=lambda value: value is None,
        str_from_instance=lambda value: [NONE[0]],
    )


@VALUES.primitive_rule
def _list(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | UnsupportedTypeAnnotationError | None:
    """Lists of any length, which dataclasses hold as tuples: their items, or `none`, or nothing for an empty list."""
    parts = get_args(info.type)
    if get_origin(info.type) is not tuple or parts[-1] is not Ellipsis:
        return None
    item = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(parts[0], set(info.markers)))
    if isinstance(item, UnsupportedTypeAnnotationError):
        return item

    def read(words: list[str]) -> tuple[Any, ...]:
        return () if len(words) == 1 and words[0] in NONE else tuple(item.instance_from_str([word]) for word in words)

    def written(values: tuple[Any, ...]) -> list[str]:
        return [word for value in values for word in item.str_from_instance(value)] or [NONE[0]]

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{item.metavar} ...]",
        instance_from_str=read,
        is_instance=lambda values: isinstance(values, tuple) and all(map(item.is_instance, values)),
        str_from_instance=written,
    )


@contextlib.contextmanager
def help_texts(full: bool) -> Iterator[None]:
    """While the body runs, tyro prints help texts without the line breaks of their source.

    Unless the help is `full`, tyro does not know the options that are marked `Rare`: for printing, not for parsing.
    """
    registry = ConstructorRegistry()
    asking = False

    @registry.struct_rule
    def shown_fields(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not dataclasses.is_dataclass(info.type):
            return None
        asking = True  # the next line asks all rules again: this one stays silent, and tyro's own answers
        usual = ConstructorRegistry.get_struct_spec(info)
        asking = False
        if not isinstance(usual, StructConstructorSpec):
            return None
        shown = [field for field in usual.fields if full or RARE not in getattr(field.type, "__metadata__", ())]
        return dataclasses.replace(usual, fields=tuple(map(_on_one_line, shown)))

    with registry:
        yield


def _on_one_line(field: StructFieldSpec) -> StructFieldSpec:
    """The field with its help text on one line, for tyro to break as the terminal is wide."""

    def text() -> str | None:
        lines = field.helptext() if callable(field.helptext) else field.helptext
        return None if lines is None else " ".join(lines.split())

    return dataclasses.replace(field, helptext=text)

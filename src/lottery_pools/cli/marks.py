"""What options of several commands have in common, and which options a dataclass describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

from lottery_pools.config.fields import RARE
from lottery_pools.runs.engine import Machine

Flag = tyro.conf.FlagCreatePairsOff[bool]
"""An option without a value that can only be switched on: `--json`, without `--no-json`."""
POSITIONAL, FLAG = get_args(tyro.conf.Positional[Path])[1], get_args(Flag)[1]
"""The marks by which arguments and such flags are recognised."""
FLAT = tyro.conf.arg(name="")
"""Marks a part whose options have no prefix: `--device`, not `--machine.device`."""

FolderArgument = Annotated[
    tyro.conf.Positional[Path], tyro.conf.arg(help="Folder of a run, as `--out` of `run` or `tickets` named it.")
]
FileArgument = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help="A ticket file.")]
DryRun = Annotated[
    Flag, tyro.conf.arg(help="Print what the command would do and about what it would cost, and do nothing.")
]
TrustModel = Annotated[
    Flag,
    tyro.conf.arg(
        help="Run the code that the settings file names, such as `package.module:factory` as its `model.name`: it can "
        "do whatever you can."
    ),
]
Json = Annotated[Flag, tyro.conf.arg(help="Print one JSON object for machines instead of text.")]
MachineOptions = Annotated[Machine, FLAT]


@dataclass(frozen=True)
class Option:
    """One option as it is written on the command line."""

    name: str
    """`--training.epochs`; empty for an argument that is given by its place."""
    type: Any
    """The type of its value, without marks: `int`, `str | None`, `tuple[int, ...]`."""
    rare: bool
    """Whether the short help leaves it out."""


def walk(kind: type, prefix: str = "--", rare: bool = False) -> Iterator[Option]:
    """The options that a dataclass describes, in the order of its fields and of those of its parts.

    A setting that is true or false has two, `--data.flip` and `--data.no-flip`. Arguments of a network are left out:
    which there are depends on the network. `rare` marks all of them.
    """
    hints = get_type_hints(kind, include_extras=True)
    for name in (member.name for member in dataclasses.fields(kind)):
        marks: tuple[Any, ...] = getattr(hints[name], "__metadata__", ())
        plain = get_args(hints[name])[0] if marks else hints[name]
        words, hidden = name.replace("_", "-"), rare or RARE in marks
        if dataclasses.is_dataclass(plain):
            yield from walk(plain, prefix if FLAT in marks else f"{prefix}{words}.", hidden)  # type: ignore[arg-type]
        elif POSITIONAL in marks:
            yield Option("", plain, hidden)
        elif get_origin(plain) is not dict:
            yield Option(prefix + words, plain, hidden)
            if plain is bool and FLAG not in marks:
                yield Option(f"{prefix}no-{words}", plain, hidden)

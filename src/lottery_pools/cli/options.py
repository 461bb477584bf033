"""What the commands take: their options, parsed, and what is said of a mistake in them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import tyro

from lottery_pools.cli import completion
from lottery_pools.config import toml, variants
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.engine import Machine

T = TypeVar("T")
Command = Callable[[list[str]], None]
"""Named and described as on the command line."""
Flat = tyro.conf.arg(name="")
FlagOn = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class Start:
    preset: str = "demo"
    """Settings to start from: a name that `lottery-pools presets` lists, or a TOML file."""
    out: Path | None = None
    """The run's folder; none: runs/NAME."""
    limit: int | None = None
    """Try the code of any settings quickly: so many images a split, two epochs; all levels, methods, corruptions."""
    dry_run: FlagOn = False
    """Print what would be done and about what it would cost, and do nothing."""
    json: FlagOn = False
    """Print one JSON object for machines."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)
    config: Annotated[Config, Flat] = field(default_factory=Config)


@dataclass(frozen=True)
class Folder:
    folder: tyro.conf.Positional[Path]
    """A run's folder, as `--out` named it."""
    json: FlagOn = False
    """Print one JSON object for machines."""


@dataclass(frozen=True)
class Report(Folder):
    reference: Path | None = None
    """Another run's folder: its dense network is the reference of a table of mCE, mean corruption errors."""
    publish: Path | None = None
    """Write tables, settings, rows, recipes and the diagnosis, but no weights, into this folder, to be shared."""
    others: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Further runs' folders: compare all of them on one page instead."""
    out: Path | None = None
    """Where the page goes; none: report.html in the run's folder, or of several comparison.html in the current one."""


@dataclass(frozen=True)
class Evaluate(Folder):
    corruptions: tuple[str, ...] = ()
    """Corruptions to measure on besides those of the run's settings: names, `common`, or `all`."""
    severities: tuple[int, ...] = ()
    """Severities from 1 to 5; none named: those of the run's settings."""
    corrupted: int | None = None
    """Test samples that are corrupted; none: as the run's settings say."""
    corrupted_from: str | None = None
    """Folder of a published set (CIFAR-10-C, CIFAR-100-C, ImageNet-C) to read instead."""
    dry_run: FlagOn = False
    """Print what would be done and about what it would cost, and do nothing."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)


@dataclass(frozen=True)
class Diagnose(Folder):
    points: int = 5
    """Places on the line between two tickets that are measured, both ends included."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)


@dataclass(frozen=True)
class Pool(Folder):
    methods: tuple[str, ...] = ()
    """Methods of pooling; none named: those of the run's settings."""
    targets: tuple[int, ...] = ()
    """Levels to strengthen; none named: those of the run's settings."""
    budget: int | None = None
    """Images that the search for one pooled ticket forwards at most; none: as the run's settings say."""
    candidates_from: Path | None = None
    """Another run's folder: pool with its tickets instead, as a control."""
    allow_other_run: FlagOn = False
    """Do so although they are of another run."""
    dry_run: FlagOn = False
    """Print what would be done and about what it would cost, and do nothing."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)


@dataclass(frozen=True)
class File:
    file: tyro.conf.Positional[Path]
    """A ticket file."""
    json: FlagOn = False
    """Print one JSON object for machines."""


@dataclass(frozen=True)
class Replay(File):
    out: Path | None = None
    """Keep the rebuilt ticket here."""


@dataclass(frozen=True)
class Presets:
    name: tyro.conf.Positional[str | None] = None
    """Print this preset's settings as TOML; none: list all presets."""
    models: FlagOn = False
    """List the networks of the package."""
    json: FlagOn = False
    """Print one JSON object for machines."""


@dataclass(frozen=True)
class Completion:
    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell that is to complete."""


OPTIONS: dict[str, type] = {
    "run": Start,
    "tickets": Start,
    "pool": Pool,
    "evaluate": Evaluate,
    "diagnose": Diagnose,
    "report": Report,
    "replay": Replay,
    "inspect": File,
    "presets": Presets,
    "completion": Completion,
}


def begin(arguments: list[str], function: Command) -> Start:
    """The options of a command that starts a run: those of the preset, but for what is given."""
    command = function.__name__
    if arguments and not arguments[0].startswith("-"):
        raise UserError(
            f"{command} takes only options: did you mean `lottery-pools {command} --preset {arguments[0]}`?"
        )
    words = [word for argument in arguments for word in argument.split("=", 1)]
    name = words[words.index("--preset") + 1] if "--preset" in words[:-1] else Start.preset
    config = toml.preset(name)
    model = words[words.index("--model.name") + 1] if "--model.name" in words[:-1] else config.model.name
    if model != config.model.name:  # the preset's arguments are those of its own network
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, name=model, arguments={}))
    default = Start(preset=name, config=config)
    given = parse(Start, arguments, function, default)
    if given.limit is None:
        return given
    return dataclasses.replace(given, config=variants.limited(given.config, given.limit))


def parse(kind: type[T], arguments: list[str], function: Command, default: Any = tyro.MISSING_NONPROP) -> T:
    """The options of a command; a mistake becomes one line."""
    given = [argument.split("=")[0] for argument in arguments if argument.startswith("--")]
    for option in given:
        if given.count(option) > 1:
            raise UserError(f"{option} is given twice: give it once, with all its values")
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            found: T = tyro.cli(
                kind,
                args=arguments,
                prog=f"lottery-pools {function.__name__}",
                description=f"{function.__doc__}.",
                default=default,
            )
            return found
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [re.sub("[╭╮╰╯│─]|--+(?= |$)", " ", line).strip() for line in output.getvalue().splitlines()]
        body = "\n".join(lines[1:]).strip().split("\n")  # without the title, and the line that plain boxes have below
        raise _mistake(body, kind, function.__name__) from None


def _mistake(body: list[str], kind: type, command: str) -> UserError:
    """What the parser says of a mistake in a command's options, in our words and with what mends it."""
    message = " ".join(body[: body.index("")]) if "" in body else " ".join(body)
    message = re.sub(r"^Error parsing config\.\S+: ", "", message)
    see = f"(see `lottery-pools {command} --help`)"
    if message.startswith("Missing from"):
        what, example = next(value for of, value in _NEEDS.items() if issubclass(kind, of))
        return UserError(f"{command} needs {what}: `lottery-pools {command} {example}` {see}")
    if found := re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", message):
        return unknown(f"value of {found[2]}", found[1], re.findall("'(.*?)'", found[3]))
    if (found := re.match(r"Error parsing (--\S+): .*?'(.*)'", message)) and found[1] in (
        known := dict(completion.walk(kind))
    ):
        return UserError(f"{found[1]} is {found[2]!r}: give {_kind(known[found[1]])} {see}")
    if found := re.match(r"Unrecognized options: (\S+?)(,|$)", message):
        near = next((line.split(" ")[0] for line in body if line.startswith("--")), None)
        option = found[1].startswith("-")
        hint = f"did you mean {near}? " if near and option else ""
        return UserError(
            f"{command} has no {'option' if option else 'use for'} {found[1]}: {hint or 'leave it out '}{see}"
        )
    return UserError(f"{message} {see}")


_NEEDS: dict[type, tuple[str, str]] = {
    Folder: ("a run's folder", "runs/demo"),
    File: ("a ticket file", "runs/demo/seed_0/tickets/level_00.safetensors"),
    Completion: ("a shell", "bash"),
}
"""What must be given, and an example."""


def _kind(hint: Any) -> str:
    """What an option takes, in words."""
    names = {int: "a whole number", float: "a number"}
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is tuple:
        return names.get(parts[0], "values").removeprefix("a ").removesuffix("s") + "s"
    return names.get(parts[0] if parts else hint, "another value")

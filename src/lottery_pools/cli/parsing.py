"""Words on the command line become options; every mistake becomes one line that says what mends it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from types import NoneType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import tyro

from lottery_pools.cli import rules
from lottery_pools.cli.exchange_options import ImportOptions
from lottery_pools.cli.marks import walk
from lottery_pools.cli.options import RunOptions
from lottery_pools.config import toml, variants
from lottery_pools.config.schema import Config
from lottery_pools.config.trust import NOT_RUN, Trust, check, settings_naming_code
from lottery_pools.errors import UserError, unknown

T = TypeVar("T")
Command = Callable[[list[str]], None]
"""A command is a function whose name and docstring are those of the command line. Where the name is a Python keyword,
an underscore follows it in the function's: `import_` is the command `import`."""

HELP, FULL_HELP = ("-h", "--help"), "--help-all"
ALIASES = {
    "--seed": "--seeds",
    "--batch-size": "--training.batch",
    "--learning-rate": "--training.lr",
    "--model": "--model.name",
    "--data": "--data.name",
    "--dataset": "--data.name",
    "--config": "--preset",
    "--output": "--out",
}
"""What people type who know other programs → the option that they mean: offered, never taken for it."""
CONTINUING = ("--resume", "--continue")
"""Options that other programs need to go on from where they stopped; here there is nothing to say."""
NEEDED = {
    "folder": ("a run's folder", "runs/demo"),
    "file": ("a ticket file", "runs/demo/seed_0/tickets/level_00.safetensors"),
    "shell": ("a shell", "bash"),
}
"""Argument that must be given → what it is, and an example."""


def run_options(arguments: list[str], command: Command) -> RunOptions:
    """The options of a command that starts a run; settings that are not given are those of the preset."""
    name = command_name(command)
    if arguments and not arguments[0].startswith("-"):
        raise UserError(f"{name} takes only options: did you mean `lottery-pools {name} --preset {arguments[0]}`?")
    words = _words(arguments)
    preset, config, from_file = _start(words, RunOptions.preset)
    options = parse(RunOptions, arguments, command, RunOptions(preset=preset, config=config))
    check(options.config, preset, _trust(options, words, from_file))
    if options.limit is None:
        return options
    return dataclasses.replace(options, config=variants.limited(options.config, options.limit))


def import_options(arguments: list[str], command: Command) -> ImportOptions:
    """The options of `import`; settings that are not given are those of the preset, for one seed and no baselines."""
    words = _words(arguments)
    preset, config, from_file = _start(words, ImportOptions.preset)
    evaluation = dataclasses.replace(config.evaluation, trained_baselines=())
    config = dataclasses.replace(config, seeds=config.seeds[:1], evaluation=evaluation)
    options = parse(ImportOptions, arguments, command, ImportOptions(preset=preset, config=config))
    check(options.config, preset, _trust(options, words, from_file))
    return options


def command_name(command: Command) -> str:
    """What a command is called on the command line."""
    return command.__name__.removesuffix("_")


def _words(arguments: Iterable[str]) -> list[str]:
    """The arguments, each option apart from its value."""
    return [word for argument in arguments for word in argument.split("=", 1)]


def _start(words: Sequence[str], preset: str) -> tuple[str, Config, tuple[str, ...]]:
    """Where the settings start: the preset that the words name, or else `preset`.

    Returns its name; its settings, for the network that the words name; and which arguments of that network the
    preset's file gives.
    """

    def given(option: str, otherwise: str) -> str:
        return words[words.index(option) + 1] if option in words[:-1] else otherwise

    preset = given("--preset", preset)
    config = toml.preset(preset, NOT_RUN)  # what remains of it is checked when the options are known
    model = given("--model.name", config.model.name)
    if model != config.model.name:  # the preset's arguments are those of its own network
        return (
            preset,
            dataclasses.replace(config, model=dataclasses.replace(config.model, name=model, arguments={})),
            (),
        )
    return preset, config, tuple(config.model.arguments)


def _trust(options: RunOptions | ImportOptions, words: Sequence[str], from_file: Collection[str]) -> Trust:
    """What the command line trusts of the file that the settings start from.

    That is what it names itself: the values of settings, and all arguments of the network but those `from_file` that
    are not among the `words`, in which each option stands apart from its value.
    """
    names: set[str] = set()
    for setting, _ in settings_naming_code(Config):
        option = f"--{setting}".replace("_", "-")
        for place in (place for place, word in enumerate(words) if word.replace("_", "-") == option):
            names.update(takewhile(lambda word: not word.startswith("--"), words[place + 1 :]))
    given = {word.replace("_", "-") for word in words}
    arguments = {
        name
        for name in options.config.model.arguments
        if name not in from_file or f"--model.arguments.{name}".replace("_", "-") in given
    }
    return Trust(options.trust_model, frozenset(names), frozenset(arguments))


def parse(kind: type[T], arguments: list[str], command: Command, default: Any = tyro.MISSING_NONPROP) -> T:
    """The options of a command as the dataclass `kind`; what is not given is as in `default`, one of its instances.

    With `--help` or `--help-all` the help is printed and the process ends. Raises `UserError` for a mistake.
    """
    if FULL_HELP in arguments:
        _show_help(kind, command, default, full=True)
    if any(word in arguments for word in HELP):
        _show_help(kind, command, default, full=False)
    _check_names(kind, arguments, command_name(command), default)
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            return _tyro(kind, arguments, command, default)
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [re.sub("[╭╮╰╯│─]|--+(?= |$)", " ", line).strip() for line in output.getvalue().splitlines()]
        body = "\n".join(lines[1:]).strip().split("\n")  # without the title, and the line that plain boxes have below
        message = " ".join(body[: body.index("")]) if "" in body else " ".join(body)
        raise _mistake(message, kind, command_name(command)) from None


def _tyro(kind: type[T], arguments: list[str], command: Command, default: Any) -> T:
    """What tyro makes of the arguments; it ends the process after a mistake, and after it has printed its help."""
    options: T = tyro.cli(
        kind,
        args=arguments,
        prog=f"lottery-pools {command_name(command)}",
        description=f"{command.__doc__}.",
        default=default,
        registry=rules.VALUES,
    )
    return options


def _show_help(kind: type, command: Command, default: Any, full: bool) -> NoReturn:
    """Print the help of a command and end the process; unless it is `full`, without rarely used options."""
    hidden = 0 if full else sum(option.rare for option in walk(kind))
    try:
        with rules.help_texts(full):
            _tyro(kind, ["--help"], command, default)
    except SystemExit as stop:
        if stop.code:
            raise
    if hidden:
        every = f"lottery-pools {command_name(command)} {FULL_HELP}"
        print(f"{hidden} rarely used options are not shown: `{every}` lists every option.")
    sys.exit()


def _check_names(kind: type, arguments: Iterable[str], command: str, default: Any) -> None:
    """Raise UserError where an option is given twice, or where there is no such option."""
    options = [option.name for option in walk(kind)]
    if isinstance(default, RunOptions | ImportOptions):
        names = [f".{name}" for name in default.config.model.arguments] or [""]
        options += [f"--model.arguments{name.replace('_', '-')}" for name in names]
    written = [argument.split("=")[0] for argument in arguments if re.match("--.", argument)]
    given = [option.replace("_", "-") for option in written]  # tyro takes either
    settings = [re.sub(r"(--|\.)no-", r"\1", option) for option in given]  # --data.no-flip sets --data.flip
    for option, name, setting in zip(written, given, settings, strict=True):
        if name not in options:
            raise UserError(
                f"{command} has no option {option}: {_hint(name, options)} (see `lottery-pools {command} --help`)"
            )
        if settings.count(setting) > 1:
            raise UserError(f"{setting} is given twice: give it once, with all its values")


def _hint(option: str, options: Collection[str]) -> str:
    """What to do about an option that there is not: the one that was meant, where it can be told."""
    if option in CONTINUING:
        return "the same command continues by itself, leave it out"
    current = {f"--{former}".replace("_", "-"): f"--{now}".replace("_", "-") for former, now in toml.RENAMED.items()}
    if current.get(option) in options:
        return f"it is called {current[option]} now"
    near = [ALIASES[option]] if ALIASES.get(option) in options else _nearest(option, [*options, "--help", FULL_HELP])
    return f"did you mean {' or '.join(near)}?" if near else "leave it out"


def _nearest(option: str, options: Collection[str], most: int = 3) -> list[str]:
    """The options most like `option`: one spelled like it, or those with the same last part, or the same beginning."""
    if alike := get_close_matches(option, options, n=1, cutoff=0.85):
        return alike
    by_last_part: dict[str, list[str]] = {}
    for name in options:
        by_last_part.setdefault(_last_part(name), []).append(name)
    same_part = [by_last_part[part] for part in get_close_matches(_last_part(option), by_last_part, n=1, cutoff=0.8)]
    longer = [name for name in options if name.startswith(option)]
    for names in (*same_part, longer):
        if 0 < len(names) <= most:
            return names
    return get_close_matches(option, options, n=1, cutoff=0.7)


def _last_part(option: str) -> str:
    """`epochs` of `--training.epochs`."""
    return option.removeprefix("--").rsplit(".", 1)[-1]


def _mistake(message: str, kind: type, command: str) -> UserError:
    """What tyro says of a mistake in a command's options, in our words and with what mends it."""
    message = re.sub(r"^Error parsing config\.\S+: ", "", message)
    see = f"(see `lottery-pools {command} --help`)"
    if message.startswith("Missing from"):
        what, example = NEEDED[dataclasses.fields(kind)[0].name]
        return UserError(f"{command} needs {what}: `lottery-pools {command} {example}` {see}")
    if match := re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", message):
        value, option, choices = match.groups()
        return unknown(f"value of {option}", value, re.findall("'(.*?)'", choices))
    types = {option.name: option.type for option in walk(kind)}
    if (match := re.match(r"Error parsing (--\S+): .*?'(.*?)'", message)) and match[1] in types:
        return UserError(f"{match[1]} is {match[2]!r}: give {_values(types[match[1]])} {see}")
    if match := re.match(r"Missing value for argument '(--\S+)'\. Expected (\d+) values", message):
        values = "a value" if match[2] == "1" else f"{match[2]} values"
        return UserError(f"{match[1]} needs {values} after it {see}")
    if match := re.match(r"Unrecognized options: (\S+?)(,|$)", message):
        if not match[1].startswith("-"):
            return UserError(f"{command} has no use for {match[1]}: leave it out {see}")
        return UserError(f"{command} has no option {match[1]}: {_hint(f'-{match[1]}', types)} {see}")
    return UserError(f"{message} {see}")


def _values(hint: Any) -> str:
    """What an option takes, in words: `a whole number, or none`."""
    names, parts = {int: "a whole number", float: "a number"}, get_args(hint)
    if get_origin(hint) is tuple:
        return names.get(parts[0], "values").removeprefix("a ").removesuffix("s") + "s"
    if get_origin(hint) is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if parts:
        return ", or ".join(map(_values, parts))
    return {**names, NoneType: "none"}.get(hint, "another value")

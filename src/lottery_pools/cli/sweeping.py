"""From the words of the command `sweep` to the settings of its variants."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lottery_pools.cli.options import SweepOptions
from lottery_pools.cli.parsing import Command, run_options
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError

Choice = tuple[str, str]
"""A setting and its value, as they are written on the command line: ("training.lr", "0.1")."""


def variants(options: SweepOptions, command: Command) -> dict[str, Config]:
    """The settings of every variant, by its name: every preset with every combination of the values of `--set`.

    A variant is called by its preset and the settings that have several values: `demo`, or
    `demo,training.lr=0.1,pruning.rate=0.2`.

    Raises UserError for an unknown preset or setting, a value that a setting cannot have, and two variants that are the
    same.
    """
    choices = list(map(_choices, options.set))
    names = [alternatives[0][0] for alternatives in choices]
    if len(set(names)) < len(names):
        raise UserError(f"sweep --set names {_repeated(names)} twice: give its values as {_repeated(names)}=A,B")
    variants: dict[str, Config] = {}
    for start in options.presets:
        for chosen in itertools.product(*choices):
            told = [pair for pair, alternatives in zip(chosen, choices, strict=True) if len(alternatives) > 1]
            name = _name(start, told)
            if name in variants:
                raise UserError(f"the sweep has {name} twice: name each preset and value once")
            variants[name] = _config(options, start, chosen, command)
    return variants


def _choices(words: str) -> list[Choice]:
    """The values that `NAME=VALUE,VALUE` gives a setting."""
    name, is_given, values = words.partition("=")
    if not is_given or not re.fullmatch(r"[a-z_.-]+", name):
        raise UserError(f"sweep --set {words!r} is no setting: write NAME=VALUE or NAME=VALUE,VALUE")
    if name in ("name", "seeds"):
        raise UserError(f"sweep --set {name} is not a setting that variants differ in: give --seeds, or leave it out")
    return [(name.replace("-", "_"), value) for value in values.split(",")]


def _name(start: str, told: Sequence[Choice]) -> str:
    """What a variant is called, without what folders must not have in their names."""
    base = start.rpartition("/")[2].removesuffix(".toml")
    words = [base, *(f"{name}={value}" for name, value in told)]
    return re.sub(r"[^\w.,=+-]", "+", ",".join(words))


def _config(options: SweepOptions, start: str, chosen: Sequence[Choice], command: Command) -> Config:
    """The settings of one variant: read as `run` reads them from its options."""
    words = ["--preset", start, *_words(chosen)]
    if options.limit is not None:
        words += ["--limit", str(options.limit)]
    if options.trust_model:
        words.append("--trust-model")
    config = run_options(words, command).config
    return replace(config, seeds=options.seeds or config.seeds)


def _words(chosen: Sequence[Choice]) -> Iterator[str]:
    for name, value in chosen:
        option = name.replace("_", "-")
        if value in ("true", "false"):
            part, _, last = option.rpartition(".")
            yield f"--{part}.{'no-' if value == 'false' else ''}{last}"
        else:
            yield from (f"--{option}", *(value.split() or ["none"]))


def _repeated(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)

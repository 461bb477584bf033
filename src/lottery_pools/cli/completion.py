"""Shell completion: what may follow what on the command line, and scripts that say so to bash, zsh and fish."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lottery_pools.config import toml
from lottery_pools.pooling.methods import METHODS

Options = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Command → option → the values it may take; none are known of a number, a path or a flag."""

_BASH = """\
# Completion of lottery-pools in bash: source it, or keep it as
# ~/.local/share/bash-completion/completions/lottery-pools
_lottery_pools() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} option= words= joined= i
  [[ $word == = ]] && word=
  for ((i = COMP_CWORD - 1; i > 1; i--)); do
    if [[ ${{COMP_WORDS[i]}} == -* ]]; then option=${{COMP_WORDS[i]}}; break; fi
  done
  if [[ $word == -*=* ]]; then  # one word in zsh, three in bash
    option=${{word%%=*}} joined=${{word%%=*}}= word=${{word#*=}}
  fi
  if ((COMP_CWORD == 1)); then
    words="{commands}"
  elif [[ $word == -* ]]; then
    case $command in
{options}
    esac
  else
    case "$command $option" in
{values}
    esac
  fi
  COMPREPLY=($(compgen -P "$joined" -W "$words" -- "$word"))
}}
complete -o default -F _lottery_pools lottery-pools
"""

_ZSH = """\
# Completion of lottery-pools in zsh: source it after compinit.
autoload -U +X bashcompinit && bashcompinit
"""

_FISH = """\
# Completion of lottery-pools in fish: keep it as ~/.config/fish/completions/lottery-pools.fish
function __lottery_pools_after --description 'whether a command is given and this option is the last one'
  set -l words (commandline -opc)
  set -l options (string match -- '-*' $words)
  contains -- $argv[1] $words[2]; and test "$options[-1]" = "$argv[2]"
end
complete -c lottery-pools -n __fish_use_subcommand -f -a '{commands}'
"""


def walk(kind: type, prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """The options of a command, or of a part of the settings, each with the type of its values."""
    hints = get_type_hints(kind, include_extras=True)
    for name in (setting.name for setting in dataclasses.fields(kind)):
        hint, marks = hints[name], getattr(hints[name], "__metadata__", ())
        plain = get_args(hint)[0] if marks else hint
        option = prefix + name.replace("_", "-")
        if dataclasses.is_dataclass(plain):
            yield from walk(plain, prefix if marks else f"{option}.")  # type: ignore[arg-type]
        elif "Positional" in map(str, marks):
            yield "", plain
        elif get_origin(plain) is not dict:  # what model.arguments has depends on the model
            yield option, plain
            if plain is bool and not marks:
                yield prefix + "no-" + name.replace("_", "-"), plain


def known(kinds: Mapping[str, type]) -> Options:
    """What each command takes, by the dataclass that it parses; a positional argument's name is empty."""
    methods = (*METHODS, "other-seed")
    signals, images = table("data/shifts.py", "SIGNAL_SHIFTS"), table("data/corruptions/__init__.py", "_COMMON")
    corruptions = ("common", "all", *images, *table("data/corruptions/__init__.py", "_EXTRA"), *signals)
    presets = tuple(toml.presets())
    named = {
        "--preset": presets,
        "--data.name": ("mnist1d", "cifar10", "cifar100"),
        "--model.name": table("models/registry.py", "MODELS"),
        "--pooling.methods": methods,
        "--methods": methods,
        "--evaluation.corruptions": corruptions,
        "--corruptions": corruptions,
        "--evaluation.trained-baselines": table("tickets/trained_baselines.py", "TRAINED_BASELINES"),
        "--device": ("auto", "cpu", "cuda", "mps"),
    }

    def values(command: str, option: str, hint: Any) -> tuple[str, ...]:
        if (command, option) == ("presets", ""):
            return presets
        return get_args(hint) if get_origin(hint) is Literal else named.get(option, ())

    return {
        command: {"--help": (), **{option: values(command, option, hint) for option, hint in walk(kind)}}
        for command, kind in kinds.items()
    }


def table(file: str, name: str) -> tuple[str, ...]:
    """The keys of a table in a file of this package, read from its source: to import it would load torch."""
    source = (Path(__file__).parent.parent / file).read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            assert isinstance(node.value, ast.Dict)
            return tuple(key.value for key in node.value.keys if isinstance(key, ast.Constant))  # type: ignore[misc]
    raise LookupError(f"{file} has no table {name}")


def bash(options: Options) -> str:
    """The script for bash: commands, options, and the values that are known."""
    lines = [f'      {command}) words="{" ".join(taken)}" ;;' for command, taken in options.items()]
    values = [
        f'      "{command} {option}") words="{" ".join(choices)}" ;;'
        for command, taken in options.items()
        for option, choices in taken.items()
        if choices
    ]
    return _BASH.format(commands=" ".join(options), options="\n".join(lines), values="\n".join(values))


def zsh(options: Options) -> str:
    """The script for zsh, which can run that for bash."""
    return _ZSH + bash(options)


def fish(options: Options) -> str:
    """The script for fish."""
    lines = []
    for command, taken in options.items():
        seen = f"complete -c lottery-pools -n '__fish_seen_subcommand_from {command}'"
        for option, choices in taken.items():
            words = f"-a '{' '.join(choices)}'"
            if option.startswith("--"):
                lines.append(f"{seen} -l {option.removeprefix('--')}{f' -x {words}' if choices else ''}")
                if choices:  # several may follow
                    lines.append(f"complete -c lottery-pools -n '__lottery_pools_after {command} {option}' -f {words}")
            elif choices:
                lines.append(f"{seen} -f {words}")
    return _FISH.format(commands=" ".join(options)) + "\n".join(lines) + "\n"


SHELLS: dict[str, Callable[[Options], str]] = {"bash": bash, "zsh": zsh, "fish": fish}

"""Shell completion: what may follow what on the command line, and scripts that say so to bash, zsh and fish."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from lottery_pools.cli.marks import walk
from lottery_pools.cli.parsing import FULL_HELP
from lottery_pools.config import toml
from lottery_pools.pooling.methods import METHODS

Options = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Command → option → the values it may take: none for a number, a path or a flag. The values of an argument that is
given by its place are under the empty name."""

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


def known(kinds: Mapping[str, type]) -> Options:
    """The options of every command and the values they may take, by the dataclass that each command parses."""
    names = _named_values()
    return {
        command: _taken(kind, {**names, "": names["--preset"]} if command == "presets" else names)
        for command, kind in kinds.items()
    }


def _taken(kind: type, names: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The options that `kind` describes, each with the values it may take: choices of its type, or else of `names`."""
    options = list(walk(kind))
    helps: dict[str, tuple[str, ...]] = {"--help": ()}
    if any(option.rare for option in options):
        helps[FULL_HELP] = ()
    values = {
        option.name: get_args(option.type) if get_origin(option.type) is Literal else names.get(option.name, ())
        for option in options
    }
    return {**helps, **values}


def _named_values() -> dict[str, tuple[str, ...]]:
    """Options whose values are names that this package knows, and these names."""
    methods = (*METHODS, "other-seed")
    signals, images = table("data/shifts.py", "SIGNAL_SHIFTS"), table("data/corruptions/__init__.py", "_COMMON")
    corruptions = ("common", "all", *images, *table("data/corruptions/__init__.py", "_EXTRA"), *signals)
    return {
        "--preset": tuple(toml.presets()),
        "--data.name": ("mnist1d", "cifar10", "cifar100"),
        "--model.name": table("models/registry.py", "MODELS"),
        "--pooling.methods": methods,
        "--methods": methods,
        "--evaluation.corruptions": corruptions,
        "--corruptions": corruptions,
        "--evaluation.trained-baselines": table("tickets/trained_baselines.py", "TRAINED_BASELINES"),
        "--device": ("auto", "cpu", "cuda", "mps"),
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
    names = [f'      {command}) words="{" ".join(values)}" ;;' for command, values in options.items()]
    choices = [
        f'      "{command} {option}") words="{" ".join(words)}" ;;'
        for command, values in options.items()
        for option, words in values.items()
        if words
    ]
    return _BASH.format(commands=" ".join(options), options="\n".join(names), values="\n".join(choices))


def zsh(options: Options) -> str:
    """The script for zsh, which can run the one for bash."""
    return _ZSH + bash(options)


def fish(options: Options) -> str:
    """The script for fish: commands, options, and the values that are known."""
    lines = []
    for command, values in options.items():
        after_command = f"complete -c lottery-pools -n '__fish_seen_subcommand_from {command}'"
        for option, words in values.items():
            choices = f"-a '{' '.join(words)}'"
            if option.startswith("--"):
                lines.append(f"{after_command} -l {option.removeprefix('--')}{f' -x {choices}' if words else ''}")
                if words:  # several may follow
                    after_option = f"complete -c lottery-pools -n '__lottery_pools_after {command} {option}'"
                    lines.append(f"{after_option} -f {choices}")
            elif words:
                lines.append(f"{after_command} -f {choices}")
    return _FISH.format(commands=" ".join(options)) + "\n".join(lines) + "\n"


SHELLS: dict[str, Callable[[Options], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""Shell → what writes its script."""

"""Shell completion: what the parser takes, no more and no less; the scripts, run in their shells."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lottery_pools.cli import commands, completion, options
from lottery_pools.config.toml import presets
from lottery_pools.data import corruptions
from lottery_pools.data.shifts import SIGNAL_SHIFTS
from lottery_pools.models import registry
from lottery_pools.pooling.methods import METHODS
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

KNOWN = completion.known(options.OPTIONS)


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_the_options_are_those_of_the_parser(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "129")  # the widest with one column of options
    with pytest.raises(SystemExit):
        commands.dispatch([command, "--help-all"])
    shown = re.findall(r"(?:^[│ ]+|, )(--[a-z][a-z.-]*)", capsys.readouterr().out, re.MULTILINE)
    options = {option for option in shown if not option.startswith("--model.arguments.")}
    assert set(KNOWN[command]) - {"", "--help-all"} == options


def test_the_full_help_is_completed_where_the_short_one_leaves_options_out() -> None:
    assert {command for command in KNOWN if "--help-all" in KNOWN[command]} == {
        *("run", "sweep", "tickets", "pool", "evaluate", "diagnose", "import")
    }
    assert "--training.gamma" in KNOWN["run"]


def test_names_are_those_of_the_tables() -> None:
    run = KNOWN["run"]
    assert run["--preset"] == tuple(presets())
    assert run["--pooling.methods"] == KNOWN["pool"]["--methods"] == (*METHODS, "other-seed")
    assert run["--model.name"] == registry.names()
    assert run["--evaluation.trained-baselines"] == tuple(TRAINED_BASELINES)
    assert set(run["--evaluation.corruptions"]) == {"common", "all", *corruptions.names(extra=True), *SIGNAL_SHIFTS}
    assert run["--training.optimizer"] == ("sgd", "adamw")
    assert KNOWN["completion"][""] == tuple(completion.SHELLS)
    with pytest.raises(LookupError, match="no table NOTHING"):
        completion.table("config/schema.py", "NOTHING")


LINES = {
    "": list(commands.COMMANDS),
    "ins": ["inspect"],
    "run --pre": ["--preset"],
    "run --preset cifar100-s": ["cifar100-smoke"],
    "run --preset = de": ["demo"],
    "run --preset =": list(presets()),
    "run --pruning.scope ": ["global", "layer"],
    "pool folder --methods average greed": ["greedy-soup"],
    "evaluate folder --corruptions fo": ["fog"],
    "presets im": ["imagenet-resnet18", "imagenet-resnet34", "images"],
    "completion ": ["bash", "zsh", "fish"],
    "inspect ": [],
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes() -> None:
    script = completion.bash(KNOWN)
    for line in LINES:
        words = " ".join(f"'{word}'" for word in ["lottery-pools", *line.split(" ")])
        script += (
            f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _lottery_pools; echo ${{COMPREPLY[@]}}\n"
        )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert dict(zip(LINES, map(str.split, done.stdout.splitlines()), strict=True)) == LINES


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes(tmp_path: Path) -> None:
    lines = {line.replace(" = ", "="): words for line, words in LINES.items() if not line.endswith("=")}
    asked = "".join(f"complete -C 'lottery-pools {line}'; echo +\n" for line in lines)
    script = completion.fish(KNOWN) + asked
    done = subprocess.run(["fish", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""
    offered = [words.split() for words in done.stdout.split("+\n")[:-1]]
    assert [{word.split("=")[-1] for word in words} for words in offered] == [set(words) for words in lines.values()]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [("ins", "inspect"), ("run --preset=de", "run --preset=demo"), ("pool x --methods swa greed", "greedy-soup")],
)
def test_zsh_completes(typed: str, completed: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completion.zsh(KNOWN), encoding="utf-8")
    script = f"""
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'autoload -U compinit && compinit -u -d dump; source ./script; echo rea""dy'
        zpty -r shell found '*ready*'
        zpty -w -n shell $'lottery-pools {typed}\t'
        zpty -r -m shell found '*{completed}*' && print -r -- $found
    """
    done = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert completed in done.stdout


def test_zsh_runs_the_script_for_bash() -> None:
    assert completion.zsh(KNOWN).endswith(completion.bash(KNOWN))


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_command_prints_the_script_without_torch(shell: str) -> None:
    code = f"commands.dispatch(['completion', '{shell}']); sys.exit('torch' in sys.modules)"
    code = f"import sys; from lottery_pools.cli import commands; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == completion.SHELLS[shell](KNOWN)

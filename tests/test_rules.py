"""Our rules for the parser: how no value and lists are written, and what the help shows."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from lottery_pools.cli import commands, rules
from lottery_pools.cli.marks import walk
from lottery_pools.cli.options import OPTIONS, EvaluateOptions, PoolOptions, RunOptions
from lottery_pools.config.schema import Config, Data, Evaluation, Pooling, Training


def read(kind: Any, words: list[str], default: Any = tyro.MISSING_NONPROP) -> Any:
    return tyro.cli(kind, args=words, default=default, registry=rules.VALUES)


@pytest.mark.parametrize("word", ["none", "None"])
def test_none_is_no_value(word: str) -> None:
    given_values = Config(data=Data(size=8, image_column="img"), training=Training(clip_norm=1.0))
    words = ["--data.size", word, f"--data.image-column={word}", "--training.clip-norm", word]
    assert read(Config, words, given_values) == Config()
    options = read(RunOptions, ["--out", word, "--limit", word, "--workers", word, "--cluster", word])
    assert (options.out, options.limit, options.machine.workers, options.machine.cluster) == (None, None, None, None)


@pytest.mark.parametrize("words", [["none"], ["None"], []])
def test_none_is_an_empty_list(words: list[str]) -> None:
    default = Config(pooling=Pooling(targets=(1, 2)), evaluation=Evaluation(corruptions=("fog",)))
    given_words = ["--pooling.targets", *words, "--evaluation.corruptions", *words]
    assert read(Config, given_words, default) == Config()


def test_a_text_may_be_called_none() -> None:
    assert read(RunOptions, ["--name", "none"]).config.name == "none"


@settings(max_examples=25)
@given(st.lists(st.integers(), unique=True, min_size=1), st.lists(st.floats(0.1, 1e9)))
def test_lists_are_read_item_by_item(seeds: list[int], milestones: list[float]) -> None:
    words = ["--seeds", *map(str, seeds), "--training.milestones", *map(str, milestones)]
    config = read(Config, words)
    assert (config.seeds, config.training.milestones) == (tuple(seeds), tuple(milestones))
    assert read(Config, [], config) == config


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "129")  # the widest with one column of options


def helped(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        commands.dispatch([command, option])
    assert not stop.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("command", OPTIONS)
def test_the_short_help_leaves_out_what_is_rare_and_says_so(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [option for option in walk(OPTIONS[command]) if option.name]
    short, full = helped(command, "--help", capsys), helped(command, "--help-all", capsys)

    def shown(text: str) -> set[str]:
        names = re.findall(r"(?:^[│ ]+|, )(--[a-z][a-z.-]*)", text, re.MULTILINE)
        return {name for name in names if not name.startswith("--model.arguments.")} - {"--help"}

    assert shown(full) == {option.name for option in options}
    assert shown(short) == {option.name for option in options if not option.rare}
    hidden = sum(option.rare for option in options)
    last = f"{hidden} rarely used options are not shown: `lottery-pools {command} --help-all` lists every option."
    assert (short.splitlines()[-1] == last) == (hidden > 0)
    assert "--help-all" not in full


def test_help_is_printed_whatever_else_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commands.dispatch(["run", "--preset", "cifar100-cpu", "--training.epochs", "many", "-h"])
    assert "(default: cifar100-cpu)" in capsys.readouterr().out


def test_help_texts_are_broken_by_the_width_of_the_terminal_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert "methods and corruptions; none: no limit." in helped("run", "--help", capsys)  # two lines of source


def test_rare_options_work() -> None:
    config = read(RunOptions, ["--training.gamma", "0.5", "--data.difficulty.padding", "1", "2"]).config
    assert (config.training.gamma, config.data.difficulty.padding) == (0.5, (1, 2))
    assert read(PoolOptions, ["x", "--cluster", "there"]).machine.cluster == "there"
    assert read(EvaluateOptions, ["x", "--threads", "3"]).machine.threads == 3

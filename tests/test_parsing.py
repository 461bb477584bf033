"""The command line read: every mistake is one line that says what mends it, and nothing is written."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from lottery_pools.cli import commands
from lottery_pools.cli.marks import walk
from lottery_pools.cli.options import OPTIONS
from lottery_pools.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "unknown command 'rnu': did you mean 'run'?"),
        (["run", "--preset", "dmeo"], "unknown preset 'dmeo': did you mean 'demo'?"),
        (["run", "--training.epoch", "3"], "did you mean --training.epochs?"),
        (["run", "--training.epochs", "many"], "--training.epochs is 'many': give a whole number"),
        (["run", "--training.lr", "high"], "--training.lr is 'high': give a number"),
        (["run", "--seeds", "a"], "--seeds is 'a': give whole numbers"),
        (["run", "--limit", "many"], "--limit is 'many': give a whole number"),
        (["run", "--seeds", "0", "0"], "seeds has 0 twice"),
        (["run", "--training.momentum", "-0.5"], "training.momentum is -0.5"),
        (["run", "--training.clip-norm", "inf"], "training.clip_norm is inf: give a finite number"),
        (["run", "--device", "meta"], "--device meta cannot be used here"),
        (["run", "--seeds", "0", "--seeds", "1"], "--seeds is given twice: give it once, with all its values"),
        (["run", "--pruning.scope", "globl"], "unknown value of --pruning.scope 'globl': did you mean 'global'?"),
        (["run", "--dryrun"], "run has no option --dryrun: did you mean --dry-run?"),
        (["run", "--seed", "3"], "run has no option --seed: did you mean --seeds?"),
        (["run", "--epochs", "3"], "run has no option --epochs: did you mean --training.epochs?"),
        (["run", "--epoch=3"], "run has no option --epoch: did you mean --training.epochs?"),
        (["run", "--batch-size", "3"], "run has no option --batch-size: did you mean --training.batch?"),
        (["run", "--batch_size", "3"], "run has no option --batch_size: did you mean --training.batch?"),
        (["run", "--batch", "3"], "run has no option --batch: did you mean --training.batch or --evaluation.batch?"),
        (["run", "--model", "resnet20"], "run has no option --model: did you mean --model.name?"),
        (["run", "--dataset", "cifar10"], "run has no option --dataset: did you mean --data.name?"),
        (["run", "--lr", "0.1"], "run has no option --lr: did you mean --training.lr?"),
        (["run", "--learning-rate", "0.1"], "run has no option --learning-rate: did you mean --training.lr?"),
        (["run", "--output", "x"], "run has no option --output: did you mean --out?"),
        (["run", "--config", "x"], "run has no option --config: did you mean --preset?"),
        (["report", "x", "--output", "y"], "report has no option --output: did you mean --out?"),
        (["run", "--resume"], "run has no option --resume: the same command continues by itself"),
        (["pool", "x", "--resume"], "pool has no option --resume: the same command continues by itself"),
        (["run", "--methods", "swa"], "run has no option --methods: did you mean --pooling.methods?"),
        (["run", "--pre", "demo"], "run has no option --pre: did you mean --preset?"),
        (["run", "--model.arguments.widht", "9"], "did you mean --model.arguments.width?"),
        (["run", "--evaluation.competitors", "sms"], "it is called --evaluation.trained-baselines now"),
        (["pool", "x", "--epochs", "3"], "pool has no option --epochs: leave it out"),
        (["run", "-x"], "run has no option -x: leave it out"),
        (["run", "-seed", "3"], "run has no option -seed: did you mean --seeds?"),
        (["run", "--help-al"], "run has no option --help-al: did you mean --help-all?"),
        (["run", "--training.lr"], "--training.lr needs a value after it"),
        (["run", "--data.difficulty.padding", "1"], "--data.difficulty.padding needs 2 values after it"),
        (["run", "--data.difficulty.padding", "a", "b"], "--data.difficulty.padding is 'a': give whole numbers"),
        (["run", "--data.crop", "1", "--data.no-flip", "--data.flip"], "--data.flip is given twice"),
        (
            ["run", "--training.weight_decay", "0", "--training.weight-decay=1"],
            "--training.weight-decay is given twice",
        ),
        (
            ["run", "--training.precision", "half"],
            "unknown value of --training.precision 'half': choose one of: bfloat16",
        ),
        (
            ["run", "--pooling.recalibration", "most"],
            "--pooling.recalibration is 'most': give a whole number, or `all`",
        ),
        (["run", "--data.size", "big"], "--data.size is 'big': give a whole number, or none"),
        (["run", "--pooling.targets", "none", "1"], "--pooling.targets is 'none': give whole numbers"),
        (["run", "--preset", "demo", "extra"], "run has no use for extra: leave it out"),
        (["run", "--pooling.methods", "averge"], "unknown method 'averge': did you mean 'average'?"),
        (["run", "--pooling.targets", "99"], "this run has levels 0 to 4"),
        (["run", "--evaluation.corruptions", "sheer"], "unknown corruption of mnist1d 'sheer': did you mean 'shear'?"),
        (
            ["run", "--evaluation.trained-baselines", "longr"],
            "unknown trained baseline 'longr': did you mean 'longer'?",
        ),
        (["run", "--data.name", "cifar11"], "unknown data set 'cifar11': did you mean 'cifar10'?"),
        (["run", "--data.name", "./nowhere", "--dry-run"], "there is no such folder"),
        (["--preset", "demo"], "did you mean `lottery-pools run --preset …`?"),
        (["presets", "dmeo"], "unknown preset 'dmeo': did you mean 'demo'?"),
        (["completion", "bsh"], "did you mean 'bash'?"),
        (["inspect", "."], ". is a folder: give one ticket file, such as "),
        (["inspect", __file__], "is no ticket file: give one ticket file, such as "),
        (["pool"], "pool needs a run's folder: `lottery-pools pool runs/demo`"),
        (["inspect"], "inspect needs a ticket file: `lottery-pools inspect runs/demo/"),
        (["run", "--pooling.coefficients", "0.5", "1.5"], "pooling.coefficients has α = 1.5"),
        (["run", "--pruning.densities", "0.5", "0"], "pruning.densities has 0.0 after 0.5"),
        (["run", "--data.validation", "0"], "data.validation is 0"),
        (["run", "--model.name", "resnet21"], "unknown model 'resnet21': did you mean 'resnet20'?"),
        (["run", "--model.name", "mlp"], "'convolutions', which matches no tensor"),
        (["run", "--data.name", "./nowhere"], "there is no such folder"),
        (["pool", "nowhere"], "nowhere is no run folder"),
        (["report", "nowhere"], "nowhere is no run folder"),
        (["inspect", "nowhere.safetensors"], "no ticket file nowhere.safetensors"),
        (["replay", "nowhere.safetensors"], "no ticket file nowhere.safetensors"),
        (["report"], "report needs a run's folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if arguments[0] == "run":
        arguments = [*arguments, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["lottery-pools", *arguments])
    with pytest.raises(SystemExit) as stop:
        commands.main()
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("lottery-pools: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", OPTIONS)
def test_no_abbreviation_is_taken_for_an_option(command: str) -> None:
    names = {option.name for option in walk(OPTIONS[command])}
    required = {"folder": ["x"], "file": ["x"], "shell": ["bash"]}
    place = required.get(dataclasses.fields(OPTIONS[command])[0].name, [])
    for name in names - {""}:
        for short in {name[:-1], name[: len(name) // 2 + 2]} - {*names, "--"}:
            with pytest.raises(UserError, match=f"has no option {short}:"):
                commands.dispatch([command, *place, short])


def test_a_preset_without_its_option_is_understood() -> None:
    with pytest.raises(UserError, match="did you mean `lottery-pools run --preset demo`"):
        commands.dispatch(["run", "demo"])


def test_the_nearest_run_folder_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="start one with `lottery-pools run --out first`"):
        commands.dispatch(["pool", "first"])
    for name in ("demo", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.toml").touch()
    for wrong in ("runs/dmeo", "demo"):
        with pytest.raises(UserError, match=r"no config.toml\): did you mean runs/demo\?"):
            commands.dispatch(["pool", wrong])


def test_another_network_does_not_get_the_arguments_of_the_presets_own(capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--model.prunable", "convolutions+linear", "--out", "nowhere", "--dry-run", "--json"]
    commands.dispatch(["tickets", "--preset", "demo", "--model.name", "mlp", "--seeds", "0", "--limit", "50", *out])
    assert json.loads(capsys.readouterr().out)
    given = ["--model.name", "mlp", "--model.arguments", "blocks", "3"]
    with pytest.raises(UserError, match="blocks"):
        commands.dispatch(["tickets", "--preset", "demo", *given, "--seeds", "0", "--limit", "50", *out])

"""What commands take: every mistake is one line that says what mends it, and nothing is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lottery_pools.cli import commands
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
        (["run", "--preset", "demo", "extra"], "run has no use for extra: leave it out"),
        (["run", "--pooling.methods", "averge"], "unknown method 'averge': did you mean 'average'?"),
        (["run", "--pooling.targets", "99"], "this run has levels 0 to 8"),
        (["run", "--evaluation.corruptions", "sheer"], "unknown corruption of mnist1d 'sheer': did you mean 'shear'?"),
        (["run", "--evaluation.trained-baselines", "smss"], "unknown trained baseline 'smss': did you mean 'sms'?"),
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
        (["run", "--model.name", "mlp"], "'convolutions' matches no tensor"),
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
    found = capsys.readouterr()
    assert stop.value.code == 2
    assert found.out == ""
    assert message in found.err
    assert found.err.count("\n") == 1
    assert found.err.startswith("lottery-pools: ")
    assert not (tmp_path / "run").exists()


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

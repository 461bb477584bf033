"""The command line: quick help, documented commands, one-line errors with exit code 2, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lottery_pools
from lottery_pools import cli, experiment
from lottery_pools.config import Config
from lottery_pools.errors import UserError
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.folder import RunFolder
from tests.test_experiment import ONE, tiny

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    experiment.run(tiny(), folder, ONE)
    return folder


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lottery_pools", *arguments], capture_output=True, text=True)


def test_help_is_instant_and_does_not_import_torch() -> None:
    code = "import sys; from lottery_pools import cli; cli.dispatch(['--help']); sys.exit('torch' in sys.modules)"
    best = 9.0
    for _ in range(5):  # the best of five: the machine may be busy
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        best = min(best, time.perf_counter() - start)
    assert best < 0.5


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_help_and_docs_with_output(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.dispatch([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"lottery-pools {name}" in shown
    section = (ROOT / "docs/cli.md").read_text().split(f"\n## `lottery-pools {name}`\n")
    assert len(section) == 2, f"docs/cli.md has no section on {name}"
    text = section[1].split("\n## ")[0]
    assert "```console\n$ lottery-pools " + name in text, f"docs/cli.md shows no output of {name}"
    for option in re.findall(r"^│ (--[a-z]+)", shown, re.MULTILINE):
        assert f"`{option}`" in text, f"docs/cli.md does not mention {name} {option}"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/cli.md").read_text()

    def check(part: object, path: str) -> None:
        for setting in dataclasses.fields(part):  # type: ignore[arg-type]
            value = getattr(part, setting.name)
            if dataclasses.is_dataclass(value):
                check(value, f"{path}{setting.name}.")
            else:
                assert f"`{path}{setting.name}`" in text, f"docs/cli.md lacks {path}{setting.name}"

    check(Config(), "")


@pytest.mark.parametrize("name", lottery_pools.__all__)
def test_each_public_name_is_documented(name: str) -> None:
    assert getattr(lottery_pools, name).__doc__
    assert f"`lp.{name}`" in (ROOT / "docs/library.md").read_text(), f"docs/library.md does not mention lp.{name}"


def test_the_readme_names_every_command_and_file() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in cli.COMMANDS:
        assert f"lottery-pools {name}" in readme
    for path in (ROOT / "src/lottery_pools").rglob("*.py"):
        if not path.name.startswith("__"):
            assert path.name in readme, f"the README's file tree lacks {path.name}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "unknown command 'rnu': did you mean 'run'?"),
        (["run", "--preset", "dmeo"], "unknown preset 'dmeo': did you mean 'demo'?"),
        (["run", "--training.epoch", "3"], "did you mean --training.epochs?"),
        (["run", "--training.epochs", "many"], "Error parsing --training.epochs"),
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
        (["report"], "required"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    if arguments[0] == "run":
        arguments = [*arguments, "--out", str(tmp_path / "run")]
    found = command(*arguments)
    assert found.returncode == 2
    assert found.stdout == ""
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("lottery-pools: ")
    assert not (tmp_path / "run").exists()


def test_a_bug_of_ours_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arguments: list[str]) -> None:
        raise RuntimeError("our bug")

    monkeypatch.setitem(cli.COMMANDS, "run", broken)
    monkeypatch.setattr(sys, "argv", ["lottery-pools", "run"])
    with pytest.raises(RuntimeError, match="our bug"):
        cli.main()


def test_presets_lists_prints_and_names_models(capsys: pytest.CaptureFixture[str]) -> None:
    cli.dispatch(["presets"])
    assert re.search(r"^demo +MNIST-1D", capsys.readouterr().out, re.MULTILINE)
    cli.dispatch(["presets", "demo"])
    assert "[pruning]" in capsys.readouterr().out
    cli.dispatch(["presets", "--models", "--json"])
    assert "resnet20" in json.loads(capsys.readouterr().out)


def test_json_is_one_object_with_the_gains(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.dispatch(["report", str(finished), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert Path(found["report"]).exists()
    assert found["headline"]["method"] == "interpolation"
    assert {gain["against"] for gain in found["gains"]} == {"ticket", "recalibrated", "admissible"}


def test_report_prints_the_table_and_the_path(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.dispatch(["report", str(finished)])
    shown = capsys.readouterr().out
    assert "Interpolation" in shown
    assert shown.rstrip().endswith(f"Report: {finished / 'report.html'}")


def test_the_stages_go_on_from_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lottery_pools import config as settings

    (tmp_path / "mine.toml").write_text(settings.to_toml(tiny()))
    run, here = str(tmp_path / "run"), ["--workers", "1", "--threads", "1"]
    cli.dispatch(["tickets", "--preset", str(tmp_path / "mine.toml"), "--out", run, *here])
    cli.dispatch(["pool", run, "--targets", "1", "--json", *here])
    cli.dispatch(["evaluate", run, *here])
    out = capsys.readouterr().out
    assert "level_02.safetensors" in out
    pooled = {(row.method, row.level) for row in experiment.read(tmp_path / "run")[1] if row.method in METHODS}
    assert pooled == {("average", 1), ("interpolation", 1)}  # --targets holds for the call that names it
    cli.dispatch(["pool", run, "--methods", "average", *here])
    assert RunFolder(tmp_path / "run").pool("average", 2).exists()
    assert not RunFolder(tmp_path / "run").pool("interpolation", 2).exists()


def test_inspect_shows_density_lineage_and_recipe(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pooled = RunFolder(finished).pool("interpolation", 1)
    cli.dispatch(["inspect", str(pooled)])
    shown = capsys.readouterr().out
    assert "level 1" in shown
    assert "recipe" in shown
    assert "█" in shown
    cli.dispatch(["inspect", str(pooled), "--json"])
    assert json.loads(capsys.readouterr().out)["origin"]["method"] == "interpolation"


def test_replay_confirms_or_refuses(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pooled = RunFolder(finished).pool("average", 1)
    cli.dispatch(["replay", str(pooled)])
    assert "same bytes" in capsys.readouterr().out
    with pytest.raises(UserError, match="has no recipe"):
        cli.dispatch(["replay", str(RunFolder(finished).ticket(1))])

"""The command line: quick help, documented commands, one-line errors with exit code 2, JSON for machines."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lottery_pools
from lottery_pools.cli import commands
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError
from lottery_pools.experiment import report as reports
from lottery_pools.experiment import stages
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.disk import failed_write
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files
from tests.test_stages import ONE, tiny

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    stages.run(tiny(), folder, ONE)
    return folder


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lottery_pools", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in commands.COMMANDS)], ids=" ".join)
def test_help_does_not_import_torch(words: list[str]) -> None:  # so that it answers at once
    code = f"""
import contextlib, sys
from lottery_pools.cli.commands import dispatch
with contextlib.suppress(SystemExit):
    dispatch({words})
sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: lottery-pools")


def test_help_as_a_command_says_how_it_is_asked_for() -> None:
    for words, command_name in ((["help"], "COMMAND"), (["help", "pool"], "pool"), (["help", "me"], "COMMAND")):
        with pytest.raises(UserError) as error:
            commands.dispatch(words)
        said = f"help is an option: `lottery-pools --help`, or `lottery-pools {command_name} --help`"
        assert str(error.value) == said


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_command_has_help_and_docs_with_output(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        commands.dispatch([name, "--help-all"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert f"lottery-pools {name}" in shown
    section = (ROOT / "docs/cli.md").read_text().split(f"\n## `lottery-pools {name}`\n")
    assert len(section) == 2, f"docs/cli.md has no section on {name}"
    text = section[1].split("\n## ")[0]
    assert "```console\n$ lottery-pools " + name in text, f"docs/cli.md shows no output of {name}"
    options = re.findall(r"^[│ ]+(--[a-z][a-z-]*)(?![a-z.-])", shown, re.MULTILINE)
    assert options or name == "completion"
    for option in options:
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


def test_every_setting_has_help_that_says_what_the_docs_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # one column of options
    with pytest.raises(SystemExit):
        commands.dispatch(["run", "--help-all"])
    options = re.split(r"^ +(?=--)", re.sub("[╭╮╰╯│─]", " ", capsys.readouterr().out), flags=re.MULTILINE)[1:]
    said = {option.split()[0].removesuffix(","): " ".join(option.split("\n", 1)[1].split()) for option in options}
    assert [name for name, text in said.items() if text.startswith("(default") and ".arguments." not in name] == []
    table = re.findall(r"^\| `(\S+)` \| .* \| (.*) \|$", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    assert len(table) > 50
    for name, text in table:
        if (option := f"--{name.replace('_', '-')}") in said:
            assert said[option].startswith(text), f"docs/cli.md and --help differ about {option}"


@pytest.mark.parametrize("name", lottery_pools.__all__)
def test_each_public_name_is_documented(name: str) -> None:
    assert getattr(lottery_pools, name).__doc__
    assert f"`lp.{name}`" in (ROOT / "docs/library.md").read_text(), f"docs/library.md does not mention lp.{name}"


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in commands.COMMANDS:
        assert f"lottery-pools {name}" in readme


def test_what_comes_before_is_named_where_tickets_are_missing(tmp_path: Path) -> None:
    from lottery_pools.config import toml

    (tmp_path / "config.toml").write_text(toml.to_toml(tiny()))
    training_command = f"`lottery-pools tickets --preset {tmp_path}/config.toml --out {tmp_path}`"
    for command in ("pool", "evaluate"):
        for more in ([], ["--dry-run"]):
            with pytest.raises(UserError, match="has 0 of 3 tickets: train them first with ") as error:
                commands.dispatch([command, str(tmp_path), *more])
            assert str(error.value).endswith(training_command)


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lottery_pools.config import toml
    from lottery_pools.experiment import timing

    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 0.02)
    monkeypatch.chdir(tmp_path)
    options = ["--workers", "1", "--threads", "1", "--dry-run"]
    Path("mine.toml").write_text(toml.to_toml(tiny()))
    commands.dispatch(["run", "--preset", "mine.toml", "--out", "new", *options])
    shown = capsys.readouterr().out
    assert shown.startswith("new (new): conv1d (width 8, depth 2) on mnist1d, 300 training, 200 validation, 500 test")
    for stage in ("training", "pooling", "evaluation"):
        assert re.search(rf"^ *{stage} .* \d+ s *$", shown, re.MULTILINE)
    assert shown.endswith("Nothing was done.\n")
    commands.dispatch(["tickets", "--preset", "mine.toml", "--out", "new", "--json", *options])
    assert [step["stage"] for step in json.loads(capsys.readouterr().out)["steps"]] == ["training"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]

    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    commands.dispatch(["pool", str(finished), "--methods", "average", "ties", "--json", *options])
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert (step["items"], step["done"]) == (6, 3)
    commands.dispatch(["evaluate", str(finished), "--json", *options])
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert step["items"] == step["done"]
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_presets_lists_prints_and_names_models(capsys: pytest.CaptureFixture[str]) -> None:
    commands.dispatch(["presets"])
    assert re.search(r"^demo +MNIST-1D", capsys.readouterr().out, re.MULTILINE)
    commands.dispatch(["presets", "demo"])
    assert "[pruning]" in capsys.readouterr().out
    commands.dispatch(["presets", "--models", "--json"])
    assert "resnet20" in json.loads(capsys.readouterr().out)


def test_json_is_one_object_with_the_gains(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.dispatch(["report", str(finished), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed["report"]).exists()
    assert printed["headline"]["method"] == "balanced-soup"
    assert {gain["against"] for gain in printed["gains"]} == {"ticket", "recalibrated", "admissible"}


def test_report_prints_the_table_and_the_path(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.dispatch(["report", str(finished)])
    shown = capsys.readouterr().out
    assert "Interpolation" in shown
    assert shown.rstrip().endswith(f"Report: {finished / 'report.html'}")


def test_several_runs_are_compared(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "other")
    commands.dispatch(["report", str(finished), "other"])
    shown = capsys.readouterr().out
    assert "Over best admissible" in shown
    assert shown.endswith("Comparison: comparison.html\n")
    assert (tmp_path / "comparison.html").exists()
    commands.dispatch(["report", str(finished), "other", "--out", "both.html", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["report"] == "both.html"
    assert [run["seeds"] for run in printed["runs"]] == [1, 1]
    assert printed["runs"][0]["gains"]
    with pytest.raises(UserError, match="is for one run"):
        commands.dispatch(["report", str(finished), "other", "--reference", "other"])
    commands.dispatch(["report", str(finished), "--out", "here/mine.html"])
    assert capsys.readouterr().out.endswith("Report: here/mine.html\n")
    assert (tmp_path / "here/mine.html").read_bytes() == (finished / "report.html").read_bytes()
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"mine.html", "mine.md"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pool", "--candidates-from", "other", "--methods", "swa"], "leave --methods away"),
        (["pool", "--allow-other-run"], "name it with --candidates-from"),
        (["evaluate", "--corrupted-from", "nope"], "--corrupted-from is of corruptions, none are named"),
        (["evaluate", "--severities", "3"], "--severities is of corruptions, none are named"),
        (["evaluate", "--corruptions", "shear", "--corrupted-from", "nope"], "corrupted_from is for images"),
        (["report", "--reference", "."], "has no rows under corruption, of which --reference is"),
        (["report", "--publish", "."], "holds a run: publish into a folder of its own"),
    ],
)
def test_what_would_do_nothing_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(finished)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    command, *options = arguments
    with pytest.raises(UserError, match=re.escape(message)):
        commands.dispatch([command, ".", *options])
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert {**before, finished / ".lock": 0} == {**after, finished / ".lock": 0}


def test_output_that_a_terminal_cannot_show_is_no_error(finished: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lottery_pools", "inspect", str(RunFolder(finished).pool("average", 1))],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert b"Density by layer" in done.stdout


def test_the_stages_go_on_from_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lottery_pools.config import toml

    (tmp_path / "mine.toml").write_text(toml.to_toml(tiny()))
    run, options = str(tmp_path / "run"), ["--workers", "1", "--threads", "1"]
    commands.dispatch(["tickets", "--preset", str(tmp_path / "mine.toml"), "--out", run, *options])
    commands.dispatch(["pool", run, "--targets", "1", "--json", *options])
    commands.dispatch(["evaluate", run, *options])
    out = capsys.readouterr().out
    assert "level_02.safetensors" in out
    pooled = {(row.method, row.level) for row in reports.read(tmp_path / "run")[1] if row.method in METHODS}
    assert pooled == {(method, 1) for method in tiny().pooling.methods}  # --targets holds for the call that names it
    commands.dispatch(["pool", run, "--methods", "average", *options])
    assert RunFolder(tmp_path / "run").pool("average", 2).exists()
    assert not RunFolder(tmp_path / "run").pool("interpolation", 2).exists()


def test_inspect_shows_density_lineage_and_recipe(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pooled = RunFolder(finished).pool("interpolation", 1)
    commands.dispatch(["inspect", str(pooled)])
    shown = capsys.readouterr().out
    assert f"{pooled}: level 1, pooled by interpolation, " in shown
    for words in ("█", "recipe:", "level  1 ", " the target\n", "on validation", "forwarded in search", "seed 0"):
        assert words in shown
    assert "{" not in shown
    commands.dispatch(["inspect", str(pooled), "--json"])
    assert json.loads(capsys.readouterr().out)["origin"]["method"] == "interpolation"
    ticket = files.load(pooled)
    choices = {key: ticket.origin[key] for key in ("method", "scope", "mask", "settings")}
    origin = {**choices, "recipe": [[0, 0.5]]}
    files.save(dataclasses.replace(ticket, origin=origin), tmp_path / "mine.safetensors")  # as lp.pool and lp.save do
    commands.dispatch(["inspect", str(tmp_path / "mine.safetensors")])
    assert "0.50 · level 1 + 0.50 · level 0" in capsys.readouterr().out
    commands.dispatch(["inspect", str(RunFolder(finished).rewind)])
    assert "the rewind point, before step 6, " in capsys.readouterr().out


def test_inspect_says_where_fewer_weights_than_survive_are_not_zero(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = files.load(RunFolder(finished).ticket(1))
    commands.dispatch(["inspect", str(RunFolder(finished).ticket(1))])
    assert "non-zero" not in capsys.readouterr().out
    name = next(iter(ticket.mask))
    weights = {**ticket.weights, name: torch.zeros_like(ticket.weights[name])}
    files.save(dataclasses.replace(ticket, weights=weights), tmp_path / "zeros.safetensors")
    left = ticket.kept - int(ticket.mask[name].sum())
    commands.dispatch(["inspect", str(tmp_path / "zeros.safetensors")])
    assert f"non-zero:       {left:,} of the {ticket.kept:,} that survive\n" in capsys.readouterr().out
    commands.dispatch(["inspect", str(tmp_path / "zeros.safetensors"), "--json"])
    assert json.loads(capsys.readouterr().out)["nonzero"] == left


def test_a_damaged_or_foreign_ticket_is_one_line(finished: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(RunFolder(finished).ticket(1).read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cut\.safetensors is truncated"):
        commands.dispatch(["inspect", str(cut)])
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"is no ticket file: give one ticket file, such as .*level_00\.safetensors"):
        commands.dispatch(["inspect", str(finished / "report.html")])
    with pytest.raises(UserError, match="is a safetensors file but no ticket"):
        commands.dispatch(["inspect", str(tmp_path / "foreign.safetensors")])


def test_replay_confirms_or_refuses(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pooled = RunFolder(finished).pool("average", 1)
    commands.dispatch(["replay", str(pooled)])
    assert "same bytes" in capsys.readouterr().out
    with pytest.raises(UserError, match="has no recipe"):
        commands.dispatch(["replay", str(RunFolder(finished).ticket(1))])


@pytest.mark.parametrize("as_json", [False, True])
def test_a_report_that_cannot_be_written_is_printed_and_offers_another_place(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    def refuse(path: Path, content: object, elsewhere: str = "") -> None:
        raise failed_write(path, OSError(errno.EROFS, "Read-only file system"), elsewhere)

    monkeypatch.setattr(reports, "write", refuse)
    with pytest.raises(UserError, match=r"report\.md: Read-only file system; give another file with --out"):
        commands.dispatch(["report", str(finished), *(["--json"] if as_json else [])])
    printed = capsys.readouterr().out
    if as_json:
        assert json.loads(printed)["report"] is None
    else:
        assert "Test accuracy by level" in printed
        assert "Report:" not in printed


def test_a_notebooks_drawing_backend_does_not_stop_a_report(finished: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    report = [sys.executable, "-m", "lottery_pools", "report", str(finished), "--out", str(tmp_path / "page.html")]
    done = subprocess.run(report, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").exists()

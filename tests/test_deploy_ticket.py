"""A ticket of a run, compiled: its files, its speed in the report, and the samples on which it is right."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.cli import commands
from lottery_pools.config import toml
from lottery_pools.deploy import compiler, speed
from lottery_pools.deploy.compiled import Compiled
from lottery_pools.deploy.ticket import Choices, compile_ticket
from lottery_pools.evaluation.evaluate import evaluate
from lottery_pools.experiment import report as reports
from lottery_pools.experiment import stages
from lottery_pools.experiment.opening import resolve
from lottery_pools.runs import results
from lottery_pools.runs.rows import clean
from lottery_pools.runs.speeds import compiled_folder
from tests.test_stages import ONE, tiny

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")


@pytest.fixture(autouse=True, scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing comes from an earlier run; timing takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(speed, "AT_LEAST", 0.0)
        patch.setattr(speed, "ROUNDS", 1)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    stages.run(tiny(), folder, ONE)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run that a test may change."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


class Wrapped(nn.Module):
    """A compiled network as a module, to be evaluated as any other."""

    def __init__(self, compiled: Compiled) -> None:
        super().__init__()
        self.compiled, self.device = compiled, nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.compiled(x)
        return result


def check_hits(folder: Path) -> int:
    """Check that each pooled network of a run, compiled, is right on the very samples that the run's rows say."""
    config = toml.of_folder(folder)
    (opened,) = resolve(config, folder, ONE).runs
    rows = [row for row in clean(results.read(opened.folder.results)) if row.method in config.pooling.methods]
    for row in rows:
        compiled = lp.compile(lp.load(opened.folder.pool(row.method, row.level)), threads=1, engine="c")
        measured = evaluate(Wrapped(compiled), opened.dataset, opened.dataset.test, config.training, 500)
        expected = np.unpackbits(np.frombuffer(base64.b64decode(row.hits), np.uint8))[: row.n].astype(bool)
        np.testing.assert_array_equal(measured.hits, expected)
    return len(rows)


def test_compiled_pools_are_right_on_the_samples_that_the_report_counts(finished: Path) -> None:
    assert check_hits(finished) == 12


@pytest.mark.slow
def test_the_demos_compiled_pools_are_right_on_the_samples_that_its_report_counts(tmp_path: Path) -> None:
    commands.dispatch(["run", "--preset", "demo", "--seeds", "0", "--workers", "1", "--out", str(tmp_path / "demo")])
    assert check_hits(tmp_path / "demo") >= 9


def test_the_report_shows_the_speed_and_publishes_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports.make(run)
    before = (run / "report.md").read_bytes()
    assert b"Speed" not in before
    pool = run / "pools/average/level_01.safetensors"
    commands.dispatch(["compile", str(pool), "--threads", "1"])
    said = capsys.readouterr().out
    assert f"{compiled_folder(pool)}: network.h" in said
    assert f"Code for {compiler.find().target}" in said
    assert sorted(path.name for path in compiled_folder(pool).iterdir()) == [
        "network.c", "network.h", "network.so", "speed.json",
    ]  # fmt: skip
    reports.make(run)
    page = (run / "report.md").read_text(encoding="utf-8")
    assert "### Speed of the networks that were compiled" in page
    (row, _) = [line for line in page.splitlines() if line.startswith("| Average | 1 | 0 | 70.0 %")]
    assert row.split(" | ")[4] == "1"
    reports.make(run)
    assert (run / "report.md").read_text(encoding="utf-8") == page, "the same again"
    reports.publish(run, tmp_path / "shared")
    reports.make(tmp_path / "shared")
    assert (tmp_path / "shared/report.md").read_text(encoding="utf-8") == page
    shutil.rmtree(compiled_folder(pool))
    reports.publish(run, tmp_path / "shared")
    assert not (tmp_path / "shared/speeds.jsonl").exists()
    reports.make(run)
    assert (run / "report.md").read_bytes() == before


def test_json_says_what_was_made(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = run / "tickets/level_02.safetensors"
    commands.dispatch(["compile", str(ticket), "--out", str(run / "c"), "--target", "plain", "--json"])
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["files"] == ["network.h", "network.c", "network.so"]
    assert outcome["target"] == "plain"
    assert 0 < outcome["weights"] < outcome["all_weights"]
    assert [measured["samples"] for measured in outcome["speeds"]] == [1, 64]


def test_what_is_not_timed_leaves_no_earlier_speed(run: Path) -> None:
    ticket = run / "tickets/level_02.safetensors"
    out = compiled_folder(ticket)
    arguments = (ticket, lp.load_model(ticket), (1, 40), out)
    assert compile_ticket(*arguments).speeds
    assert (out / "speed.json").exists()
    assert compile_ticket(*arguments, Choices(timed=False)).speeds == ()
    assert not (out / "speed.json").exists()


def test_without_a_compiler_the_command_says_so_in_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(run))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(lp.UserError, match=r"^no C compiler \(cc, gcc, clang\): install one"):
        commands.dispatch(["compile", str(run / "tickets/level_02.safetensors")])
    assert not (run / "tickets/level_02.compiled").exists()


def test_no_threads_are_refused(run: Path) -> None:
    with pytest.raises(lp.UserError, match="--threads is 0: give 1 or more"):
        commands.dispatch(["compile", str(run / "tickets/level_02.safetensors"), "--threads", "0"])


def test_export_writes_the_same_files_without_timing_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ticket = run / "tickets/level_02.safetensors"
    commands.dispatch(["export", str(ticket), "--to", "compiled"])
    names = [f"level_02-compiled/network.{kind}" for kind in ("c", "h", "so")]
    assert capsys.readouterr().out.split() == names
    commands.dispatch(["compile", str(ticket), "--untimed"])
    for name in names:
        assert (tmp_path / name).read_bytes() == (compiled_folder(ticket) / Path(name).name).read_bytes()
    with pytest.raises(lp.UserError, match="--normalise is for onnx and torch-export"):
        commands.dispatch(["export", str(ticket), "--to", "compiled", "--normalise"])


def test_compiled_predictions_are_those_of_pytorch(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (opened,) = resolve(toml.of_folder(run), run, ONE).runs
    np.save(tmp_path / "samples.npy", opened.dataset.test.images[:40].numpy())
    said = []
    for options in ([], ["--compiled"]):
        commands.dispatch(
            ["predict", str(run / "pools/average/level_01.safetensors"), str(tmp_path / "samples.npy"), *options]
        )
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 40

"""Runs that are measured by another metric than accuracy, from their data to their report."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lottery_pools.cli import output
from lottery_pools.config.schema import Config, Data, Evaluation, Model, Pooling, Pruning, Training
from lottery_pools.config.toml import to_toml
from lottery_pools.errors import UserError
from lottery_pools.experiment import diagnose, opening, replay, stages
from lottery_pools.experiment import report as reports
from lottery_pools.reporting import metric_report
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.metric_report import MetricReport
from lottery_pools.runs import results
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import values_of
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import load_into
from tests.test_stages import ONE, hashes


def data(folder: Path) -> Path:
    """Two numbers that follow from six inputs, and noise."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for split, n in (("train", 220), ("test", 60)):
        inputs = random.normal(size=(n, 6))
        numbers = np.stack([inputs[:, 0] + inputs[:, 1], inputs[:, 2] ** 2], 1) + 0.2 * random.normal(size=(n, 2))
        np.save(folder / f"{split}_inputs.npy", inputs)
        np.save(folder / f"{split}_labels.npy", numbers)
    return folder


def settings(folder: Path) -> Config:
    return Config(
        name="numbers",
        data=Data(str(folder), task="regression", validation=100),
        model=Model("mlp", {"width": 16, "depth": 1}, prunable="convolutions+linear"),
        training=Training(epochs=4, batch=20, lr=0.02, schedule="cosine"),
        pruning=Pruning(rate=0.3, levels=2, rewind=1),
        pooling=Pooling(
            coefficients=(0.3, 0.6), recalibration=60, methods=("interpolation", "trimmed-soup", "uniform-soup")
        ),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    stages.run(settings(data(folder / "data")), folder / "run", ONE)
    return folder / "run"


def report_of(folder: Path) -> MetricReport:
    report = reports.make(folder)[1]
    assert isinstance(report, MetricReport)
    return report


def test_a_regression_is_trained_pooled_and_measured_by_its_r2(finished: Path) -> None:
    rows = results.read_metrics(RunFolder(finished).results)
    methods = {"ticket", "recalibrated", "admissible", "interpolation", "trimmed-soup", "uniform-soup"}
    assert {row.method for row in rows} == methods
    assert {row.metric for row in rows} == {"r2"}
    assert len(rows) == len(methods) * 3 * 2
    for row in rows:
        assert len(values_of(row)) == row.n == (100 if row.split == "validation" else 60)
    dense = next(row for row in rows if (row.method, row.level, row.split) == ("ticket", 0, "test"))
    assert 0.3 < dense.value < 1
    assert dense.loss < 1.5
    text = (finished / "results.jsonl").read_text() + (finished / "report.md").read_text()
    assert "accuracy" not in text.lower()
    assert not (finished / "report.html").exists()


def test_tickets_and_pools_say_what_they_are(finished: Path) -> None:
    ticket, pooled = (
        files.load(finished / name)
        for name in ("tickets/level_01.safetensors", "pools/interpolation/level_01.safetensors")
    )
    for origin in (ticket.origin, pooled.origin):
        assert origin["task"] == "regression"
        assert "accuracy" not in origin
        assert origin["r2"] <= 1
    assert pooled.origin["scored_by"] == "r2"
    assert files.load(finished / "pools/trimmed-soup/level_01.safetensors").origin["scored_by"] == "log-likelihood"
    assert pooled.kept == ticket.kept


def test_a_finished_run_is_left_alone_and_pools_are_replayed(finished: Path) -> None:
    before = hashes(finished)
    stages.run(settings(finished.parent / "data"), finished, ONE)
    assert hashes(finished) == before
    for method in ("interpolation", "trimmed-soup", "uniform-soup"):
        assert replay.replay(finished / f"pools/{method}/level_01.safetensors") is None


def test_the_report_has_the_metric_by_level_and_gains_in_its_unit(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of(finished)
    by_level, summary = metric_report.tables(report)
    assert by_level.title == "R² on test samples by level"
    assert by_level.columns[:5] == ("Level", "Density", "Ticket", "Recalibrated", "Best admissible")
    assert [row[0] for row in by_level.rows] == ["0", "1", "2"]
    rows = {(row.method, row.level): row for row in report.rows if row.split == "test"}
    assert by_level.rows[1][2] == f"{rows['ticket', 1].value:.4f}".replace("-", "−")
    gain = next(g for g in report.gains if (g.method, g.against, g.level) == ("trimmed-soup", "recalibrated", 1))
    assert gain.gain == pytest.approx(rows["trimmed-soup", 1].value - rows["recalibrated", 1].value, abs=2e-4)
    assert gain.low <= gain.gain <= gain.high
    assert "60 test samples each" in summary.note
    page = (finished / "report.md").read_text(encoding="utf-8")
    assert page.startswith("# numbers\n\n### R² on test samples by level\n")
    assert 'task = "regression"' in page
    output.show_report(finished, finished / "report.md", report, as_json=False)
    printed = capsys.readouterr().out
    assert "R² on test samples by level" in printed
    assert printed.endswith(f"Report: {finished / 'report.md'}\n")
    output.show_report(finished, finished / "report.md", report, as_json=True)
    assert json.loads(capsys.readouterr().out)["metric"] == "R²"


def test_what_needs_accuracies_is_refused_in_one_line(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^diagnose explains accuracies of single labels, .*: see the report instead$"):
        diagnose.diagnose(settings(finished.parent / "data"), finished, ONE)
    for act in (
        lambda: reports.compare([finished, finished.parent], tmp_path / "x.html"),
        lambda: reports.publish(finished, tmp_path),
        lambda: reports.make(finished, reference=finished),
    ):
        with pytest.raises(UserError, match="is not measured by accuracy: `report` compares, refers to and publishes"):
            act()
    with pytest.raises(UserError, match=r"is Markdown, .* is not: give a name that ends in \.md$"):
        reports.make(finished, out=tmp_path / "x.html")


def test_a_run_without_rows_has_no_report(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(to_toml(settings(tmp_path)))
    with pytest.raises(UserError, match="has no results yet: run `lottery-pools evaluate"):
        reports.make(tmp_path)


def test_a_loss_and_a_metric_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_measures.py").write_text(
        "def absolute(outputs, labels):\n    return (outputs - labels).abs().mean()\n\n\n"
        "def closeness(outputs, labels):\n    return -(outputs - labels).abs().mean(1)\n\n\n"
        "def whole(outputs, labels):\n    return outputs\n\n\n"
        "def broken(outputs, labels):\n    return outputs @ labels\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    config = settings(data(tmp_path / "data"))
    config = replace(
        config,
        training=replace(config.training, epochs=2, loss="own_measures:absolute"),
        pruning=replace(config.pruning, levels=1),
        pooling=replace(config.pooling, methods=("interpolation",)),
        evaluation=Evaluation(metric="own_measures:closeness"),
    )
    stages.run(config, tmp_path / "run", ONE)
    report = report_of(tmp_path / "run")
    assert report.metric == "own_measures:closeness"
    dense = next(row for row in report.rows if (row.method, row.level, row.split) == ("ticket", 0, "test"))
    assert dense.value == pytest.approx(-dense.loss, rel=1e-5)
    assert files.load(tmp_path / "run/pools/interpolation/level_01.safetensors").origin["scored_by"] == report.metric
    for name, message in (
        ("whole", r"'own_measures:whole' returned \(8, 2\): return one value a sample"),
        ("broken", r"'own_measures:broken' cannot take outputs \(8, 2\) and labels \(8, 2\)"),
    ):
        wrong = replace(config, evaluation=Evaluation(metric=f"own_measures:{name}"))
        with pytest.raises(UserError, match=message):
            stages.run(wrong, tmp_path / name, ONE)
        assert not (tmp_path / name).exists()


def test_several_labels_a_sample_have_the_report_of_accuracies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data(tmp_path / "data")
    for split in ("train", "test"):
        numbers = np.load(folder / f"{split}_labels.npy")
        np.save(folder / f"{split}_labels.npy", (numbers > 0.5).astype(np.uint8))
    config = settings(folder)
    config = replace(
        config,
        data=replace(config.data, task="multi-label"),
        training=replace(config.training, epochs=8, lr=0.05),
        pruning=replace(config.pruning, levels=1),
        pooling=replace(config.pooling, methods=("trimmed-soup", "uniform-soup")),
    )
    page, report = stages.run(config, tmp_path / "run", ONE)
    assert isinstance(report, ReportContent)
    assert {row.method for row in report.rows} >= {"ticket", "trimmed-soup", "uniform-soup", "ensemble"}
    inputs, labels = (torch.from_numpy(np.load(folder / f"test_{name}.npy")) for name in ("inputs", "labels"))
    run = opening.resolve(config, tmp_path / "run", ONE).runs[0]
    model = run.network()
    load_into(model, files.load(tmp_path / "run/tickets/level_00.safetensors").weights)
    outputs = model.eval()(run.dataset.normalise(inputs.float()[:, None]))
    dense = next(row for row in report.rows if (row.method, row.level, row.split) == ("ticket", 0, "test"))
    assert dense.correct == int(((outputs > 0) == (labels > 0)).all(1).sum())
    assert dense.accuracy > 0.4
    sentence = "Accuracy is the share of samples of which every label is predicted correctly."
    assert sentence in page.read_text(encoding="utf-8")
    assert sentence in page.with_suffix(".md").read_text(encoding="utf-8")
    output.show_report(tmp_path, page, report, as_json=False)
    assert sentence in capsys.readouterr().out
    with pytest.raises(UserError, match="diagnose explains accuracies of single labels"):
        diagnose.diagnose(config, tmp_path / "run", ONE)

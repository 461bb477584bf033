"""Runs that are measured by another metric than accuracy, from their data to their report."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lottery_pools.cli import output
from lottery_pools.config.schema import Config, Data, Evaluation, Model, Pooling, Pruning, Training
from lottery_pools.config.toml import to_toml
from lottery_pools.errors import UserError
from lottery_pools.experiment import diagnose, opening, replay, stages
from lottery_pools.experiment import report as reports
from lottery_pools.reporting import measure, metric_report
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.metric_report import MetricReport
from lottery_pools.reporting.page import render_metric
from lottery_pools.reporting.verdict import judge
from lottery_pools.runs import results
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import Gain, values_of
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import load_into
from tests.test_stages import ONE, hashes, tiny


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
    assert "accurac" not in (finished / "report.html").read_text().lower()


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
    assert page.startswith("# numbers\n\nOnly 1 seed: ")
    assert "\n### R² on test samples by level\n" in page
    assert "\n### Recipes\n" in page
    assert 'task = "regression"' in page
    output.show_report(finished, finished / "report.html", report, as_json=False)
    printed = capsys.readouterr().out
    assert "R² on test samples by level" in printed
    assert "Only 1 seed" in printed
    assert printed.endswith(f"Report: {finished / 'report.html'}\n")
    output.show_report(finished, finished / "report.html", report, as_json=True)
    assert json.loads(capsys.readouterr().out)["metric"] == "R²"


def test_the_page_speaks_of_the_metric_and_never_of_accuracy(finished: Path) -> None:
    path, report = reports.make(finished)
    assert path == finished / "report.html"
    page = path.read_text(encoding="utf-8")
    for word in ("accurac", "percentage points", "predicts", "Calibration", "gain_points"):
        assert word not in page.replace("Lottery Pools (Average)", ""), word
    assert page.count("<figure>") == 4  # gains, R², two recipes
    assert "Gains are differences in R² on test samples; higher is better." in page
    assert "<dt>R²</dt>" in page
    assert "R² on test samples by level" in page
    assert not re.search(r"(?:src|href)=.https?://(?!arxiv)", page)
    assert isinstance(report, MetricReport)
    assert page == render_metric(report)


def test_a_metric_without_a_unit_is_told_as_a_difference() -> None:
    gains = [
        Gain("trimmed-soup", against, None, None, "none", *values, seeds=3, n=60)
        for against, values in (("recalibrated", (0.05, 0.02, 0.08)), ("admissible", (-0.01, -0.02, -0.005)))
    ]
    assert judge(gains[0], gains, measure.other("r2")).statement == (
        "On test samples, R² of Trimmed soup (ours) is 0.0500 higher than that of the recalibrated ticket of the same "
        "density and 0.0100 lower than that of the best admissible ticket, averaged over 3 seeds."
    )


def test_runs_of_one_metric_are_compared(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, tmp_path / "again", ignore=shutil.ignore_patterns("*.lock"))
    settings_file = tmp_path / "again/config.toml"
    settings_file.write_text(settings_file.read_text().replace('name = "numbers"', 'name = "again"', 1))
    path, compared = reports.compare([finished, tmp_path / "again"], tmp_path / "comparison.html")
    page = path.read_text(encoding="utf-8")
    assert "Gain in R² on test" in page
    assert "percentage points of" not in page
    assert "Dense ticket (R²)" in page
    output.show_comparison(path, compared, as_json=True)
    runs = json.loads(capsys.readouterr().out)["runs"]
    dense = next(row for row in results.read_metrics(RunFolder(finished).results) if row.method == "ticket")
    assert [run["name"] for run in runs] == ["numbers", "again"]
    assert runs[0]["dense_metric"] == pytest.approx(dense.value, abs=1)
    output.show_comparison(path, compared, as_json=False)
    assert "(R², 95 % interval), and cost" in " ".join(capsys.readouterr().out.split())


def test_runs_of_different_metrics_are_not_compared(finished: Path, tmp_path: Path) -> None:
    stages.run(tiny(name="classes"), tmp_path / "classes", ONE)
    message = r"different metrics \(classes by accuracy, numbers by R²\): compare those of one"
    with pytest.raises(UserError, match=message):
        reports.compare([finished, tmp_path / "classes"], tmp_path / "comparison.html")
    assert not (tmp_path / "comparison.html").exists()


def test_what_needs_accuracies_is_refused_in_one_line(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^diagnose splits accuracies into their parts, .* is measured by R²: see its"):
        diagnose.diagnose(settings(finished.parent / "data"), finished, ONE)
    for act in (
        lambda: reports.publish(finished, tmp_path),
        lambda: reports.make(finished, reference=finished),
    ):
        with pytest.raises(UserError, match="is not measured by accuracy: `report` refers to and publishes"):
            act()


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
    (diagnosis,) = diagnose.diagnose(config, tmp_path / "run", ONE, points=3)
    check_diagnosis(diagnosis, report, torch.from_numpy(np.load(folder / "test_labels.npy")) > 0)
    assert "Where the gain comes from" in reports.make(tmp_path / "run")[0].read_text(encoding="utf-8")


def check_diagnosis(diagnosis: dict[str, Any], report: ReportContent, labels: torch.Tensor) -> None:
    """A diagnosis of several labels agrees with the rows: the ensemble, the parts of gains, and the gains by label."""
    rows = {(row.method, row.level): row for row in report.rows if row.split == "test"}
    together = diagnosis["ensemble"]
    assert together["correct"] == rows["ensemble", 0].correct
    assert 0 <= together["disagreement"] <= 1
    for parts in diagnosis["attribution"]:
        gain = rows[parts["method"], parts["level"]].accuracy - rows["ticket", parts["level"]].accuracy
        split = sum(parts[name] for name in ("batchnorm", "takeover", "averaging", "repruning"))
        assert split == pytest.approx(gain, abs=1e-9)
    (gains,) = (
        table["gains"] for table in diagnosis["classes"] if table["method"] == "uniform-soup" and not table["corrupted"]
    )
    hits = {key: values_of(row).astype(float) for key, row in rows.items()}
    change = sum(hits["uniform-soup", level] - hits["ticket", level] for level in (0, 1))
    for number, gain in enumerate(gains.values()):
        assert gain == pytest.approx(
            float(change[labels[:, number]].sum()) / (2 * int(labels[:, number].sum())), abs=1e-5
        )

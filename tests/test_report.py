"""Reports of folders: of a run, of what is published of it, of several; committed tables follow from committed rows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lottery_pools.config.schema import Evaluation
from lottery_pools.errors import UserError
from lottery_pools.experiment import diagnose, stages
from lottery_pools.experiment import report as reports
from lottery_pools.reporting import page
from lottery_pools.runs.disk import write
from tests.test_stages import ONE, tiny


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one seed."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    stages.run(tiny(), folder, ONE)
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds, under shifts."""
    folder = tmp_path_factory.mktemp("runs") / "several"
    evaluation = Evaluation(corruptions=("all",), severities=(1, 5), corrupted=100)
    stages.run(tiny(seeds=(0, 1), evaluation=evaluation), folder, ONE)
    return folder


def test_mce_is_told_only_beside_its_reference(several: Path) -> None:
    reports.make(several)
    assert "mCE" not in (several / "report.md").read_text()
    reports.make(several, several)
    assert "mCE by level (%, reference: the dense conv1d of tiny)" in (several / "report.md").read_text()


def test_a_published_run_makes_the_same_report_without_its_weights(several: Path, tmp_path: Path) -> None:
    for points in (2, 3):
        diagnoses = diagnose.diagnose(reports.read(several)[0], several, ONE, points)
    assert reports.report_of(several).diagnoses == diagnoses, "of two diagnoses the finer one"
    reports.make(several)
    reports.publish(several, tmp_path / "shared")
    files = {path.name for path in (tmp_path / "shared").iterdir()}
    assert files == {"config.toml", "results.jsonl.xz", "pools.jsonl", "diagnosis.json", "report.md"}
    assert reports.read(tmp_path / "shared") == reports.read(several)
    published = (tmp_path / "shared" / "report.md").read_bytes()
    assert published == (several / "report.md").read_bytes()
    reports.make(tmp_path / "shared")
    assert (tmp_path / "shared" / "report.md").read_bytes() == published
    assert (tmp_path / "shared" / "report.html").read_bytes() == (several / "report.html").read_bytes()


def test_a_run_is_not_published_into_a_run(several: Path, one: Path, tmp_path: Path) -> None:
    for folder in (several, several / "seed_0", one):
        with pytest.raises(UserError, match="holds a run: publish into a folder of its own"):
            reports.publish(several, folder)
        assert not (folder / "results.jsonl.xz").exists()
    reports.publish(one, tmp_path / "shared")
    reports.publish(several, tmp_path / "shared")


@pytest.mark.parametrize("written", range(4))
def test_a_publication_that_was_killed_is_made_by_the_next(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    left = iter(range(written))

    def killed(*arguments: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(reports, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            reports.publish(one, tmp_path / "shared")
    assert len(list((tmp_path / "shared").glob("*"))) == written
    reports.publish(one, tmp_path / "shared")
    assert reports.read(tmp_path / "shared") == reports.read(one)


def test_a_damaged_diagnosis_is_named(one: Path, tmp_path: Path) -> None:
    reports.publish(one, tmp_path)
    for content in ("[", "3", "[{}]"):
        (tmp_path / "diagnosis.json").write_text(content)
        with pytest.raises(UserError, match=r"diagnosis\.json is no(t JSON| diagnosis)"):
            reports.report_of(tmp_path)


def test_a_diagnosis_that_not_every_seed_has_is_not_told(several: Path, tmp_path: Path) -> None:
    shutil.copytree(several, tmp_path / "run")
    diagnose.diagnose(reports.read(several)[0], tmp_path / "run", ONE, points=2)
    reports.publish(tmp_path / "run", tmp_path / "shared")
    for path in (tmp_path / "run/seed_1").glob("diagnosis_*.json"):
        path.unlink()
    assert reports.report_of(tmp_path / "run").diagnoses == []
    reports.publish(tmp_path / "run", tmp_path / "shared")
    assert not (tmp_path / "shared/diagnosis.json").exists()


def test_runs_are_compared_on_one_page(several: Path, one: Path, tmp_path: Path) -> None:
    out, compared = reports.compare([one, several], tmp_path / "both.html")
    assert list(compared) == [f"tiny ({one})", f"tiny ({several})"]
    text = out.read_text(encoding="utf-8")
    assert "Comparison of 2 runs" in text
    assert str(several) in text
    with pytest.raises(UserError, match="named twice"):
        reports.compare([one, one], tmp_path / "both.html")


RESULTS = sorted((Path(__file__).parents[1] / "docs/results").glob("*/report.md"))


@pytest.mark.parametrize("report", RESULTS, ids=lambda path: path.parent.name)
def test_committed_tables_follow_from_committed_rows(report: Path) -> None:
    assert page.markdown(reports.report_of(report.parent)) == report.read_text(encoding="utf-8")


def test_the_methods_of_a_report_gain_over_the_levels_that_they_are_compared_at() -> None:
    """Only level 0 was pooled there: the ensemble's gain beside theirs is that of level 0, not of nine levels."""
    report = reports.report_of(Path(__file__).parents[1] / "docs/results/cifar10-longer")
    at = {(g.method, g.level): g.gain for g in report.gains if (g.against, g.corruption) == ("recalibrated", "none")}
    shown = {g.method: g.gain for g in report.comparable if g.against == "recalibrated"}
    assert shown["ensemble"] == pytest.approx(at["ensemble", 0], abs=1e-3)
    assert shown["ensemble"] != pytest.approx(at["ensemble", None], abs=0.5)
    assert {method for method, level in at if level == 0} == set(shown)

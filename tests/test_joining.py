"""Runs of one experiment that were made apart are published as the run that has all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools.cli import commands
from lottery_pools.config.schema import Config, Evaluation, Pooling
from lottery_pools.errors import UserError
from lottery_pools.experiment import joining, stages
from lottery_pools.experiment import report as reports
from tests.test_stages import ONE, tiny

METHODS = ("sparser-soup", "trimmed-soup")
CLEAN = Evaluation()
SHIFTED = Evaluation(corruptions=("shear",), severities=(2,), corrupted=20)


def settings(seeds: tuple[int, ...], methods: tuple[str, ...], evaluation: Evaluation = CLEAN) -> Config:
    return replace(tiny(seeds=seeds), pooling=Pooling(methods=methods), evaluation=evaluation)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the whole experiment, each seed by itself, and the first seed with another baseline."""
    root = tmp_path_factory.mktemp("apart")
    stages.run(settings((0, 1), METHODS), root / "whole", ONE)
    for seed in (0, 1):
        stages.run(settings((seed,), METHODS), root / f"seed-{seed}", ONE)
    stages.run(settings((0,), METHODS[:1], replace(SHIFTED, trained_baselines=("lawa",))), root / "more", ONE)
    return root


def test_seeds_that_were_run_apart_are_published_as_if_together(apart: Path, tmp_path: Path) -> None:
    reports.publish(apart / "whole", tmp_path / "whole")
    joining.publish([apart / "seed-1", apart / "seed-0"], tmp_path / "joined")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "joined").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "joined" / name).read_bytes(), name


def test_methods_baselines_and_corruptions_add_up(apart: Path, tmp_path: Path) -> None:
    reports.publish(apart / "seed-0", tmp_path / "published")
    content = joining.publish([tmp_path / "published", apart / "more"], tmp_path / "joined")
    assert content.config.pooling.methods == METHODS
    assert content.config.evaluation == replace(SHIFTED, trained_baselines=("lawa",))
    assert content.config.seeds == (0,)
    first, second = (reports.read(apart / name)[1] for name in ("seed-0", "more"))
    assert {row.key for row in content.rows} == {row.key for row in (*first, *second)}
    assert len({row.key for row in content.rows}) == len(content.rows)
    assert reports.read(tmp_path / "joined")[1] == list(content.rows)


def test_the_command_writes_the_report_of_all(apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(apart / "seed-0"), str(apart / "seed-1")]
    commands.dispatch(["report", *folders, "--publish", str(tmp_path / "joined")])
    assert f"Report: {tmp_path / 'joined/report.html'}" in capsys.readouterr().out
    commands.dispatch(["report", str(apart / "whole"), "--out", str(tmp_path / "whole.html")])
    assert (tmp_path / "joined/report.md").read_bytes() == (tmp_path / "whole.md").read_bytes()


def changed(folder: Path, to: Path, before: str, after: str) -> Path:
    """A published copy of a run with other settings."""
    reports.publish(folder, to)
    text = (to / "config.toml").read_text(encoding="utf-8")
    assert before in text
    (to / "config.toml").write_text(text.replace(before, after), encoding="utf-8")
    return to


def test_what_is_not_of_one_experiment_is_refused(apart: Path, tmp_path: Path) -> None:
    first = apart / "seed-0"
    other = changed(apart / "seed-1", tmp_path / "other", "epochs = 2", "epochs = 3")
    with pytest.raises(UserError, match=r"not of one experiment: the first has training.epochs = 3, not 2"):
        joining.publish([first, other], tmp_path / "joined")
    few = changed(apart / "more", tmp_path / "few", "corrupted = 20", "corrupted = 10")
    with pytest.raises(UserError, match=r"evaluation.corrupted = 20, not 10"):
        joining.publish([few, apart / "more"], tmp_path / "joined")
    batches = changed(apart / "more", tmp_path / "batches", "batch = 500", "batch = 100")
    with pytest.raises(UserError, match=r"evaluation.batch = 100, not 500"):
        joining.publish([first, batches], tmp_path / "joined")
    with pytest.raises(UserError, match="named twice"):
        joining.publish([first, apart / "seed-1", first], tmp_path / "joined")
    with pytest.raises(UserError, match="is one of the folders: publish into a folder of its own"):
        joining.publish([few, apart / "seed-1"], few)
    with pytest.raises(UserError, match="holds a run: publish into a folder of its own"):
        joining.publish([first, apart / "seed-1"], apart / "whole")
    assert not (tmp_path / "joined").exists()


def test_other_results_for_the_same_network_are_refused(apart: Path) -> None:
    content = reports.held(apart / "seed-0")
    other = [replace(content.rows[-1], correct=content.rows[-1].correct - 1)]
    with pytest.raises(UserError, match=r"a and b have other results for the same network \(seed 0 .*leave one out"):
        joining.joined({Path("a"): content, Path("b"): replace(content, rows=other)})
    pool = [replace(content.pools[0], steps=((0, 0.1),))]
    with pytest.raises(UserError, match="other results for the same network"):
        joining.joined({Path("a"): content, Path("b"): replace(content, rows=(), pools=pool)})


def test_other_images_are_refused(apart: Path) -> None:
    content = reports.held(apart / "seed-0")
    images = replace(content.config, data=replace(content.config.data, name="cifar10"))
    of_first = replace(content, config=images, rows=[replace(row, data="a") for row in content.rows])
    of_other = replace(
        content, config=replace(images, seeds=(1,)), rows=[replace(row, seed=1, data="b") for row in content.rows]
    )
    with pytest.raises(UserError, match="a and b were measured on other data: leave one out"):
        joining.joined({Path("a"): of_first, Path("b"): of_other})
    joining.joined(
        {Path("a"): of_first, Path("b"): replace(of_other, rows=[replace(row, data="a") for row in of_other.rows])}
    )

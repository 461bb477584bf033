"""Opening: settings are resolved once, to the same for all commands; the folder is held with its settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Evaluation
from lottery_pools.errors import Notice, UserError
from lottery_pools.experiment import opening, replay, searches, stages
from lottery_pools.experiment import report as reports
from lottery_pools.experiment.run import OtherRun
from lottery_pools.experiment.searches import OTHER_RUN
from lottery_pools.pooling.methods import defaults
from lottery_pools.runs import results
from lottery_pools.runs.folder import lock
from lottery_pools.tickets import files
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES
from tests.test_stages import ONE, hashes, tiny

FEW = Evaluation(corrupted=50)


def asking(methods: tuple[str, ...], evaluation: Evaluation = FEW, **pooling: object) -> Config:
    settings = dataclasses.replace(tiny().pooling, methods=methods, **pooling)  # type: ignore[arg-type]
    return tiny(pooling=settings, evaluation=evaluation, seeds=(0, 1))


@pytest.fixture
def opened_before(tmp_path: Path) -> Path:
    """A folder that was given settings, with one run below it that was given more."""
    shear = Evaluation(corruptions=("shear",), severities=(2,), corrupted=50, trained_baselines=("sparse-model-soups",))
    experiment = opening.resolve(asking(("average",), shear, targets=(1,)), tmp_path / "run", ONE)
    with opening.hold(experiment):
        pass
    more = toml.read_toml(tmp_path / "run/seed_1/config.toml")
    more = dataclasses.replace(more, pooling=dataclasses.replace(more.pooling, methods=("average", "ties")))
    (tmp_path / "run/seed_1/config.toml").write_text(toml.to_toml(more))
    return tmp_path / "run"


def test_what_is_asked_for_is_joined_with_what_the_folder_was_given(opened_before: Path) -> None:
    scale = Evaluation(corruptions=("scale",), severities=(1,), corrupted=50, trained_baselines=("swa-training",))
    before = hashes(opened_before)
    experiment = opening.resolve(asking(("swa",), scale, budget=10**6), opened_before, ONE)
    assert hashes(opened_before) == before
    assert experiment.methods == ("swa",)
    assert experiment.config.pooling.methods == ("average", "swa")
    assert experiment.config.evaluation == Evaluation(
        trained_baselines=("sparse-model-soups", "swa-training"),
        corruptions=("shear", "scale"),
        severities=(1, 2),
        corrupted=50,
    )
    for run in experiment.runs:
        assert run.config == dataclasses.replace(experiment.config, seeds=(run.seed,))
        assert (run.targets, run.config.pooling.budget) == ((0, 1, 2), 10**6)  # those of this call
    assert [run.config.name for run in experiment.trained_baselines] == ["sparse-model-soups", "swa-training"] * 2


def test_without_methods_a_folder_keeps_its_own_and_a_new_one_has_those_of_the_task(tmp_path: Path) -> None:
    unnamed = asking(())
    assert opening.resolve(unnamed, tmp_path / "new", ONE).methods == defaults("single-label")
    assert defaults("single-label") == ("average", "interpolation", "trimmed-soup", "balanced-soup")
    assert defaults("multi-label") == defaults("regression") == ("average", "interpolation", "trimmed-soup")
    with opening.hold(opening.resolve(asking(("swa", "ties")), tmp_path / "old", ONE)):
        pass
    assert opening.resolve(unnamed, tmp_path / "old", ONE).methods == ("swa", "ties")


def test_a_notice_says_which_methods_choose_on_what_was_trained_on(tmp_path: Path) -> None:
    config = asking(("swa", "sparser-soup", "fisher"))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, train_on_validation=True))
    with pytest.warns(Notice, match="the samples by which swa would choose; sparser-soup does without"):
        opening.resolve(config, tmp_path / "run", ONE)
    unnamed = dataclasses.replace(config, pooling=dataclasses.replace(config.pooling, methods=()))
    assert opening.resolve(unnamed, tmp_path / "run", ONE).methods == ("sparser-soup",)


def test_what_is_written_adds_up_and_keeps_targets_and_budget(opened_before: Path) -> None:
    experiment = opening.resolve(asking(("swa",), budget=10**6), opened_before, ONE)
    with opening.hold(experiment):
        written = [toml.read_toml(path / "config.toml") for path in (opened_before, opened_before / "seed_1")]
        assert [config.pooling.methods for config in written] == [("average", "swa"), ("average", "ties", "swa")]
        assert {(config.pooling.targets, config.pooling.budget) for config in written} == {((1,), None)}
    stamps = {path: path.stat().st_mtime_ns for path in opened_before.rglob("config.toml")}
    with opening.hold(opening.resolve(asking(("swa",)), opened_before, ONE)):
        assert stamps == {path: path.stat().st_mtime_ns for path in opened_before.rglob("config.toml")}


def test_other_settings_of_any_folder_are_refused_before_anything_is_written(opened_before: Path) -> None:
    file = opened_before / "seed_1/config.toml"
    file.write_text(file.read_text().replace("rate = 0.3", "rate = 0.4"))
    before = hashes(opened_before)
    for command in (stages.run, stages.tickets, stages.pool, stages.evaluate, stages.preview):
        with pytest.raises(UserError, match=r"seed_1 holds a run with pruning\.rate = 0\.4, not 0\.3"):
            command(asking(("swa",)), opened_before, ONE)
    assert hashes(opened_before) == before


def test_a_folder_that_is_held_or_has_just_changed_is_left_alone(opened_before: Path) -> None:
    experiment = opening.resolve(asking(("swa",)), opened_before, ONE)
    with lock(opened_before), pytest.raises(UserError, match="another process works on"), opening.hold(experiment):
        pass
    with opening.hold(opening.resolve(asking(("ties",)), opened_before, ONE)):
        pass
    changed = pytest.raises(UserError, match=r"has just changed .*config\.toml: run the same again")
    with changed, opening.hold(experiment):
        pass
    assert toml.read_toml(opened_before / "config.toml").pooling.methods == ("average", "ties")


def test_each_seed_has_the_next_as_its_sibling(tmp_path: Path) -> None:
    runs = opening.resolve(tiny(seeds=(3, 1, 2)), tmp_path / "run", ONE).runs
    assert [run.sibling and run.sibling.path.name for run in runs] == ["seed_1", "seed_2", "seed_3"]
    (alone,) = opening.resolve(tiny(), tmp_path / "run", ONE).runs
    assert (alone.sibling, alone.folder.path) == (None, tmp_path / "run")


def test_each_seed_may_draw_samples_of_its_own(tmp_path: Path) -> None:
    config = asking(("average",))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, draw="per-seed", seed=7))
    runs = opening.resolve(config, tmp_path, ONE).runs
    assert [run.config.data.seed for run in runs] == [7, 8]
    assert not torch.equal(runs[0].dataset.validation.images, runs[1].dataset.validation.images)
    single = dataclasses.replace(config, seeds=(1,))
    experiment = opening.resolve(single, tmp_path / "single", ONE)
    with opening.hold(experiment):
        pass
    reopened = opening.resolve(toml.of_folder(tmp_path / "single"), tmp_path / "single", ONE)
    assert reopened.runs[0].config == experiment.runs[0].config == runs[1].config


def test_a_control_must_not_see_what_a_seed_holds_out(tmp_path: Path) -> None:
    config = asking(("other-seed",))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, draw="per-seed"))
    with pytest.raises(UserError, match=r"trained on samples that this seed holds out: give data.draw once"):
        opening.resolve(config, tmp_path, ONE)


def test_the_control_pools_with_a_run_that_has_all_tickets(tmp_path: Path) -> None:
    stages.tickets(tiny(seeds=(5,)), tmp_path / "other", ONE)
    experiment = opening.resolve(tiny(), tmp_path / "run", ONE, OtherRun(tmp_path / "other", True))
    assert experiment.methods == (OTHER_RUN,)
    search = searches.find(experiment.runs[0], OTHER_RUN)
    assert (search.method.name, search.candidates.path) == ("interpolation", tmp_path / "other")
    assert search.allow_other_run
    with pytest.raises(UserError, match="has no ticket of level 0"):
        opening.resolve(tiny(), tmp_path / "run", ONE, OtherRun(tmp_path / "none"))


def test_retired_baselines_are_kept_where_they_are_and_refused_where_they_are_new(tmp_path: Path) -> None:
    retired = tiny(evaluation=Evaluation(trained_baselines=("sms",)))
    with pytest.raises(UserError, match=r"'sms' was not as published and is gone: give sparse-model-soups"):
        opening.resolve(retired, tmp_path / "run", ONE)
    stages.tickets(tiny(), tmp_path / "run", ONE)
    (tmp_path / "run/config.toml").write_text(toml.to_toml(retired))
    old = opening.resolve(retired, tmp_path / "run", ONE)
    assert (old.config.evaluation.trained_baselines, old.trained_baselines) == (("sms",), ())
    more = tiny(evaluation=Evaluation(trained_baselines=("swa-training",)))
    assert [run.config.name for run in opening.resolve(more, tmp_path / "run", ONE).trained_baselines] == [
        "swa-training"
    ]


def test_retired_methods_are_kept_where_they_are_and_refused_where_they_are_new(tmp_path: Path) -> None:
    retired = tiny(pooling=dataclasses.replace(tiny().pooling, methods=("average", "best")))
    refused = r"method 'best' \(the trimmed soup, .*\) is retired: trimmed-soup is nearest to it"
    for command in (stages.run, stages.pool, stages.evaluate):
        with pytest.raises(UserError, match=refused):
            command(retired, tmp_path / "run", ONE)
    stages.run(tiny(pooling=dataclasses.replace(tiny().pooling, methods=("average",))), tmp_path / "run", ONE)
    (tmp_path / "run/config.toml").write_text(toml.to_toml(retired))
    rows = tmp_path / "run/results.jsonl"
    left = [dataclasses.replace(row, method="best") for row in results.read(rows) if row.method == "average"]
    results.append(rows, left)
    for command in (stages.run, stages.pool, stages.evaluate):  # with the settings of the folder
        with pytest.warns(Notice, match=refused + "; the rows that it has stay as they are"):
            command(retired, tmp_path / "run", ONE)
    more = tiny(pooling=dataclasses.replace(tiny().pooling, methods=("swa",)))
    stages.run(more, tmp_path / "run", ONE)
    assert toml.read_toml(tmp_path / "run/config.toml").pooling.methods == ("average", "best", "swa")
    assert {path.name for path in (tmp_path / "run/pools").iterdir()} == {"average", "swa"}
    assert [row for row in results.read(rows) if row.method == "best"] == left
    assert "Best (ours, retired)" in reports.make(tmp_path / "run")[0].read_text()


def test_a_pool_of_a_retired_method_is_not_replayed(tmp_path: Path) -> None:
    stages.tickets(tiny(), tmp_path / "run", ONE)
    stages.pool(tiny(pooling=dataclasses.replace(tiny().pooling, methods=("ties",))), tmp_path / "run", ONE)
    pool = files.load(tmp_path / "run/pools/ties/level_01.safetensors")
    old = tmp_path / "run/pools/dare/level_01.safetensors"
    old.parent.mkdir()
    files.save(dataclasses.replace(pool, origin={**pool.origin, "method": "dare"}), old)
    for search in (False, True):
        with pytest.raises(UserError, match=r"^method 'dare' \(differences .*\) is retired: ties is nearest to it$"):
            replay.replay(old, search=search)


def test_unknown_trained_baselines_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown trained baseline"):
        opening.resolve(tiny(evaluation=Evaluation(trained_baselines=("longr",))), tmp_path / "run", ONE)
    everything = Evaluation(trained_baselines=tuple(TRAINED_BASELINES))
    runs = opening.resolve(tiny(evaluation=everything), tmp_path / "run", ONE).trained_baselines
    assert {run.folder.path.parent.name for run in runs} == {"trained_baselines", "longer", "rigl"}


def test_baselines_in_a_folder_with_its_former_name_are_not_trained_again(tmp_path: Path) -> None:
    config = tiny(evaluation=Evaluation(trained_baselines=("sparse-model-soups",)))
    run = tmp_path / "run"
    stages.tickets(config, run, ONE)
    before = hashes(run)
    (run / "trained_baselines").rename(run / "competitors")
    stages.tickets(config, run, ONE)
    assert not (run / "trained_baselines").exists()
    assert {name.replace("competitors", "trained_baselines"): digest for name, digest in hashes(run).items()} == before


def test_methods_that_draw_classes_are_for_single_labels(tmp_path: Path) -> None:
    config = asking(("fisher",))
    data = dataclasses.replace(config.data, name=str(tmp_path), task="multi-label")
    config = dataclasses.replace(config, data=data, evaluation=Evaluation())
    with pytest.raises(UserError, match=r"method fisher draws classes from predictions, data\.task is multi-label"):
        opening.resolve(config, tmp_path / "run", ONE)

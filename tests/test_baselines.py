"""Trained baselines are trained, pooled and measured beside the tickets of a run."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from lottery_pools.config import toml
from lottery_pools.config.schema import Evaluation, Pooling
from lottery_pools.errors import Notice, UserError
from lottery_pools.experiment import baselines, opening, replay, stages
from lottery_pools.experiment import report as reports
from lottery_pools.experiment.baselines import POOLED_BY
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import TUNED
from lottery_pools.tickets import files, held_out
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES
from tests.test_stages import ONE, hashes, tiny


def test_training_longer_is_tried_for_the_targets_only(tmp_path: Path) -> None:
    config = tiny(
        evaluation=Evaluation(trained_baselines=("longer",)), pooling=Pooling(methods=("average",), targets=(1,))
    )
    stages.run(config, tmp_path / "run", ONE)
    _, rows, _ = reports.read(tmp_path / "run")
    assert {row.level for row in rows if row.method == "longer"} == {1}
    assert [path.name for path in (tmp_path / "run/trained_baselines/longer").iterdir()] == ["level_01"]
    (tmp_path / "run/results.jsonl").unlink()
    everywhere = toml.of_folder(tmp_path / "run")
    everywhere = dataclasses.replace(everywhere, pooling=dataclasses.replace(everywhere.pooling, targets=()))
    with pytest.warns(Notice, match=r"baselines/longer: levels 0, 2 are not trained, and are not measured"):
        stages.evaluate(everywhere, tmp_path / "run", ONE)
    _, measured_again, _ = reports.read(tmp_path / "run")
    assert sorted(measured_again, key=str) == sorted(rows, key=str)
    shutil.rmtree(tmp_path / "run/trained_baselines/longer/level_01")
    with pytest.raises(UserError, match="level_00 has 0 of 1 tickets: train them first"):
        stages.evaluate(everywhere, tmp_path / "run", ONE)


def test_the_last_ticket_is_the_one_that_is_trained_for_longer(tmp_path: Path) -> None:
    """As much as all tickets cost together, the last one costs by itself."""
    stages.tickets(tiny(evaluation=Evaluation(trained_baselines=("longer",))), tmp_path / "run", ONE)
    longest = tmp_path / "run/trained_baselines/longer/level_02/tickets/level_02.safetensors"
    digests = [files.tensors_digest(path) for path in (longest, tmp_path / "run/tickets/level_02.safetensors")]
    assert digests[0] == digests[1]


def test_trained_baselines_are_trained_beside_the_tickets_and_measured_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "STEPS", 30)
    trained_baselines = Evaluation(trained_baselines=(*TRAINED_BASELINES, *TUNED))
    stages.run(tiny(evaluation=trained_baselines), tmp_path / "run", ONE)
    _, rows, _ = reports.read(tmp_path / "run")
    assert {(row.method, row.level) for row in rows if row.method in TRAINED_BASELINES} == {
        (name, level) for name in TRAINED_BASELINES for level in range(3)
    }
    images = {(row.method, row.level): row.train_images for row in rows}
    assert images["longer", 0] > images["ticket", 0]
    assert images["swa-training", 2] == images["held-out-training", 2] == images["ticket", 2]
    # up to four rates, each ten passes over 134 samples, and ten over all 200 where one of them helps
    assert images["tuned-ticket", 2] - images["ticket", 2] in (4 * 10 * 134, 4 * 10 * 134 + 10 * 200)
    searched = {(row.method, row.level): row.search_images for row in rows}
    assert searched["tuned-pool", 1] == searched["trimmed-soup", 1] + searched["tuned-ticket", 1]
    pools = [name for name in images if "+" in name[0]]
    assert pools == [
        (f"{name}+{m}", level) for name, methods in POOLED_BY.items() for m in methods for level in range(3)
    ]
    assert images["held-out-training+sparser-soup", 0] == images["ticket", 2]
    pooled = RunFolder(tmp_path / "run/trained_baselines/learning-rate-rewinding").pool("trimmed-soup", 1)
    assert replay.replay(pooled) is None
    for name in TUNED:
        tuned = files.load(RunFolder(tmp_path / "run").tuned(name, 1))
        assert (tuned.kept, tuned.level) == (files.load(RunFolder(tmp_path / "run").ticket(1)).kept, 1)
    assert {row.density for row in rows if row.level == 2} == {
        row.density for row in rows if row.method == "sparse-model-soups"
    } - {row.density for row in rows if row.level < 2}
    before = hashes(tmp_path / "run")
    stages.run(tiny(evaluation=trained_baselines), tmp_path / "run", ONE)
    assert hashes(tmp_path / "run") == before
    with pytest.raises(UserError, match="unknown trained baseline 'longr': did you mean 'longer'"):
        stages.run(tiny(evaluation=Evaluation(trained_baselines=("longr",))), tmp_path / "run", ONE)


def test_pools_of_trained_baselines_fit_the_task(tmp_path: Path) -> None:
    config = tiny(evaluation=Evaluation(trained_baselines=("learning-rate-rewinding", "held-out-training")))
    run = opening.resolve(config, tmp_path / "run", ONE).runs[0]
    assert set(baselines.pools(run).values()) == {(name, m) for name, methods in POOLED_BY.items() for m in methods}
    data = dataclasses.replace(config.data, name="folder", task="multi-label")
    several_labels = dataclasses.replace(run, config=dataclasses.replace(config, data=data))
    assert tuple(baselines.pools(several_labels).values()) == (
        *(("learning-rate-rewinding", method) for method in ("interpolation", "trimmed-soup")),
        ("held-out-training", "sparser-soup"),
    )

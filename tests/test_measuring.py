"""What a run measures of its networks: the best admissible ticket, and the ensemble of all tickets."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from lottery_pools.experiment import measuring, opening, stages
from lottery_pools.experiment.conditions import CLEAN
from lottery_pools.runs.rows import ENSEMBLE, Row
from tests.test_stages import ONE, tiny


def test_the_best_admissible_ticket_is_chosen_on_validation_among_the_sparser() -> None:
    def row(level: int, split: str, accuracy: float) -> Row:
        return Row(
            "r", 0, "recalibrated", level, 0.5**level, split, "none", 0, 10, round(10 * accuracy), 1.0, accuracy, 0.1,
            level, 1, 1, 1, "",
        )  # fmt: skip

    scores = {0: (0.5, 0.9), 1: (0.7, 0.1), 2: (0.7, 0.2), 3: (0.6, 0.8)}  # level: validation, test
    rows = [
        row(level, split, s)
        for level, pair in scores.items()
        for split, s in zip(("validation", "test"), pair, strict=True)
    ]
    admissible = measuring.admissible(rows)
    assert {r.level: r.source for r in admissible} == {0: 1, 1: 1, 2: 2, 3: 3}
    assert [r.accuracy for r in admissible if r.split == "test"] == [0.1, 0.1, 0.2, 0.8]
    assert measuring.admissible(rows + admissible) == []


def test_an_ensemble_far_apart_has_a_finite_loss_and_counts_its_recalibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.tickets(tiny(), tmp_path, ONE)
    (run,) = opening.resolve(tiny(), tmp_path, ONE).runs
    (row, *_) = measuring.measure(run, ENSEMBLE, 0, CLEAN[:1])
    assert row.search_images == 3 * 100
    labels = run.dataset.validation.labels
    wrong = 200.0 * nn.functional.one_hot((labels + 1) % 10, 10)
    monkeypatch.setattr(measuring, "logits", lambda *_: wrong)
    (row, *_) = measuring.measure(run, ENSEMBLE, 0, CLEAN[:1])
    assert row.loss == pytest.approx(200)

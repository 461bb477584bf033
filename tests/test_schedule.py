from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from lottery_pools.config.schema import Config, Pruning, Training
from lottery_pools.errors import UserError
from lottery_pools.tickets.schedule import learning_rate, rewind_step, steps_per_epoch


@pytest.mark.parametrize(
    ("settings", "points"),
    [
        (
            Training(epochs=10, lr=0.2, milestones=(4, 8), warmup=2),
            {0: 0.0, 0.5: 0.05, 1: 0.1, 2: 0.2, 3.99: 0.2, 4: 0.02, 7.99: 0.02, 8: 0.002, 9.99: 0.002},
        ),
        (Training(epochs=10, lr=0.2, milestones=(2.5,), gamma=0.5), {0: 0.2, 2.4: 0.2, 2.5: 0.1}),
        (Training(epochs=10, lr=0.2, schedule="cosine"), {0: 0.2, 2.5: 0.1 + 0.1 / math.sqrt(2), 5: 0.1, 10: 0.0}),
        (Training(epochs=10, lr=0.2, schedule="cosine", warmup=2), {0: 0.0, 1: 0.1, 2: 0.2, 6: 0.1, 10: 0.0}),
        (
            Training(epochs=10, lr=0.5, schedule="one-cycle", warmup=3),
            {0: 0.02, 1.5: 0.26, 3: 0.5, 6.5: 0.25, 10: 0.0},
        ),
        (Training(epochs=10, lr=0.2, schedule="constant", warmup=1), {0: 0.0, 0.5: 0.1, 1: 0.2, 9.9: 0.2}),
    ],
)
def test_learning_rates(settings: Training, points: dict[float, float]) -> None:
    for epoch, expected in points.items():
        assert learning_rate(settings, epoch) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("samples", "batch", "steps"),
    [(128, 128, 1), (129, 128, 1), (130, 128, 2), (257, 128, 2), (5, 128, 1), (1, 128, 1), (6, 2, 3), (3, 1, 3)],
)
def test_steps_per_epoch(samples: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(samples, batch) == steps


@pytest.mark.parametrize(
    ("rewind", "unit", "step"), [(0, "epochs", 0), (2, "epochs", 6), (0, "steps", 0), (2, "steps", 2), (8, "steps", 8)]
)
def test_the_rewind_point_is_counted_in_epochs_or_steps(rewind: int, unit: Any, step: int) -> None:
    config = Config(
        training=Training(epochs=3, batch=16, milestones=()), pruning=Pruning(rewind=rewind, rewind_unit=unit)
    )
    assert rewind_step(config, 40) == step  # three steps an epoch


def test_a_rewind_point_after_the_last_step() -> None:
    config = Config(training=Training(epochs=3, batch=16), pruning=Pruning(rewind=9, rewind_unit="steps"))
    with pytest.raises(UserError, match=r"^pruning\.rewind is step 9: training has only 9 steps$"):
        rewind_step(config, 40)
    assert rewind_step(replace(config, training=replace(config.training, epochs=4)), 40) == 9

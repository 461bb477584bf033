from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lottery_pools.config.schema import Config, Pruning, Training
from lottery_pools.errors import UserError
from lottery_pools.tickets import training_costs
from tests.test_imp import CONFIG, pruned, run


@pytest.mark.parametrize(
    ("copies", "unit", "after"),
    [
        (1, "epochs", "rewind"),
        (2, "steps", "rewind"),
        (2, "epochs", "learning-rate"),
        (2, "epochs", "fine-tune"),
        (2, "steps", "reinitialise"),
    ],
)
@pytest.mark.parametrize("level_epochs", [None, 2])
def test_what_tickets_cost_is_known_beforehand(
    tmp_path: Path, after: Any, unit: Any, copies: int, level_epochs: int | None
) -> None:
    config = pruned(after=after, rewind_unit=unit, rewind=1, fine_tune_epochs=2, levels=2, copies=copies)
    config = replace(config, pruning=replace(config.pruning, level_epochs=level_epochs))
    costs = [ticket.origin["train_images"] for ticket in run(config, tmp_path)]
    assert costs == [training_costs.train_images(config, 40, level) for level in range(3)]


@pytest.mark.parametrize(("samples", "an_epoch"), [(40, 40), (33, 32), (10, 10)])
def test_images_of_an_epoch(samples: int, an_epoch: int) -> None:
    assert training_costs.train_images(CONFIG, samples, 0) == 3 * an_epoch


PAPER = Config()


@pytest.mark.parametrize(
    ("after", "setting", "epochs", "images"),
    [
        ("rewind", "level_epochs", 15, 126_000),  # the dense 30 and 4 levels of 2 × 12 epochs, from a fifth of 15
        ("fine-tune", "fine_tune_epochs", 12, 126_000),
        ("reinitialise", "level_epochs", 12, 126_000),
    ],
)
def test_equal_cost_by_hand(after: Any, setting: str, epochs: int, images: int) -> None:
    config = replace(
        PAPER,
        training=Training(epochs=30, milestones=(15.0, 24.0), warmup=3.0),
        pruning=Pruning(rewind=6, levels=4, fine_tune_epochs=8, after=after, copies=2),
    )
    budget = 126_000  # of one copy a level: 30 + 4 · 24 epochs
    shorter = training_costs.equal_cost(config, budget, 1000)
    changes: dict[str, Any] = {setting: epochs}
    assert shorter == replace(config, pruning=replace(config.pruning, **changes))
    assert training_costs.train_images(shorter, 1000, 4) == images


def test_longer_by_hand() -> None:
    long = training_costs.longer(PAPER, 5, 45000)  # 182 + 18 · 173 = 3296 epochs; 573 + 5 · 545 = 3298
    assert training_costs.train_images(PAPER, 45000, 18) == 3296 * 45000
    assert (long.training.epochs, long.pruning.rewind, long.pruning.levels) == (573, 28, 5)
    assert long.pooling.targets == (5,)
    assert long.training.milestones == (91 * 573 / 182, 136 * 573 / 182)
    dense = training_costs.longer(PAPER, 0, 45000)
    assert (dense.training.epochs, dense.pruning.levels, dense.pooling.targets) == (3296, 0, (0,))
    last = training_costs.longer(PAPER, 18, 45000)
    assert replace(last, pooling=PAPER.pooling) == PAPER


@pytest.mark.parametrize("level", [-1, 4])
def test_longer_for_a_level_that_is_not_there(level: int) -> None:
    with pytest.raises(UserError) as error:
        training_costs.longer(CONFIG, level, 40)
    assert str(error.value) == f"level {level} cannot be trained for longer: this run has levels 0 to 3"


@settings(max_examples=30)
@given(
    epochs=st.integers(20, 60),
    rewind=st.integers(0, 19),
    levels=st.integers(1, 12),
    after=st.sampled_from(["rewind", "learning-rate", "fine-tune", "reinitialise"]),
    copies=st.integers(1, 5),
    data=st.data(),
)
def test_costs_are_equal_to_half_an_epoch_a_network(
    epochs: int, rewind: int, levels: int, after: Any, copies: int, data: st.DataObject
) -> None:
    config = replace(
        PAPER,
        training=Training(epochs=epochs, milestones=(epochs / 2,)),
        pruning=Pruning(rewind=rewind, levels=levels, after=after, fine_tune_epochs=epochs // 2),
    )
    whole = training_costs.train_images(config, 1000, levels)
    several = replace(config, pruning=replace(config.pruning, copies=copies))
    copied = training_costs.equal_cost(several, whole, 1000)
    least = training_costs.train_images(replace(copied, pruning=replace(copied.pruning, levels=0)), 1000, 0)
    assert least == epochs * 1000  # the dense network has its full training
    # half an epoch a network, half a step's rounding of its start, and no network without an epoch
    assert abs(training_costs.train_images(copied, 1000, levels) - whole) <= 1000 * levels * copies
    assert copied.training == config.training
    level = data.draw(st.integers(0, levels))
    long = training_costs.longer(config, level, 1000)
    assert long.training.epochs >= epochs
    assert abs(training_costs.train_images(long, 1000, level) - whole) <= 500 * (1 + level)

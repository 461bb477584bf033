"""Settings derived from others: a limit cuts what it says, and any limit of any settings holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.config import toml, variants
from lottery_pools.config.schema import Config, Data, Evaluation, Pruning, Training
from lottery_pools.errors import UserError
from lottery_pools.tickets import training_costs


def test_a_limit_cuts_samples_and_epochs_and_nothing_else() -> None:
    full = toml.preset("imagenet-resnet34")
    short = variants.limited(full, 40)
    assert short.name == "imagenet-resnet34-limit-40"
    assert (short.data.train, short.data.validation, short.data.test) == (40, 40, 40)
    assert short.evaluation == dataclasses.replace(full.evaluation, corrupted=40)
    assert short.training == dataclasses.replace(
        full.training, epochs=2, warmup=5 * 2 / 90, milestones=(30 * 2 / 90, 60 * 2 / 90, 80 * 2 / 90)
    )
    assert short.pruning == dataclasses.replace(full.pruning, rewind=1, fine_tune_epochs=1)
    assert (short.model, short.pooling, short.seeds) == (full.model, full.pooling, full.seeds)


@given(
    n=st.integers(2, 10**5),
    epochs=st.integers(1, 200),
    rewind=st.integers(0, 10**4),
    unit=st.sampled_from(["epochs", "steps"]),
    batch=st.integers(1, 1024),
    train=st.none() | st.integers(1, 10**5),
    corrupted=st.none() | st.integers(1, 10**5),
)
def test_any_limit_of_any_settings_holds(
    n: int, epochs: int, rewind: int, unit: Any, batch: int, train: int | None, corrupted: int | None
) -> None:
    rewind = min(rewind, epochs - 1) if unit == "epochs" else rewind
    full = Config(
        data=Data(train=train, test=30_000),
        training=Training(epochs=epochs, batch=batch, milestones=(epochs / 2,)),
        pruning=Pruning(rewind=rewind, rewind_unit=unit),
        evaluation=Evaluation(corrupted=corrupted),
    )
    short = variants.limited(full, n)
    assert short.training.epochs == min(2, epochs)
    assert short.training.milestones[0] == pytest.approx(short.training.epochs / 2)
    assert short.data.train == min(n, train or n)
    assert (short.data.validation, short.data.test) == (min(n, 5000), min(n, 30_000))
    assert short.evaluation.corrupted == min(n, corrupted or n)
    assert short.pruning.rewind <= rewind
    assert (short.pruning.rewind >= 1) == (rewind >= 1) or epochs == 1
    for level in range(len(short.pruning.schedule())):
        # raises where the rewind point lies beyond the last step
        training_costs.train_images(short, short.data.train, level)


def test_a_limit_that_is_too_small() -> None:
    with pytest.raises(UserError, match="limit is 1: give 2 or more images"):
        variants.limited(Config(), 1)

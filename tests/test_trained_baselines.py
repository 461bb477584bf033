"""Trained baselines: each costs what it says, and is trained by the settings it says."""

from __future__ import annotations

import dataclasses

import pytest

from lottery_pools.config.schema import Config, Pruning, Training
from lottery_pools.tickets import training_costs
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

CONFIG = Config(training=Training(epochs=40, batch=50), pruning=Pruning(levels=8, rewind=4))
SAMPLES = 1000


@pytest.mark.parametrize("name", ["sms", "swamp", "longer"])
@pytest.mark.parametrize("level", [1, 8])
def test_the_last_ticket_costs_what_all_tickets_do(name: str, level: int) -> None:
    entry = TRAINED_BASELINES[name]
    at = level if entry.per_level else 8
    budget = training_costs.train_images(CONFIG, SAMPLES, 8)
    cost = training_costs.train_images(entry.settings(CONFIG, SAMPLES, at), SAMPLES, at)
    assert abs(cost - budget) <= 1.5 * SAMPLES * (at + 1)  # epochs are whole


@pytest.mark.parametrize("name", ["swa-training", "ema-training"])
def test_averaging_within_training_costs_nothing(name: str) -> None:
    derived = TRAINED_BASELINES[name].settings(CONFIG, SAMPLES, 8)
    assert training_costs.train_images(derived, SAMPLES, 8) == training_costs.train_images(CONFIG, SAMPLES, 8)
    assert derived.training.keep == name.partition("-")[0]
    assert dataclasses.replace(derived, training=CONFIG.training) == CONFIG


def test_soups_train_copies_and_swamp_averages_within_them() -> None:
    sms, swamp = (TRAINED_BASELINES[name].settings(CONFIG, SAMPLES, 8) for name in ("sms", "swamp"))
    assert sms.pruning.copies == swamp.pruning.copies == 2
    assert (sms.training.keep, swamp.training.keep) == ("best", "swa")
    assert sms.training.epochs < CONFIG.training.epochs


def test_longer_ends_at_its_level() -> None:
    longer = TRAINED_BASELINES["longer"].settings(CONFIG, SAMPLES, 3)
    assert longer.pruning.levels == 3
    assert longer.training.epochs > CONFIG.training.epochs

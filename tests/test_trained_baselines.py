"""Trained baselines: each costs what it says, and is trained by the settings it says."""

from __future__ import annotations

import dataclasses

import pytest

from lottery_pools.config.schema import Config, Pruning, Training
from lottery_pools.tickets import training_costs
from lottery_pools.tickets.averaging import share_of_newest
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES

CONFIG = Config(training=Training(epochs=40, batch=50), pruning=Pruning(levels=8, rewind=4))
SAMPLES = 1000


@pytest.mark.parametrize("name", ["sparse-model-soups", "swamp-equal-cost", "longer"])
@pytest.mark.parametrize("level", [1, 8])
def test_the_last_ticket_costs_what_all_tickets_do(name: str, level: int) -> None:
    entry = TRAINED_BASELINES[name]
    at = level if entry.per_level else 8
    budget = training_costs.train_images(CONFIG, SAMPLES, 8)
    cost = training_costs.train_images(entry.settings(CONFIG, SAMPLES, at), SAMPLES, at)
    assert abs(cost - budget) <= 1.5 * SAMPLES * (at + 1)  # epochs are whole


@pytest.mark.parametrize(
    ("name", "keep"), [("swa-training", "swa"), ("ema-training", "ema"), ("lawa", "swa"), ("tail-ema", "ema")]
)
def test_averaging_within_training_costs_nothing(name: str, keep: str) -> None:
    derived = TRAINED_BASELINES[name].settings(CONFIG, SAMPLES, 8)
    assert training_costs.train_images(derived, SAMPLES, 8) == training_costs.train_images(CONFIG, SAMPLES, 8)
    assert derived.training.keep == keep
    assert dataclasses.replace(derived, training=CONFIG.training) == CONFIG


def test_soups_are_fine_tuned_from_the_last_mean_after_a_full_dense_training() -> None:
    soups = TRAINED_BASELINES["sparse-model-soups"].settings(CONFIG, SAMPLES, 8)
    # a ticket takes 40 - 4 epochs, three copies 12 each
    expected = dataclasses.replace(
        CONFIG.pruning, after="fine-tune", fine_tune_rate="adaptive", fine_tune_epochs=12, copies=3
    )
    assert soups == dataclasses.replace(CONFIG, pruning=expected)


def test_particles_rewind_and_average_within_training_after_a_full_dense_training() -> None:
    full = TRAINED_BASELINES["swamp-full"].settings(CONFIG, SAMPLES, 8)
    assert full.pruning == dataclasses.replace(CONFIG.pruning, copies=4)
    assert full.training == dataclasses.replace(CONFIG.training, keep="swa")
    tickets, particles = (training_costs.train_images(config, SAMPLES, 8) for config in (CONFIG, full))
    assert (tickets, particles) == ((40 + 8 * 36) * SAMPLES, (40 + 4 * 8 * 36) * SAMPLES)
    equal = TRAINED_BASELINES["swamp-equal-cost"].settings(CONFIG, SAMPLES, 8)
    # two particles of 18 epochs each: 20 epochs of schedule, of which the rewind point takes a tenth
    assert equal.pruning == dataclasses.replace(CONFIG.pruning, copies=2, level_epochs=20)
    assert equal.training == full.training


def test_longer_ends_at_its_level() -> None:
    longer = TRAINED_BASELINES["longer"].settings(CONFIG, SAMPLES, 3)
    assert longer.pruning.levels == 3
    assert longer.training.epochs > CONFIG.training.epochs


def test_the_last_epochs_are_averaged_and_no_other() -> None:
    for epochs, first in ((40, 35), (6, 1), (3, 1), (1, 1)):
        config = Config(training=Training(epochs=epochs, batch=50), pruning=Pruning(rewind=0))
        lawa = TRAINED_BASELINES["lawa"].settings(config, SAMPLES, 8).training
        per_epoch = SAMPLES // 50
        shares = [share_of_newest(lawa, (k + 1) * per_epoch, 0, epochs * per_epoch, per_epoch) for k in range(epochs)]
        assert shares == [0.0] * (first - 1) + [1 / n for n in range(1, epochs - first + 2)]
    tail = TRAINED_BASELINES["tail-ema"].settings(CONFIG, SAMPLES, 8).training
    assert 1 / (1 - tail.ema_decay) == pytest.approx(3 * SAMPLES / 50)  # steps of three epochs


def test_learning_rate_rewinding_and_training_on_held_out_samples_change_that_alone() -> None:
    rewound = TRAINED_BASELINES["learning-rate-rewinding"].settings(CONFIG, SAMPLES, 8)
    assert rewound == dataclasses.replace(CONFIG, pruning=dataclasses.replace(CONFIG.pruning, after="learning-rate"))
    control = TRAINED_BASELINES["held-out-training"].settings(CONFIG, SAMPLES, 8)
    assert control == dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, train_on_validation=True))

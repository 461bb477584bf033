"""The control that fine-tunes on held-out samples: masks are kept, the samples are learned, its images are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lottery_pools.config.schema import Training
from lottery_pools.tickets import held_out, imp, masks
from lottery_pools.tickets.forward import logits
from lottery_pools.tickets.schedule import steps_per_epoch
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot
from lottery_pools.tickets.training import TrainingRun
from tests.test_imp import CONFIG, DATA, SEED, same


def ticket() -> Ticket:
    """A ticket of half the weights, untrained."""
    model = imp.network(CONFIG, DATA, SEED)
    dense = masks.dense(model.state_dict(), ["conv1.weight"])
    mask = masks.prune(masks.magnitude(snapshot(model), dense), dense, 54)
    return Ticket(masks.apply(snapshot(model), mask), mask, 2)


def test_survivors_learn_the_held_out_samples_and_no_other_weight_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "STEPS", 60)
    before, model = ticket(), imp.network(CONFIG, DATA, SEED)
    tuned = held_out.tune(model, before, DATA, CONFIG.training, SEED)
    assert tuned.rate in held_out.RATES
    # 60 passes over 16 of 24 samples with each rate, and 30 of two steps over all
    assert tuned.images == 4 * 60 * 16 + 30 * 24 == held_out.most_images(CONFIG.training, 24)
    assert Ticket(tuned.weights, before.mask, 2).kept == 54  # refuses weights that are not zero where pruned
    assert not torch.equal(tuned.weights["conv1.weight"], before.weights["conv1.weight"])

    def loss() -> float:
        held = DATA.validation
        predicted = logits(model, DATA, held, CONFIG.training)
        return float(torch.nn.functional.cross_entropy(predicted, held.labels))

    after = loss()
    load_into(model, before.weights)
    assert after < loss()
    assert same(held_out.tune(model, before, DATA, CONFIG.training, SEED).weights, tuned.weights)


def test_where_no_rate_helps_the_weights_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "RATES", (1e3,))  # wrecks any network
    monkeypatch.setattr(held_out, "STEPS", 4)
    before, model = ticket(), imp.network(CONFIG, DATA, SEED)
    wrecked = held_out.tune(model, before, DATA, CONFIG.training, SEED)
    assert wrecked.rate is None
    assert same(wrecked.weights, dict(before.weights))
    assert wrecked.images == 10 * 16


def test_no_rate_is_tried_after_one_that_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that lowers the loss only by chance, after a lower one that did not, cost a control two points."""
    tried: list[float] = []
    losses = iter((1.0, 0.9, 0.95, 0.1))  # of no tuning, and after each rate

    def train(attempt: object, samples: object, rate: float) -> int:
        tried.append(rate)
        return 1

    monkeypatch.setattr(held_out._Attempt, "train", train)
    monkeypatch.setattr(held_out._Attempt, "loss", lambda attempt, samples: next(losses))
    tuned = held_out.tune(imp.network(CONFIG, DATA, SEED), ticket(), DATA, CONFIG.training, SEED)
    lowest, second, *_ = held_out.RATES
    assert tried == [lowest, second, lowest]
    assert (tuned.rate, tuned.images) == (lowest, 3)


@pytest.mark.parametrize(("samples", "epochs"), [(24, 100), (7, 200), (1, 200), (6400, 10)])
def test_small_sets_are_passed_over_more_often(samples: int, epochs: int) -> None:
    settings = held_out.tuning(Training(batch=16, nesterov=True), samples, 0.01)
    assert (settings.epochs, settings.optimizer, settings.weight_decay, settings.lr) == (epochs, "adamw", 0.0, 0.01)
    assert settings.epochs * steps_per_epoch(samples, settings.batch) >= held_out.STEPS


def test_an_epoch_of_the_control_has_the_steps_of_the_run_and_samples_of_its_own() -> None:
    control = replace(DATA, epoch_samples=20)
    run = TrainingRun(CONFIG.training, control, SEED, 0)
    first, second = (run.batches(epoch * run.steps_per_epoch).samples for epoch in range(2))
    assert run.steps_per_epoch == 2  # 16 and 4
    assert len(set(first.tolist())) == len(set(second.tolist())) == 20
    assert set(first.tolist()) != set(second.tolist())

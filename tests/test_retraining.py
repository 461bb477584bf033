"""How a level is retrained: where its schedule starts and stops, and the adaptive learning rate, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lottery_pools.config.schema import Training
from lottery_pools.tickets import masks, retraining
from lottery_pools.tickets.schedule import level_steps
from lottery_pools.tickets.ticket import Ticket
from tests.test_imp import CONFIG, DATA, Call, calls, dense_run, pruned, run, same

__all__ = ["calls"]

BEFORE = Ticket({"w": torch.tensor([3.0, 0.0, 2.0, 1.0, 1.0]), "b": torch.tensor([1.0])}, {
    "w": torch.tensor([True, False, True, True, True])}, 1)  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "duration", "peak"),
    [
        # ‖all‖² = 9 + 4 + 1 + 1 + 1 = 16; pruned: 1 + 1 of it, a half of four weights: √(2/16) / √(1/2) = 1/2
        ([True, False, True, False, False], 1, 0.4 * 0.5),
        # pruned: 9 of 16, a quarter of the weights: √(9/16) / √(1/4) = 1.5, more than the peak of training
        ([False, False, True, True, True], 1, 0.4),
        # pruned: 1 of 16, a quarter of the weights: 1/2, less than three quarters of the epochs
        ([True, False, True, True, False], 15, 0.4 * 0.75),
    ],
)
def test_the_adaptive_peak_by_hand(kept: list[bool], duration: int, peak: float) -> None:
    training = Training(epochs=20, lr=0.4, milestones=())
    settings = retraining.adaptive(training, duration, BEFORE, {"w": torch.tensor(kept)})
    assert settings.lr == pytest.approx(peak)
    assert (settings.epochs, settings.schedule, settings.warmup) == (duration, "one-cycle", 0.1 * duration)


def test_running_statistics_are_no_part_of_the_norm() -> None:
    weights = {**BEFORE.weights, "bn.running_var": torch.full((3,), 100.0), "bn.num_batches_tracked": torch.tensor(9)}
    mask = {"w": torch.tensor([True, False, True, False, False])}
    peak = retraining.adaptive(Training(epochs=20, lr=0.4), 1, Ticket(weights, BEFORE.mask, 1), mask).lr
    assert peak == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("unit", "rewind", "epochs", "steps"),
    [
        ("epochs", 1, None, (3, 9)),  # three epochs of three steps
        ("epochs", 1, 2, (2, 6)),  # a third of six steps
        ("steps", 2, 2, (1, 6)),  # two ninths of six steps: 1.33
        ("steps", 8, 1, (2, 3)),  # 2.67, but one step must be left
    ],
)
def test_the_rewind_point_keeps_its_share_of_a_shorter_schedule(
    unit: Any, rewind: int, epochs: int | None, steps: tuple[int, int]
) -> None:
    assert level_steps(pruned(rewind_unit=unit, rewind=rewind, level_epochs=epochs), 40) == steps


def test_a_shorter_schedule_has_the_learning_rates_of_the_longer_one() -> None:
    config = pruned(level_epochs=2)
    config = replace(config, training=replace(config.training, schedule="cosine", epochs=6), pruning=config.pruning)
    short = retraining.training_run(config, DATA, 0, BEFORE, BEFORE.mask)
    assert (short.start, short.end) == (1, 6)
    whole = retraining.training_run(replace(config, pruning=pruned().pruning), DATA, 0, BEFORE, BEFORE.mask)
    assert short.learning_rate(short.start) == pytest.approx(whole.learning_rate(whole.start))
    assert retraining.epochs(config, 0) == 6
    assert retraining.epochs(config, 2) == 2


def test_sparse_model_soups_start_from_the_pruned_mean_of_the_level_before(tmp_path: Path, calls: list[Call]) -> None:
    config = pruned(after="fine-tune", fine_tune_rate="adaptive", fine_tune_epochs=2, copies=3, levels=2)
    tickets = run(config, tmp_path)
    assert same(tickets[0].weights, dense_run(9))  # the dense network has its full training
    assert len(calls) == 1 + 3 + 3
    for before, ticket, copies in ((tickets[0], tickets[1], calls[1:4]), (tickets[1], tickets[2], calls[4:])):
        assert same(
            ticket.mask, masks.prune(masks.magnitude(before.weights, before.mask), dict(before.mask), ticket.kept)
        )
        for call in copies:
            assert same(call.start, masks.apply(before.weights, ticket.mask))
            assert (call.run.start, call.run.end) == (0, 6)
            assert call.run.learning_rate(5) < call.run.learning_rate(1) <= CONFIG.training.lr
        assert len({call.run.seed for call in copies}) == 3


def test_particles_of_swamp_start_from_the_rewind_point_and_their_mean_gives_the_mask(
    tmp_path: Path, calls: list[Call]
) -> None:
    config = pruned(level_epochs=2, copies=2, levels=2)
    config = replace(config, training=replace(config.training, keep="swa", average_from=0.5))
    tickets = run(config, tmp_path)
    assert [(call.run.start, call.run.end) for call in calls] == [(0, 9), *[(2, 6)] * 4]
    point = dense_run(3)
    for before, ticket, particles in ((tickets[0], tickets[1], calls[1:3]), (tickets[1], tickets[2], calls[3:])):
        assert same(
            ticket.mask, masks.prune(masks.magnitude(before.weights, before.mask), dict(before.mask), ticket.kept)
        )
        for call in particles:
            assert same(call.start, masks.apply(point, ticket.mask))
            assert call.run.settings.keep == "swa"

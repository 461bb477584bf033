"""RigL: masks divided over layers by hand, moved by hand; networks of exact density that resume to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lottery_pools.config.schema import Config
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import imp, masks, rigl, training, training_costs
from lottery_pools.tickets.ticket import Ticket
from tests.test_imp import DATA, SEED, hashes, pruned

CONFIG = pruned(levels=2, criterion="rigl")
CONFIG = replace(CONFIG, training=replace(CONFIG.training, epochs=6))


def run(config: Config, path: Path, on_epoch: imp.OnEpoch = lambda level, epoch: None) -> list[Ticket]:
    return list(rigl.tickets(config, DATA, RunFolder(path), SEED, on_epoch))


def test_small_layers_stay_denser_and_the_count_is_exact() -> None:
    model = torch.nn.Module()
    model.a = torch.nn.Linear(2, 2, bias=False)  # sizes 2 + 2 over 4 weights: 1
    model.b = torch.nn.Linear(10, 10, bias=False)  # 10 + 10 over 100: 0.2
    kept = {
        density: [int(kept.sum()) for kept in rigl.random_mask(model, ("a.weight", "b.weight"), density, 1, 0).values()]
        for density in (0.1, 0.5, 1.0)
    }
    # of 10 weights a has 4 / (4 + 20) = 1.67, of 52 it has all 4, as it would have 8.67
    assert kept == {0.1: [2, 8], 0.5: [4, 48], 1.0: [4, 100]}
    first, repeated, other = (rigl.random_mask(model, ("b.weight",), 0.5, 1, seed)["b.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, repeated)
    assert not torch.equal(first, other)


def test_the_smallest_weights_make_room_for_the_largest_gradients() -> None:
    parameter = torch.nn.Parameter(torch.tensor([[0.1, -5.0, 0.0], [3.0, 0.0, -0.2]]))
    pruned = torch.tensor([[False, False, True], [False, True, False]])
    optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9)
    optimizer.state[parameter]["momentum_buffer"] = torch.ones(2, 3)
    same_mask, same_weights = pruned, parameter.data
    gradient = torch.tensor([[1.0, 99.0, 2.0], [99.0, -8.0, 0.5]])
    rigl.move(parameter, pruned, gradient, 0.5, optimizer)  # 2 of 4 weights: 0.1 and -0.2 go, -8 and 2 are largest
    assert pruned.tolist() == [[True, False, False], [False, False, True]]
    assert parameter.tolist() == [[0.0, -5.0, 0.0], [3.0, 0.0, 0.0]]
    assert optimizer.state[parameter]["momentum_buffer"].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert (pruned is same_mask, parameter.data.data_ptr()) == (True, same_weights.data_ptr())


def test_a_weight_that_was_dropped_may_grow_again_as_it_was() -> None:
    parameter, pruned = torch.nn.Parameter(torch.tensor([0.5, 2.0, 0.0])), torch.tensor([False, False, True])
    rigl.move(parameter, pruned, torch.tensor([3.0, 0.0, 1.0]), 0.5)
    assert pruned.tolist() == [False, False, True]
    assert parameter.tolist() == [0.5, 2.0, 0.0]


def test_networks_have_the_density_of_their_level_and_another_mask_than_at_first(tmp_path: Path) -> None:
    (ticket,) = run(CONFIG, tmp_path)
    model = imp.network(CONFIG, DATA, SEED)
    first = rigl.random_mask(model, tuple(ticket.mask), 0.49, 2, SEED)
    assert ticket.level == 2
    assert ticket.kept == round(0.49 * ticket.prunable)
    moved = {name: int((ticket.mask[name] & ~first[name]).sum()) for name in first}
    assert sum(moved.values()) > 0
    assert [int(kept.sum()) for kept in ticket.mask.values()] == [int(kept.sum()) for kept in first.values()]
    assert list(hashes(tmp_path)) == ["level_02.safetensors"]
    # 18 steps, 13 of them with an update on 16 images
    assert ticket.origin["train_images"] == 6 * 40 + 13 * 16 == training_costs.train_images(CONFIG, 40, 2)


def test_the_dense_level_has_no_mask_to_move(tmp_path: Path) -> None:
    (ticket,) = run(replace(CONFIG, pruning=replace(CONFIG.pruning, levels=0)), tmp_path)
    assert ticket.density == 1
    assert ticket.origin["train_images"] == 6 * 40 == training_costs.train_images(CONFIG, 40, 0)


@pytest.mark.parametrize("keep", ["last", "swa"])
def test_killed_after_any_epoch_it_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Any
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    config = replace(CONFIG, training=replace(CONFIG.training, keep=keep))
    run(config, tmp_path / "whole")
    killed: list[int] = []

    def kill_once(level: int, epoch: training.Epoch) -> None:
        if epoch.epoch not in killed:
            killed.append(epoch.epoch)
            raise KeyboardInterrupt

    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "killed", kill_once)
    run(config, tmp_path / "killed", kill_once)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_pruned_weights_are_zero_after_every_epoch() -> None:
    model = imp.network(CONFIG, DATA, SEED)
    prunable = imp.pruning_run(CONFIG, DATA, RunFolder(Path()), SEED).prunable
    start = rigl.random_mask(model, prunable, 0.3, 1, SEED)
    run_of_training = training.TrainingRun(CONFIG.training, DATA, SEED, 1)
    moving = rigl.MovingMask(run_of_training, start)

    def check(epoch: training.Epoch) -> None:
        weights = {name: model.get_parameter(name) for name in start}
        assert all(not weights[name][~kept].any() for name, kept in moving.mask().items())

    trained = training.train(model, start, replace(run_of_training, between=moving), check)
    assert masks.count(moving.mask()) == masks.count(start)
    assert trained.images > 6 * 40

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config, Model, Pruning, Training
from lottery_pools.config.toml import identity
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.errors import UserError
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets import files, imp, masks, training
from lottery_pools.tickets.averaging import refit_batchnorm
from lottery_pools.tickets.forward import accuracy_of
from lottery_pools.tickets.schedule import learning_rate
from lottery_pools.tickets.ticket import Ticket, snapshot
from lottery_pools.tickets.training import Epoch, Trained, TrainingRun, train

SEED = 3
CONFIG = Config(
    model=Model("resnet20", {"width": 4, "blocks": 1}),
    training=Training(epochs=3, batch=16, lr=0.05, milestones=(2,), keep="last"),
    pruning=Pruning(rate=0.3, levels=3, rewind=1),
)
EPOCHS = (3, 2, 2, 2)  # of each level, for the rewind point is the end of epoch 1


def split(n: int, name: str) -> Split:
    labels = torch.arange(n) % 3
    draws = generator(0, "tiny", name)
    images = torch.randint(0, 200, (n, 3, 8, 8), dtype=torch.uint8, generator=draws)
    return Split(images + 25 * labels.to(torch.uint8)[:, None, None, None], labels)


VALIDATION = split(24, "validation")
DATA = Dataset(
    train=split(40, "train"),  # three steps an epoch
    epochs=VALIDATION,
    validation=VALIDATION,
    test=split(24, "test"),
    classes=("a", "b", "c"),
    mean=torch.full((3,), 120.0),
    std=torch.full((3,), 60.0),
    crop=1,
    flip=True,
)


def pruned(**changes: Any) -> Config:
    return replace(CONFIG, pruning=replace(CONFIG.pruning, **changes))


def run(config: Config, path: Path, on_epoch: imp.OnEpoch = lambda level, epoch: None) -> list[Ticket]:
    return list(imp.tickets(config, DATA, RunFolder(path), SEED, on_epoch))


def same(first: Any, second: Any) -> bool:
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def hashes(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((path / "tickets").iterdir())}


@dataclass
class Call:
    """One call of `train`."""

    start: dict[str, Tensor]
    mask: Mapping[str, Tensor]
    run: TrainingRun


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What each level's training was given; it goes on as ever."""
    seen: list[Call] = []

    def spy(
        model: nn.Module, mask: Mapping[str, Tensor], run: TrainingRun, on_epoch: Callable[[Epoch], None]
    ) -> Trained:
        seen.append(Call(snapshot(model), mask, run))
        return train(model, mask, run, on_epoch)

    monkeypatch.setattr(imp, "train", spy)
    return seen


def dense_run(stop: int) -> dict[str, Tensor]:
    """The weights of the dense network after so many steps."""
    model = imp.network(CONFIG, DATA, SEED)
    return train(model, {}, TrainingRun(CONFIG.training, DATA, SEED, 0, stop=stop)).weights if stop else snapshot(model)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
@pytest.mark.parametrize("densities", [(), (0.5, 0.1, 0.011)])
def test_densities_are_exact_and_masks_nested(
    tmp_path: Path, scope: Any, criterion: Any, densities: tuple[float, ...]
) -> None:
    tickets = run(pruned(scope=scope, criterion=criterion, densities=densities), tmp_path)
    prunable = tickets[0].prunable
    expected = [1.0, *(densities or (0.7, 0.49, 0.343))]
    assert [ticket.level for ticket in tickets] == [0, 1, 2, 3]
    assert [ticket.kept for ticket in tickets] == [round(density * prunable) for density in expected]
    assert [ticket.origin["density"] for ticket in tickets] == pytest.approx(expected)
    for denser, sparser in pairwise(tickets):
        for name in denser.mask:
            assert not (sparser.mask[name] & ~denser.mask[name]).any()
            assert not sparser.weights[name][~sparser.mask[name]].any()
            if scope == "layer":
                left = int(denser.mask[name].sum()) * sparser.kept / denser.kept
                assert abs(int(sparser.mask[name].sum()) - left) < 1
    assert set(tickets[0].mask) == {
        name for name, tensor in tickets[0].weights.items() if tensor.ndim == 4 and name.endswith("weight")
    }


def test_the_smallest_weights_of_the_ticket_itself_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the best epoch is the first one trained, so that the last epoch's weights are others
    monkeypatch.setattr(training, "accuracy_of", lambda *_: 0.5)
    tickets = run(replace(CONFIG, training=replace(CONFIG.training, keep="best")), tmp_path)
    assert [ticket.origin["epoch"] for ticket in tickets] == [1, 2, 2, 2]
    for before, after in pairwise(tickets):
        size = torch.cat([before.weights[name][mask].abs() for name, mask in before.mask.items()])
        stays = torch.cat([after.mask[name][mask] for name, mask in before.mask.items()])
        assert float(size[~stays].max()) <= float(size[stays].min())
        assert len(size) == before.kept


@pytest.mark.parametrize(("rewind", "unit", "step"), [(1, "epochs", 3), (0, "epochs", 0), (4, "steps", 4)])
def test_survivors_rewind_to_the_rewind_point(
    tmp_path: Path, calls: list[Call], rewind: int, unit: Any, step: int
) -> None:
    tickets = run(pruned(rewind=rewind, rewind_unit=unit), tmp_path)
    point = dense_run(step)
    assert same(calls[0].start, dense_run(0))
    assert same(tickets[0].weights, dense_run(9))
    for call, ticket in zip(calls[1:], tickets[1:], strict=True):
        assert same(call.mask, ticket.mask)
        assert same(call.start, masks.apply(point, ticket.mask))
        assert (call.run.start, call.run.stop, call.run.fixed_rate) == (step, None, None)


@pytest.mark.parametrize(
    ("after", "start", "stop", "fixed_rate"),
    [("learning-rate", 3, None, None), ("fine-tune", 0, 6, pytest.approx(0.05 * 0.1))],
)
def test_survivors_kept(
    tmp_path: Path, calls: list[Call], after: Any, start: int, stop: int | None, fixed_rate: float | None
) -> None:
    tickets = run(pruned(after=after, fine_tune_epochs=2), tmp_path)
    for call, before, ticket in zip(calls[1:], tickets, tickets[1:], strict=False):
        assert same(call.start, masks.apply(before.weights, ticket.mask))
        assert (call.run.start, call.run.stop, call.run.fixed_rate) == (start, stop, fixed_rate)


def test_survivors_drawn_anew(tmp_path: Path, calls: list[Call]) -> None:
    tickets = run(pruned(after="reinitialise"), tmp_path)
    initial = dense_run(0)
    for call, ticket in zip(calls[1:], tickets[1:], strict=True):
        mask = ticket.mask["conv1.weight"]
        assert call.run.start == 0
        assert not call.start["conv1.weight"][~mask].any()
        assert not (call.start["conv1.weight"] == initial["conv1.weight"])[mask].any()
    both = tickets[2].mask["conv1.weight"]
    assert not (calls[1].start["conv1.weight"] == calls[2].start["conv1.weight"])[both].any()


@pytest.mark.parametrize(
    ("after", "images"),
    [
        ("rewind", [120, 200, 280, 360]),
        ("learning-rate", [120, 200, 280, 360]),
        ("fine-tune", [120, 160, 200, 240]),
        ("reinitialise", [120, 240, 360, 480]),
    ],
)
def test_training_images_add_up_over_levels(tmp_path: Path, after: Any, images: list[int]) -> None:
    tickets = run(pruned(after=after, fine_tune_epochs=1), tmp_path)
    assert [ticket.origin["train_images"] for ticket in tickets] == images


@pytest.mark.parametrize("change", [{}, {"optimizer": "adamw", "lr": 0.003, "keep": "best"}])
def test_killed_after_any_epoch_of_any_level_it_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    config = replace(pruned(levels=2), training=replace(CONFIG.training, **change))
    run(config, tmp_path / "whole")
    expected = hashes(tmp_path / "whole")
    assert list(expected) == [*(f"level_{level:02d}.safetensors" for level in range(3)), "rewind.safetensors"]

    def kill(at: tuple[int, int]) -> imp.OnEpoch:
        def on_epoch(level: int, epoch: Epoch) -> None:
            if (level, epoch.epoch) == at:
                raise KeyboardInterrupt

        return on_epoch

    for level, epochs in enumerate(EPOCHS[:3]):
        for epoch in range(4 - epochs, 4):
            folder = tmp_path / f"{level}_{epoch}"
            with pytest.raises(KeyboardInterrupt):
                run(config, folder, kill((level, epoch)))
            done: list[tuple[int, int]] = []
            run(config, folder, lambda level, epoch, done=done: done.append((level, epoch.epoch)))  # type: ignore[misc]
            assert done[0] == (level, epoch)
            assert hashes(folder) == expected


def test_killed_at_every_epoch_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    run(CONFIG, tmp_path / "whole")
    seen: set[tuple[int, int]] = set()

    def kill_once(level: int, epoch: Epoch) -> None:
        if (level, epoch.epoch) not in seen:
            seen.add((level, epoch.epoch))
            raise KeyboardInterrupt

    for _ in range(sum(EPOCHS)):
        with pytest.raises(KeyboardInterrupt):
            run(CONFIG, tmp_path / "killed", kill_once)
    run(CONFIG, tmp_path / "killed", kill_once)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_tickets_that_exist_are_not_trained_again(tmp_path: Path, calls: list[Call]) -> None:
    first = run(CONFIG, tmp_path)
    before = hashes(tmp_path)
    assert [call.run.level for call in calls] == [0, 1, 2, 3]
    second = run(CONFIG, tmp_path)
    assert len(calls) == 4
    assert [same(a.weights, b.weights) for a, b in zip(first, second, strict=True)] == [True] * 4
    RunFolder(tmp_path).ticket(2).unlink()
    run(CONFIG, tmp_path)
    assert [call.run.level for call in calls] == [0, 1, 2, 3, 2]
    assert hashes(tmp_path) == before


def test_tickets_are_yielded_as_they_are_finished(tmp_path: Path) -> None:
    tickets = imp.tickets(CONFIG, DATA, RunFolder(tmp_path), SEED)
    assert not (tmp_path / "tickets").exists()
    assert next(tickets).level == 0
    assert next(tickets).level == 1
    assert list(hashes(tmp_path)) == ["level_00.safetensors", "level_01.safetensors", "rewind.safetensors"]


def test_a_ticket_says_where_it_came_from(tmp_path: Path) -> None:
    config = replace(CONFIG, training=replace(CONFIG.training, keep="best"))
    ticket = run(config, tmp_path)[1]
    origin = dict(ticket.origin)
    model = imp.network(config, DATA, SEED)
    model.load_state_dict(dict(ticket.weights))
    assert origin.pop("accuracy") == accuracy_of(model, DATA, DATA.epochs, config.training)
    assert origin.pop("epoch") in (2, 3)
    assert origin.pop("density") == pytest.approx(0.7)
    assert origin.pop("preprocessing") == Preprocessing.of(DATA).to_json()
    assert origin == {
        "config": identity(imp.tickets_config(config)),
        "seed": SEED,
        "data": "mnist1d",
        "model": {
            "name": "resnet20",
            "arguments": {"width": 4, "blocks": 1},
            "classes": 3,
            "input_shape": [3, 8, 8],
        },
        "train_images": 200,
    }
    rewind = files.load(tmp_path / "tickets" / "rewind.safetensors", model)
    assert rewind.origin["step"] == 3
    assert same(rewind.weights, dense_run(3))


def test_random_pruning_is_drawn_by_seed_and_level(tmp_path: Path) -> None:
    ticket = run(pruned(criterion="random", levels=1), tmp_path)[0]

    def draw(seed: int, level: int = 0) -> dict[str, Tensor]:
        return imp.next_mask(replace(ticket, level=level), 0.5, "global", "random", seed)

    assert same(draw(SEED), draw(SEED))
    assert not same(draw(SEED), draw(SEED + 1))
    assert not same(draw(SEED), draw(SEED, level=1))
    sizes = masks.magnitude(ticket.weights, ticket.mask)
    assert not same(draw(SEED), masks.prune(sizes, dict(ticket.mask), ticket.prunable // 2))


def test_a_loss_that_diverges_keeps_the_finished_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = [0]
    monkeypatch.setattr(
        training, "learning_rate", lambda how, epoch: 1e30 if level[0] == 2 else learning_rate(how, epoch)
    )
    tickets = imp.tickets(CONFIG, DATA, RunFolder(tmp_path), SEED)
    next(tickets)
    next(tickets)
    level[0] = 2
    with pytest.raises(UserError, match=r"^the training loss is (nan|inf) at level 2, epoch 1, step 4: lower training"):
        next(tickets)
    assert [file for file in hashes(tmp_path) if file.startswith("level")] == [
        "level_00.safetensors",
        "level_01.safetensors",
    ]


def copy_of(config: Config, point: dict[str, Tensor], mask: dict[str, Tensor], level: int, copy: int) -> Trained:
    """One network of a level, trained by itself."""
    model = imp.network(config, DATA, SEED)
    model.load_state_dict(masks.apply(point, mask))
    seed = derive(SEED, "copy", copy) if copy else SEED
    return train(model, mask, TrainingRun(config.training, DATA, seed, level, start=3))


@pytest.mark.parametrize(
    ("copies", "keep", "after"),
    [(1, "last", "rewind"), (2, "swa", "rewind"), (3, "last", "learning-rate")],
)
def test_a_ticket_is_the_mean_of_its_copies(tmp_path: Path, after: Any, keep: Any, copies: int) -> None:
    config = pruned(levels=2, copies=copies, after=after)
    config = replace(config, training=replace(config.training, keep=keep, average_from=0.5))
    tickets = run(config, tmp_path)
    assert list(hashes(tmp_path)) == [*(f"level_{level:02d}.safetensors" for level in range(3)), "rewind.safetensors"]
    model = imp.network(config, DATA, SEED)
    dense = train(model, {}, TrainingRun(config.training, DATA, SEED, 0)).weights
    assert same(tickets[0].weights, dense)
    for before, ticket in pairwise(tickets):
        mask = dict(ticket.mask)
        assert same(mask, imp.next_mask(before, 0.7**ticket.level, "global", "magnitude", SEED))
        point = dense_run(3) if after == "rewind" else dict(before.weights)
        copies_alone = [copy_of(config, point, mask, ticket.level, copy).weights for copy in range(copies)]
        if copies == 1:
            assert same(ticket.weights, copies_alone[0])
            continue
        assert not same(copies_alone[0], copies_alone[1])
        for name, _ in model.named_parameters():
            mean = torch.stack([alone[name].double() for alone in copies_alone]).mean(0)
            torch.testing.assert_close(ticket.weights[name].double(), mean, rtol=1e-5, atol=1e-7)
        model.load_state_dict(dict(ticket.weights))
        refit_batchnorm(model, DATA, config.training, SEED, ticket.level)
        assert same(ticket.weights, snapshot(model))
        assert ticket.origin["copies"] == copies


def test_copies_tell_their_epochs_by_number(tmp_path: Path) -> None:
    done: list[tuple[int, int, int]] = []
    run(pruned(levels=1, copies=2), tmp_path, lambda level, epoch: done.append((level, epoch.copy, epoch.epoch)))
    assert done == [(0, 0, 1), (0, 0, 2), (0, 0, 3), (1, 0, 2), (1, 0, 3), (1, 1, 2), (1, 1, 3)]


def test_killed_in_the_midst_of_copies_no_finished_work_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    config = pruned(levels=2, copies=2)
    config = replace(config, training=replace(config.training, keep="swa", average_from=0.0))
    run(config, tmp_path / "whole")
    killed: list[tuple[int, int, int]] = []

    def kill_once(level: int, epoch: Epoch) -> None:
        if (under_way := (level, epoch.copy, epoch.epoch)) not in killed:
            killed.append(under_way)
            raise KeyboardInterrupt
        assert under_way == killed[-1]  # only what was under way, and not yet on disk, is done again

    for _ in range(3 + 2 * 2 * 2):
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "killed", kill_once)
    run(config, tmp_path / "killed", kill_once)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_killed_when_all_copies_are_done_only_their_mean_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[Call]
) -> None:
    config = pruned(levels=1, copies=2)
    run(config, tmp_path / "whole")

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(imp, "refit_batchnorm", kill)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "killed")
    calls.clear()
    run(config, tmp_path / "killed")
    assert not calls
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_what_a_kill_after_the_ticket_left_is_removed(tmp_path: Path) -> None:
    config = pruned(levels=1, copies=2)
    run(config, tmp_path)
    expected = hashes(tmp_path)
    for left in ("level_01.copy_0", "level_01.copy_1", "level_01.copy_1.partial", "level_00.partial"):
        (tmp_path / "tickets" / f"{left}.safetensors").touch()
    run(config, tmp_path)
    assert hashes(tmp_path) == expected

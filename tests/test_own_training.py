from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.config.schema import Training
from lottery_pools.errors import Notice, UserError
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files, imp, masks
from lottery_pools.tickets.default_training import DefaultTraining
from lottery_pools.tickets.ticket import Ticket, snapshot
from tests.test_imp import CONFIG, DATA, SEED, pruned, same

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS[:, :1] * INPUTS[:, 1:2]


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))


class Regression:
    """A training function that remembers what it was given."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.levels: list[int] = []
        self.starts: list[dict[str, Tensor]] = []
        self.masks: list[dict[str, Tensor]] = []
        self.stop_at = stop_at

    def __call__(self, model: nn.Module, mask: dict[str, Tensor], level: int) -> None:
        self.levels.append(level)
        self.starts.append(snapshot(model))
        self.masks.append(mask)
        steps(model, 4)
        if level == self.stop_at:
            raise KeyboardInterrupt
        steps(model, 4)
        model.eval()


def steps(model: nn.Module, n: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(n):
        optimizer.zero_grad()
        batch = torch.randint(len(INPUTS), (32,))
        torch.autograd.backward(nn.functional.mse_loss(model(INPUTS[batch]), TARGETS[batch]))
        optimizer.step()


def score(model: nn.Module) -> Tensor:
    errors: Tensor = (model.eval()(INPUTS) - TARGETS).square()[:, 0]
    return -errors


def recalibrate(model: nn.Module) -> None:
    lp.recalibrate(model, [INPUTS])


def test_densities_are_exact_and_masks_nested() -> None:
    model, train = network(), Regression()
    tickets = lp.imp(train, model, levels=3, rate=0.3)
    assert train.levels == [0, 1, 2, 3]
    assert [ticket.level for ticket in tickets] == [0, 1, 2, 3]
    assert [ticket.kept for ticket in tickets] == [112, round(0.7 * 112), round(0.49 * 112), round(0.343 * 112)]
    for denser, sparser in pairwise(tickets):
        assert set(sparser.mask) == {"0.weight", "4.weight"}
        for name, survives in sparser.mask.items():
            assert not (survives & ~denser.mask[name]).any()
            assert not sparser.weights[name][~survives].any()
    assert same(snapshot(model), tickets[-1].weights)
    assert [same(given, ticket.mask) for given, ticket in zip(train.masks, tickets, strict=True)] == [True] * 4


def test_the_smallest_weights_go() -> None:
    before, after = lp.imp(Regression(), network(), levels=1, rate=0.5)
    size = torch.cat([before.weights[name].abs().flatten() for name in before.mask])
    stays = torch.cat([after.mask[name].flatten() for name in before.mask])
    assert float(size[~stays].max()) <= float(size[stays].min())


def test_survivors_go_back_to_the_weights_the_model_came_with() -> None:
    model, train = network(), Regression()
    start = snapshot(model)
    tickets = lp.imp(train, model, levels=2)
    for given, ticket in zip(train.starts, tickets, strict=True):
        assert same(given, masks.apply(start, ticket.mask))


def test_a_function_trains_to_the_rewind_point_once() -> None:
    model, train, calls = network(), Regression(), []

    def rewind(given: nn.Module) -> None:
        assert given is model
        steps(given, 3)
        calls.append(snapshot(given))

    tickets = lp.imp(train, model, levels=2, rewind=rewind)
    (point,) = calls
    assert not same(point, snapshot(network()))
    for given, ticket in zip(train.starts, tickets, strict=True):
        assert same(given, masks.apply(point, ticket.mask))


def test_without_rewinding_each_level_goes_on_from_the_ticket_before() -> None:
    train = Regression()
    tickets = lp.imp(train, network(), levels=2, rewind="never")
    assert same(train.starts[0], snapshot(network()))
    for given, before, ticket in zip(train.starts[1:], tickets, tickets[1:], strict=False):
        assert same(given, masks.apply(before.weights, ticket.mask))


@pytest.mark.parametrize("rewind", ["start", "never", lambda model: steps(model, 2)])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path: Path, rewind: Any) -> None:
    whole, broken, rest = Regression(), Regression(stop_at=2), Regression()
    lp.imp(whole, network(), levels=3, rewind=rewind, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        lp.imp(broken, network(), levels=3, rewind=rewind, folder=tmp_path / "broken")
    another = nn.Sequential(*network())
    nn.init.constant_(
        another.get_parameter("0.weight"), 0.5
    )  # what the model has does not matter any more: the folder has the start
    lp.imp(rest, another, levels=3, rewind=rewind, folder=tmp_path / "broken")
    assert (broken.levels, rest.levels) == ([0, 1, 2], [2, 3])
    for path in sorted((tmp_path / "whole/tickets").iterdir()):
        assert path.read_bytes() == (tmp_path / "broken/tickets" / path.name).read_bytes()
    idle = Regression()
    tickets = lp.imp(idle, another, levels=3, rewind=rewind, folder=tmp_path / "broken")
    assert idle.levels == []
    assert same(snapshot(another), tickets[-1].weights)


def test_more_levels_may_be_added(tmp_path: Path) -> None:
    more = Regression()
    lp.imp(Regression(), network(), levels=1, folder=tmp_path)
    assert len(lp.imp(more, network(), levels=3, folder=tmp_path)) == 4
    assert more.levels == [2, 3]


def test_tickets_in_memory_are_those_in_files(tmp_path: Path) -> None:
    kept = lp.imp(Regression(), network(), levels=2, origin={"task": "products"})
    stored = lp.imp(Regression(), network(), levels=2, folder=tmp_path, origin={"task": "products"})
    for first, second in zip(kept, stored, strict=True):
        assert same(first.weights, second.weights)
        assert first.origin == second.origin
    assert kept[1].origin["task"] == "products"
    assert kept[1].origin["density"] == pytest.approx(0.8)


def test_the_callers_random_numbers_go_on_as_if_nothing_had_happened() -> None:
    model = network()
    state = torch.get_rng_state()
    lp.imp(Regression(), model, levels=1)
    assert torch.equal(state, torch.get_rng_state())


def test_every_call_finds_the_same_modes_and_no_gradients() -> None:
    model = network()
    model[1].eval()  # frozen statistics
    seen: list[tuple[bool, ...]] = []

    def train(given: nn.Module, mask: dict[str, Tensor], level: int) -> None:
        assert all(parameter.grad is None for parameter in given.parameters())
        seen.append(tuple(module.training for module in given.modules()))
        steps(given, 2)
        given.eval()

    lp.imp(train, model, levels=2)
    assert seen == [(True, True, False, True, True, True)] * 3


def test_a_mask_that_is_spoiled_does_no_harm() -> None:
    def train(given: nn.Module, mask: dict[str, Tensor], level: int) -> None:
        steps(given, 2)
        mask["0.weight"].zero_()

    assert lp.imp(train, network(), levels=1)[1].kept == round(0.8 * 112)


def test_tickets_are_pooled() -> None:
    model = network()
    tickets = lp.imp(Regression(), model, levels=3, rewind=lambda given: steps(given, 4))
    pooled = lp.pool(model, tickets, target=1, score=score, recalibrate=recalibrate)
    assert pooled.ticket.kept == tickets[1].kept


def test_tickets_of_two_runs_are_not_pooled() -> None:
    model = network()
    first = lp.imp(Regression(), model, levels=1)
    second = lp.imp(Regression(), model, levels=1)  # from where the first one ended
    with pytest.raises(UserError, match="are of different runs: config is"):
        lp.pool(model, [first[0], second[1]], target=1, score=score, recalibrate=recalibrate)


def test_our_own_training_makes_the_tickets_of_the_command_line(tmp_path: Path) -> None:
    config = pruned(rewind=0, levels=2)
    expected = list(imp.tickets(config, DATA, RunFolder(tmp_path), SEED))
    ours = DefaultTraining(DATA, config.training, seed=SEED)
    model = imp.network(config, DATA, SEED)
    tickets = lp.imp(ours, model, levels=2, rate=0.3, prunable="convolutions")
    assert [same(mine.weights, other.weights) for mine, other in zip(tickets, expected, strict=True)] == [True] * 3


def test_our_own_training_to_a_rewind_point() -> None:
    ours = DefaultTraining(DATA, Training(epochs=2, batch=16, lr=0.05, milestones=()), rewind_step=2, seed=SEED)
    model = imp.network(CONFIG, DATA, SEED)
    start = snapshot(model)
    tickets = lp.imp(ours, model, levels=1, prunable="convolutions", rewind=ours.to_rewind_point)
    model.load_state_dict(start)
    ours.to_rewind_point(model)
    ours(model, {}, 0)
    assert same(snapshot(model), tickets[0].weights)


def spoil(action: Callable[[Any], object]) -> Callable[[Any, dict[str, Tensor], int], None]:
    def train(model: Any, mask: dict[str, Tensor], level: int) -> None:
        steps(model, 2)
        if level == 1:
            action(model)

    return train


def weight(model: nn.Module, name: str = "0.weight") -> Tensor:
    return model.get_parameter(name).data


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 3}, r"train is int: give a function train\(model, mask, level\)"),
        ({"model": "resnet"}, r"model is str: give a torch\.nn\.Module"),
        ({"rate": 1.0}, r"pruning\.rate is 1\.0: "),
        ({"levels": -1}, r"pruning\.levels is -1: "),
        ({"levels": 40}, r"density .* of level \d+ keeps none of 112"),
        ({"scope": "tensor"}, "unknown scope 'tensor'"),
        ({"rewind": "strat"}, "unknown rewind 'strat': did you mean 'start'"),
        ({"prunable": ["0.wieght"]}, r"'0\.wieght', which matches no tensor"),
        ({"model": tied()}, r"'0\.weight' is tied to another: leave it out with a pattern in prunable"),
        ({"train": lambda model, mask, level: None}, "the training of level 0 changed no weight"),
        ({"rewind": lambda model: None}, "the training to the rewind point changed no weight"),
        ({"train": spoil(lambda model: model.append(nn.Linear(1, 1)))}, r"the tensors before .* lack '5\.weight'"),
        (
            {"train": spoil(lambda model: model[0].weight.data.add_(1))},
            r"\d+ pruned weights of '0\.weight' are not zero",
        ),
        ({"train": spoil(lambda model: weight(model).mul_(torch.nan))}, r"weights of '0\.weight' are NaN or infinite"),
        ({"train": spoil(lambda model: weight(model, "4.bias").fill_(torch.inf))}, r"1 weights of '4\.bias' are NaN"),
    ],
)
def test_mistakes_are_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    given = {"train": Regression(), "model": network(), "levels": 1, **changes}
    with pytest.raises(UserError, match=message) as error:
        lp.imp(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.3}, "holds tickets with rate = 0.2, now it is 0.3: give the same again or choose another folder"),
        ({"seed": 4}, "holds tickets with seed = 0, now it is 4"),
        ({"rewind": "never"}, "holds tickets with rewind = start, now it is never"),
        ({"prunable": ["0.weight"]}, "holds tickets with prunable"),
        ({"model": nn.Sequential(nn.Linear(6, 17), nn.Linear(17, 1))}, r"'0\.weight' is \(16, 6\)"),
    ],
)
def test_a_folder_of_other_tickets_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    lp.imp(Regression(), network(), levels=1, folder=tmp_path)
    regression = Regression()
    with pytest.raises(UserError, match=message):
        lp.imp(**{"train": regression, "model": network(), "levels": 1, "folder": tmp_path, **changes})
    assert regression.levels == []


def test_a_folder_without_its_rewind_point_or_with_anothers_is_refused(tmp_path: Path) -> None:
    lp.imp(Regression(), network(), levels=1, folder=tmp_path / "a")
    lp.imp(Regression(), network(), levels=1, folder=tmp_path / "b", seed=1)
    (tmp_path / "a/tickets/level_01.safetensors").write_bytes(
        (tmp_path / "b/tickets/level_01.safetensors").read_bytes()
    )
    with pytest.raises(UserError, match=re.escape("level_01.safetensors is no ticket of the rewind point beside it")):
        lp.imp(Regression(), network(), levels=1, folder=tmp_path / "a")
    (tmp_path / "a/tickets/rewind.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds tickets and no rewind\.safetensors: choose another folder"):
        lp.imp(Regression(), network(), levels=1, folder=tmp_path / "a")


def test_weights_that_a_rule_leaves_out_are_named() -> None:
    model = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(24, 2))

    def train(given: nn.Module, mask: dict[str, Tensor], level: int) -> None:
        optimizer = torch.optim.SGD(given.parameters(), 0.1)
        torch.autograd.backward(given(torch.arange(6)[None]).sum())
        optimizer.step()

    with pytest.warns(Notice, match=r"leaves 1 weights of this network alone: 0\.weight"):
        tickets = lp.imp(train, model, levels=1)
    assert set(tickets[1].mask) == {"2.weight"}


def test_other_types_of_numbers_are_kept(tmp_path: Path) -> None:
    model = network().to(torch.bfloat16)

    def train(given: nn.Module, mask: dict[str, Tensor], level: int) -> None:
        optimizer = torch.optim.SGD(given.parameters(), 0.1)
        torch.autograd.backward(given(INPUTS.bfloat16()).square().sum())
        optimizer.step()

    ticket: Ticket = lp.imp(train, model, levels=1, folder=tmp_path)[1]
    assert ticket.weights["0.weight"].dtype == torch.bfloat16
    assert files.load(tmp_path / "tickets/level_01.safetensors", model).kept == ticket.kept

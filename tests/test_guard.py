"""What protects the caller's module: restored after any failure, gradients kept, and a score that changes it is
told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.guard import check_unchanged, restored_on_failure
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.recipe import Recipe, replay
from lottery_pools.tickets.ticket import Ticket, snapshot
from tests.test_algorithm2 import Net, make_recalibrate, make_score, make_tickets
from tests.test_methods import make_base, make_loss

TICKETS = make_tickets(0, range(4))


def holding(model: nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, UserError])
@pytest.mark.parametrize("method", ["interpolation", "trimmed-soup", "learned-soup", "ties"])
def test_a_search_that_fails_leaves_the_module_as_it_was(method: str, failure: type[BaseException]) -> None:
    model = Net().train()
    before, calls = snapshot(model), 0

    def score(model: nn.Module) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise failure("stop")
        return make_score(0)(model)

    with pytest.raises(failure):
        pool(model, TICKETS, 1, score, make_recalibrate(0), method=method, loss=make_loss(0), base=make_base(0))
    assert holding(model, before)
    assert all(module.training for module in model.modules())


def test_a_replay_that_fails_leaves_the_module_as_it_was() -> None:
    model = Net()
    before = snapshot(model)

    def recalibrate(model: nn.Module) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(model, TICKETS, Recipe(1, ((2, 0.5),), "interpolation"), recalibrate)
    assert holding(model, before)


@pytest.mark.parametrize("method", ["learned-soup", "learned-soup-layers"])
def test_gradients_of_the_caller_stay(method: str) -> None:
    model = Net()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    pool(model, TICKETS, 1, make_score(0), make_recalibrate(0), method=method, loss=make_loss(0))
    assert all(parameter.grad is not None and (parameter.grad == 7).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "accuracy"}, r"^score is a str: give a function, called as score\(model\)$"),
        (
            {"recalibrate": [torch.ones(8, 4)]},
            r"^recalibrate is a list: give a function, called as recalibrate\(model\)$",
        ),
        ({"samples": torch.ones(8, 4)}, r"^samples is a Tensor: give a function, called as samples\(\)$"),
        ({"target": TICKETS[1]}, r"^target is a ticket: give its level, 1$"),
        ({"target": "1"}, r"^target is '1': give the level of a ticket, a whole number$"),
        ({"target": 1.5}, r"^target is 1.5: give the level of a ticket, a whole number$"),
        ({"tickets": TICKETS[1]}, r"^tickets is one ticket: give a list of two tickets or more, of one network$"),
        ({"tickets": None}, r"^tickets is a NoneType: give a list of two tickets or more, of one network$"),
        ({"model": Net}, r"^model is the class of a module: give a module, such as your network's class, called$"),
        ({"model": {}}, r"^model is a dict: give a module, such as your network's class, called$"),
        ({"tickets": [TICKETS[0].weights, TICKETS[1]]}, r"among the tickets is no ticket: make one of each file"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "tickets": TICKETS,
        "target": 1,
        "score": make_score(0),
        "recalibrate": make_recalibrate(0),
    }
    with pytest.raises(UserError, match=message):
        pool(**({"model": Net()} | given | arguments))


def test_a_constant_that_is_infinite_is_no_fault() -> None:
    """A mask of attention is a parameter without gradient; BatchNorm of one's own may have buffers that no file has."""

    class Masked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.causal = nn.Parameter(torch.tensor([0.0, -torch.inf]), requires_grad=False)
            self.norm.register_buffer("scratch", torch.zeros(1), persistent=False)

    constant = {"causal": torch.tensor([0.0, -torch.inf])}
    tickets = [Ticket({**ticket.weights, **constant}, ticket.mask, ticket.level) for ticket in TICKETS]
    pooled = pool(Masked(), tickets, 1, make_score(0), make_recalibrate(0))
    assert pooled.recipe == pool(Net(), TICKETS, 1, make_score(0), make_recalibrate(0)).recipe
    wrong = [*tickets[:3], Ticket({**tickets[3].weights, "causal": torch.tensor([0, torch.nan])}, tickets[3].mask, 3)]
    with pytest.raises(UserError, match=r"^1 numbers of 'causal' of the ticket of level 3 are NaN"):
        pool(Masked(), wrong, 1, make_score(0), make_recalibrate(0))


def test_tickets_that_come_one_by_one_are_checked() -> None:
    other = [Ticket(ticket.weights, ticket.mask, ticket.level, {"seed": ticket.level}) for ticket in TICKETS]
    with pytest.raises(UserError, match="are of different runs: seed is"):
        pool(Net(), (ticket for ticket in other), 1, make_score(0), make_recalibrate(0))  # type: ignore[arg-type]


def test_a_level_may_be_a_number_of_another_package() -> None:
    recipes = [
        pool(Net(), TICKETS, level, make_score(0), make_recalibrate(0)).recipe  # type: ignore[arg-type]
        for level in (1, np.int64(1), torch.tensor(1))
    ]
    assert recipes == [recipes[0]] * 3


def test_a_score_that_changes_the_module_is_told() -> None:
    def in_training_mode(model: nn.Module) -> torch.Tensor:
        model.train()
        predicted: torch.Tensor = model(torch.ones(8, 4, dtype=torch.float64)).argmax(1)
        return predicted == 0

    with pytest.raises(UserError, match=r"^score changed 'norm\.running_mean' of the model.*call model\.eval\(\)"):
        pool(Net(), TICKETS, 1, in_training_mode, make_recalibrate(0))

    def destructive(model: nn.Module) -> float:
        with torch.no_grad():
            next(model.parameters()).add_(1)
        return 1.0

    with pytest.raises(UserError, match=r"^score changed 'first\.weight'"):
        pool(Net(), TICKETS, 1, destructive, make_recalibrate(0))


def test_what_is_not_a_number_before_and_after_is_unchanged() -> None:
    model = nn.BatchNorm1d(2)
    model.running_mean.fill_(float("nan"))  # type: ignore[union-attr]
    check_unchanged(model, snapshot(model))
    with pytest.raises(UserError, match="running_var"):
        check_unchanged(model, {**snapshot(model), "running_var": torch.zeros(2)})


def test_success_is_not_undone() -> None:
    model = nn.Linear(1, 1)
    with restored_on_failure(model), torch.no_grad():
        model.weight.fill_(3)
    assert model.weight.item() == 3


def test_batchnorm_without_recalibration_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="the model has BatchNorm and no `recalibrate` was given"):
        pool(Net(), TICKETS, 1, make_score(0))

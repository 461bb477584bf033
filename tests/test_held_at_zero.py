from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from lottery_pools.errors import UserError
from lottery_pools.tickets.held_at_zero import check_held, held_at_zero

MASK = {"0.weight": torch.arange(24).view(4, 6) % 3 == 0}
INPUTS, TARGETS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2


class Mixing(torch.optim.Optimizer):
    """An optimizer whose update of a weight depends on the gradients of others, as Muon's and Shampoo's do."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        super().__init__(parameters, {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(0.1 * parameter.grad.mean())


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda model: torch.optim.Adam(model.parameters(), 0.1, amsgrad=True),
    "adamw, fused": lambda model: torch.optim.AdamW(model.parameters(), 0.1, fused=True),
    "rprop": lambda model: torch.optim.Rprop(model.parameters(), 0.1),
    "mixing": lambda model: Mixing(model.parameters()),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    first_weight(model).data.masked_fill_(~MASK["0.weight"], 0)
    return model


def first_weight(model: nn.Module) -> nn.Parameter:
    return model.get_parameter("0.weight")


def loss(model: Callable[[Tensor], Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(INPUTS), TARGETS)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss(model))
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("made", ["before", "within"])
def test_pruned_weights_stay_zero_whatever_the_optimizer(name: str, made: str) -> None:
    model = network()
    start = first_weight(model).detach().clone()
    optimizer = OPTIMIZERS[name](model) if made == "before" else None
    with held_at_zero(model, MASK):
        train(model, optimizer or OPTIMIZERS[name](model))
    weight, survives = first_weight(model).detach(), MASK["0.weight"]
    assert torch.equal(weight[~survives], torch.zeros(16))
    assert (weight[survives] != start[survives]).any()
    check_held(model, MASK, 1)


def test_momentum_from_before_does_not_move_them() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    train(model, optimizer)
    first_weight(model).data.masked_fill_(~MASK["0.weight"], 0)
    with held_at_zero(model, MASK):
        train(model, optimizer)
    check_held(model, MASK, 1)


def test_gradients_of_pruned_weights_are_zero_and_the_others_as_ever() -> None:
    model, free = network(), network()
    torch.autograd.backward(loss(free))
    with held_at_zero(model, MASK):
        torch.autograd.backward(loss(model))
    gradient, expected = first_weight(model).grad, free.get_parameter("0.weight").grad
    assert gradient is not None
    assert expected is not None
    assert torch.equal(gradient, expected.masked_fill(~MASK["0.weight"], 0))
    assert expected[~MASK["0.weight"]].any()


def test_two_losses_may_wait_for_one_backward_pass_while_another_network_is_stepped() -> None:
    model, other = network(), network()
    optimizer = torch.optim.SGD(other.parameters(), 0.1)
    with held_at_zero(model, MASK):
        first = loss(model)
        train(other, optimizer, 1)  # its step must not look like a change of `model`
        torch.autograd.backward(first + loss(model))
    assert first_weight(model).grad is not None


def test_frozen_and_sparse_gradients() -> None:
    model = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Linear(4, 2))
    model[1].weight.requires_grad_(False)
    mask = {"0.weight": torch.arange(20).view(5, 4) % 2 == 0, "1.weight": torch.eye(2, 4, dtype=torch.bool)}
    for name, survives in mask.items():
        model.get_parameter(name).data.masked_fill_(~survives, 0)
    with held_at_zero(model, mask):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        torch.autograd.backward(nn.functional.cross_entropy(model(torch.tensor([1, 3])), torch.tensor([0, 1])))
        gradient = first_weight(model).grad
        assert gradient is not None
        assert gradient.layout is torch.sparse_coo
        optimizer.step()
    check_held(model, mask, 1)


def test_a_compiled_model_is_held_too() -> None:
    model = network()
    with held_at_zero(model, MASK):
        compiled = torch.compile(model, backend="aot_eager")
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
        torch.autograd.backward(loss(compiled))
        gradient = first_weight(model).grad
        assert gradient is not None
        assert not gradient[~MASK["0.weight"]].any()
        optimizer.step()
    check_held(model, MASK, 1)


def test_a_model_that_is_converted_meanwhile() -> None:
    model = network()
    with held_at_zero(model, MASK):
        model.double()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
        torch.autograd.backward(nn.functional.cross_entropy(model(INPUTS.double()), TARGETS))
        optimizer.step()
    check_held(model, MASK, 1)


def test_nothing_is_left_behind() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ZeroDivisionError), held_at_zero(model, MASK):
        raise ZeroDivisionError
    train(model, optimizer)
    assert first_weight(model)[~MASK["0.weight"]].any()


def test_weights_that_were_changed_past_the_optimizer_are_told() -> None:
    model = network()
    with held_at_zero(model, MASK), torch.no_grad():
        first_weight(model).add_(1)
    with pytest.raises(
        UserError, match=r"^16 pruned weights of '0\.weight' are not zero after the training of level 3"
    ):
        check_held(model, MASK, 3)


def test_a_parameter_that_is_replaced_is_told() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with held_at_zero(model, MASK):
        prune.identity(model.get_submodule("0"), "weight")  # type: ignore[no-untyped-call]
        with pytest.raises(UserError, match=r"no longer has the parameter '0\.weight'"):
            train(model, optimizer, 1)

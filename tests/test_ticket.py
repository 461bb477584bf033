from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from lottery_pools.errors import UserError
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import (
    LazyTensors,
    Ticket,
    aliased,
    check_fit,
    load_into,
    shapes,
    snapshot,
    without_aliases,
)

WEIGHTS = {"w": torch.tensor([[1.0, 0.0, -2.0]]), "n": torch.tensor(3)}
MASK = {"w": torch.tensor([[True, False, True]])}


def network(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width))


def test_a_ticket_counts_its_weights() -> None:
    ticket = Ticket(WEIGHTS, MASK, level=4)
    assert (ticket.kept, ticket.prunable, ticket.density, ticket.level) == (2, 3, 2 / 3, 4)
    assert ticket.origin == {}


def test_zeros_under_the_mask_count_for_its_density_alone() -> None:
    ticket = Ticket(WEIGHTS, {"w": torch.tensor([[True, True, True]])}, level=4)
    assert (ticket.density, ticket.nonzero_density) == (1.0, 2 / 3)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({}, "ticket of level 4 has an empty mask: name at least one prunable tensor"),
        ({"v": MASK["w"]}, "mask 'v' of the ticket of level 4 has no tensor of that name"),
        (
            {"w": MASK["w"][0]},
            "mask 'w' of the ticket of level 4 is torch.bool (3,): its tensor needs a torch.bool mask of shape (1, 3)",
        ),
        (
            {"w": MASK["w"].float()},
            "mask 'w' of the ticket of level 4 is torch.float32 (1, 3): "
            "its tensor needs a torch.bool mask of shape (1, 3)",
        ),
        (
            {"w": torch.zeros(1, 3, dtype=torch.bool)},
            "2 pruned weights of 'w' of the ticket of level 4 are not zero: "
            "multiply the weights by the mask (masks.apply) first",
        ),
    ],
)
def test_a_mask_that_does_not_fit(mask: dict[str, Tensor], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        Ticket(WEIGHTS, mask, 4)


def test_a_pruned_nan_is_not_zero() -> None:
    with pytest.raises(UserError, match=r"^1 pruned weights of 'w'"):
        Ticket({"w": torch.tensor([1.0, float("nan")])}, {"w": torch.tensor([True, False])}, 0)


def test_what_is_not_finite_among_the_survivors_is_named_with_its_ticket_and_tensor() -> None:
    weights = {**WEIGHTS, "w": torch.tensor([[float("nan"), 0.0, float("-inf")]])}
    with pytest.raises(UserError, match=r"^2 weights of 'w' of the ticket of level 4 are NaN or infinite: "):
        Ticket(weights, MASK, 4)
    assert Ticket({**WEIGHTS, "b": torch.tensor([float("nan")])}, MASK, 4).kept == 2  # no weight that is ranked


def test_level_and_origin_become_plain_values() -> None:
    origin = {"seed": np.int64(3), "accuracy": np.float32(0.5), "parents": {1: "ab"}, "steps": (torch.tensor(2), None)}
    ticket = Ticket(WEIGHTS, MASK, np.int64(4), origin)  # type: ignore[arg-type]
    assert (type(ticket.level), ticket.level) == (int, 4)
    assert ticket.origin == {"seed": 3, "accuracy": 0.5, "parents": {"1": "ab"}, "steps": (2, None)}
    assert [type(ticket.origin[name]) for name in ("seed", "accuracy")] == [int, float]


@pytest.mark.parametrize("level", [1.5, "1", None])
def test_a_level_that_is_no_whole_number(level: Any) -> None:
    with pytest.raises(UserError, match=rf"^the level of a ticket is {level!r}: give a whole number$"):
        Ticket(WEIGHTS, MASK, level)


def test_an_origin_that_no_file_can_hold() -> None:
    with pytest.raises(UserError, match=r"^the origin of the ticket of level 4 has \{1\}, a set, which JSON does not "):
        Ticket(WEIGHTS, MASK, 4, {"levels": {1}})
    with pytest.raises(UserError, match=r"^the origin of .* has 'x' as 'recipe', which must be a list of pairs"):
        Ticket(WEIGHTS, MASK, 4, {"recipe": "x"})


def test_weights_that_torch_prunes_in_two_parts_are_refused_with_the_remedy() -> None:
    model = nn.Sequential(nn.Linear(3, 1))
    prune.random_unstructured(model[0], "weight", 1)  # type: ignore[no-untyped-call]
    mask = {"0.weight_orig": snapshot(model)["0.weight_mask"].bool()}
    with pytest.raises(UserError) as error:
        Ticket(masks.apply(snapshot(model), mask), mask, 2)
    assert str(error.value) == (
        "the ticket of level 2 has '0.weight_orig' and '0.weight_mask' of torch.nn.utils.prune: call "
        "prune.remove(module, 'weight') on each pruned module before taking its state_dict, or give their product as "
        "'0.weight'"
    )


class WithExtraState(nn.Linear):
    def __init__(self, state: Any) -> None:
        super().__init__(2, 2)
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


@pytest.mark.parametrize("state", [{"scale": 3}, torch.ones(2)])
def test_extra_state_is_refused_in_words(state: Any) -> None:
    model = nn.Sequential(WithExtraState(state))
    weights = {name: tensor for name, tensor in model.state_dict().items() if "extra" not in name}
    for act in (lambda: snapshot(model), lambda: load_into(model, weights), lambda: aliased(weights, model)):
        with pytest.raises(
            UserError, match=rf"the extra state '0\._extra_state' \({type(state).__name__}\), which tick"
        ):
            act()


def test_load_into_is_the_inverse_of_snapshot_and_shares_nothing() -> None:
    model, other = network(), network()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model(torch.rand(2, 3, 5, 5))  # moves the statistics and the int64 counter
    taken = snapshot(model)
    load_into(other, taken)
    before = {name: tensor.clone() for name, tensor in taken.items()}
    for module in (model, other):
        assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.add_(1)
    assert list(taken) == list(model.state_dict())
    assert all(torch.equal(taken[name], before[name]) for name in taken)
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in taken.values())


def test_load_into_names_the_first_tensor_that_differs_with_both_shapes_and_changes_nothing() -> None:
    model = network(4)
    before = snapshot(model)
    with pytest.raises(UserError) as error:
        load_into(model, snapshot(network(5)), "the tensors of x.safetensors")
    assert str(error.value) == (
        "'0.weight' is (5, 3, 3, 3) in the tensors of x.safetensors and (4, 3, 3, 3) in the model: "
        "give the model, with the arguments, that they were trained with"
    )
    lacking = {name: tensor for name, tensor in before.items() if name != "1.bias"}
    with pytest.raises(UserError, match=r"^the weights lack '1\.bias' \(4,\): they belong to another model$"):
        load_into(model, lacking)
    with pytest.raises(UserError, match=r"^the weights have 'fc\.bias' \(2,\), the model does not: give the model"):
        load_into(model, {**before, "fc.bias": torch.zeros(2)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_shapes_fit_the_model_they_are_of() -> None:
    in_model = shapes(network().state_dict())
    assert in_model["0.weight"] == (4, 3, 3, 3)
    assert in_model["1.num_batches_tracked"] == ()
    check_fit(network(), in_model, "the weights")


def test_a_tensor_under_the_name_of_a_wrapper() -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    with pytest.raises(
        UserError, match=r"have 'module.0.weight' where the model has '0.weight': strip 'module.', which"
    ):
        load_into(network(), wrapped)


def test_what_is_no_mapping_is_named() -> None:
    with pytest.raises(UserError, match=r"^Sequential is no mapping of names to tensors: give a state_dict"):
        Ticket(network(), MASK, 0)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=r"^list is no mapping of names to tensors: give a state_dict, or a dict of masks"
    ):
        Ticket(WEIGHTS, ["w"], 0)  # type: ignore[arg-type]


def test_a_ticket_is_shown_without_its_numbers() -> None:
    assert repr(Ticket(WEIGHTS, MASK, 2)) == "Ticket(level=2, origin={}, kept=2, prunable=3)"


def test_what_is_no_tensor_is_named() -> None:
    with pytest.raises(UserError, match=r"^'epoch' is int, no tensor: give a state_dict"):
        Ticket({**WEIGHTS, "epoch": 3}, MASK, 0)  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"^'w' is list, no tensor: .* or bool tensors as mask"):
        Ticket(WEIGHTS, {"w": [True, False, True]}, 0)  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"^3 is int, no name of a tensor: give a state_dict"):
        Ticket({**WEIGHTS, 3: WEIGHTS["w"]}, MASK, 0)  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"^'epoch' is int, no tensor: give a state_dict"):
        load_into(network(), {**network().state_dict(), "epoch": 3})  # type: ignore[dict-item]


def test_lazy_tensors_are_read_when_asked_for_and_not_before() -> None:
    read: list[str] = []

    def read_tensor(name: str) -> Tensor:
        read.append(name)
        return torch.full((2,), 3.0)

    lazy = LazyTensors({"w": (2,)}, read_tensor)
    assert (list(lazy), len(lazy), "w" in lazy.shapes, shapes(lazy)) == (["w"], 1, True, {"w": (2,)})
    with pytest.raises(KeyError):
        lazy["v"]
    assert not read
    assert lazy["w"].tolist() == lazy["w"].tolist() == [3.0, 3.0]
    assert read == ["w", "w"]


def test_tensors_in_the_models_own_memory_are_copied() -> None:
    model = network()
    weights = {**snapshot(model), "1.weight": model.state_dict()["1.weight"]}
    assert aliased(weights, model) == {"1.weight"}
    separate = without_aliases(weights, model)
    assert not aliased(separate, model)
    assert all(torch.equal(separate[name], tensor) for name, tensor in weights.items())
    assert separate["0.weight"] is weights["0.weight"]
    assert without_aliases(separate, model) is separate


def test_to_look_for_shared_memory_reads_no_lazy_tensor() -> None:
    def read_tensor(name: str) -> Tensor:
        raise AssertionError(name)

    lazy = LazyTensors({name: tuple(tensor.shape) for name, tensor in network().state_dict().items()}, read_tensor)
    assert aliased(lazy, network()) == set()
    assert without_aliases(lazy, network()) is lazy

"""Arithmetic on name → tensor: exact at the ends, the same in any order, integers copied, density to the weight."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Literal

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lottery_pools.pooling import weights as arithmetic
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket

FLOATS = st.floats(-(2.0**99), 2.0**99, width=32).filter(lambda x: not (x == 0 and math.copysign(1, x) < 0))  # no -0
COLUMN = st.lists(FLOATS, min_size=5, max_size=5)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def bits(tensor: Tensor) -> list[int]:
    return tensor.contiguous().view(torch.uint8).tolist()


@settings(deadline=None)
@given(COLUMN, COLUMN)
def test_lerp_is_one_of_its_operands_at_the_ends_to_the_bit(first: list[float], second: list[float]) -> None:
    a, b = {"w": torch.tensor(first)}, {"w": torch.tensor(second)}
    assert bits(arithmetic.lerp(a, b, 1.0)["w"]) == bits(a["w"])
    assert bits(arithmetic.lerp(a, b, 0.0)["w"]) == bits(b["w"])


def test_lerp_weighs_the_first_by_alpha() -> None:
    mixed = arithmetic.lerp({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([5.0, 2.0])}, 0.75)
    assert mixed["w"].tolist() == [2.0, 0.5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_typed_as_the_first_and_integers_are_copied_from_it(dtype: torch.dtype) -> None:
    first = {"w": torch.ones(2, dtype=dtype), "steps": torch.tensor(7), "flags": torch.tensor([True, False])}
    second = {"w": torch.zeros(2), "steps": torch.tensor(100), "flags": torch.tensor([False, True])}
    for result in (arithmetic.lerp(first, second, 0.5), arithmetic.average([first, second])):
        assert result["w"].dtype == dtype
        assert result["w"].tolist() == [0.5, 0.5]
        assert result["steps"].item() == 7
        assert result["flags"].tolist() == [True, False]
        result["steps"] += 1
    assert first["steps"].item() == 7


@settings(deadline=None)
@given(st.lists(COLUMN, min_size=2, max_size=4))
@example([[2.0**90] * 5, [1.0] * 5, [-(2.0**90)] * 5])
def test_average_is_the_same_in_any_order_to_the_bit(columns: list[list[float]]) -> None:
    items = [{"w": torch.tensor(column)} for column in columns]
    assert len({tuple(bits(arithmetic.average(order)["w"])) for order in permutations(items)}) == 1
    exact = [math.fsum(values) / len(values) for values in zip(*columns, strict=True)]
    error = max(map(abs, sum(columns, []))) * 1e-15  # noqa: RUF017
    torch.testing.assert_close(arithmetic.average(items)["w"], torch.tensor(exact), rtol=1e-6, atol=error)


def test_distance_is_euclidean_over_the_named_tensors() -> None:
    first = {"a": torch.tensor([3.0]), "b": torch.tensor([[0.0], [5.0]]), "c": torch.tensor([1e9])}
    second = {"a": torch.tensor([0.0]), "b": torch.tensor([[4.0], [5.0]]), "c": torch.tensor([0.0])}
    assert arithmetic.distance(first, second, ["a", "b"]) == 5.0


@settings(deadline=None)
@given(
    kept=st.tuples(st.integers(0, 6), st.integers(1, 4)),
    values=st.lists(st.integers(-2, 2), min_size=10, max_size=10),
    scope=st.sampled_from(["global", "layer"]),
)
def test_prune_back_keeps_the_largest_and_exactly_as_many(
    kept: tuple[int, int], values: list[int], scope: Literal["global", "layer"]
) -> None:
    dense = {"a": torch.ones(2, 3), "b": torch.ones(4), "bias": torch.ones(2)}
    mask = {"a": (torch.arange(6) < kept[0]).view(2, 3), "b": torch.arange(4) < kept[1]}
    ticket = Ticket(masks.apply(dense, mask), mask, 1)
    weights = {
        "a": torch.tensor(values[:6]).float().view(2, 3),
        "b": torch.tensor(values[6:]).float(),
        "bias": -mask["b"][:2].float(),
    }
    new = arithmetic.back_mask(weights, ticket, scope)
    pruned = arithmetic.prune_back(weights, ticket, scope)
    assert masks.count(new) == (sum(kept), 10)
    if scope == "layer":
        assert (int(new["a"].sum()), int(new["b"].sum())) == kept
    groups = [["a", "b"]] if scope == "global" else [["a"], ["b"]]
    for group in groups:
        stay = [float(w) for name in group for w in weights[name][new[name]].abs()]
        go = [float(w) for name in group for w in weights[name][~new[name]].abs()]
        assert min(stay, default=9.0) >= max(go, default=0.0)
    for name, tensor in pruned.items():
        expected = weights[name] * new[name] if name in new else weights[name]
        assert torch.equal(tensor, expected)

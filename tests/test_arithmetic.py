"""Arithmetic on name → tensor: exact at the ends, the same in any order, integers copied, density to the weight."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lottery_pools.pooling import arithmetic

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


def test_equal_infinities_stay_as_attention_masks_have_them() -> None:
    causal = {"mask": torch.full((2, 2), -math.inf).triu(1)}
    for result in (
        arithmetic.lerp(causal, causal, 0.5),
        arithmetic.weighted(causal, [causal, causal], [0.5, 0.5]),
    ):
        assert torch.equal(result["mask"], causal["mask"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_typed_as_the_first_and_integers_are_copied_from_it(dtype: torch.dtype) -> None:
    first = {"w": torch.ones(2, dtype=dtype), "steps": torch.tensor(7), "flags": torch.tensor([True, False])}
    second = {"w": torch.zeros(2), "steps": torch.tensor(100), "flags": torch.tensor([False, True])}
    total = arithmetic.add(arithmetic.add({}, first), second)
    for result in (
        arithmetic.lerp(first, second, 0.5),
        arithmetic.weighted(first, [first, second], [0.5, 0.5]),
        arithmetic.divide(total, 2, first),
    ):
        assert result["w"].dtype == dtype
        assert result["w"].tolist() == [0.5, 0.5]
        assert result["steps"].item() == 7
        assert result["flags"].tolist() == [True, False]
        result["steps"] += 1
    assert first["steps"].item() == 7


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_leave_what_they_were_given_alone(dtype: torch.dtype) -> None:
    items = [{"w": torch.tensor([1.0, 2.0], dtype=dtype)}, {"w": torch.tensor([3.0, 8.0], dtype=dtype)}]
    assert arithmetic.weighted(items[0], items, [0.5, 2.0])["w"].tolist() == [6.5, 17.0]
    total = arithmetic.add(arithmetic.add({}, items[0]), items[1])
    assert arithmetic.divide(total, 2, items[0])["w"].tolist() == [2.0, 5.0]
    assert [item["w"].tolist() for item in items] == [[1.0, 2.0], [3.0, 8.0]]


@settings(deadline=None)
@given(st.lists(COLUMN, min_size=2, max_size=4))
def test_sums_round_only_at_the_end(columns: list[list[float]]) -> None:
    items = [{"w": torch.tensor(column)} for column in columns]
    n = len(items)
    exact = torch.tensor([math.fsum(values) / n for values in zip(*columns, strict=True)])
    error = max(abs(value) for column in columns for value in column) * 1e-15
    total: dict[str, Tensor] = {}
    for item in items:
        total = arithmetic.add(total, item)
    torch.testing.assert_close(arithmetic.divide(total, n, items[0])["w"], exact, rtol=1e-6, atol=error)
    torch.testing.assert_close(arithmetic.weighted(items[0], items, [1 / n] * n)["w"], exact, rtol=1e-6, atol=error)


def test_tensors_may_have_shares_of_their_own() -> None:
    items = [{"a": torch.tensor(1.0), "b": torch.tensor(1.0)}, {"a": torch.tensor(3.0), "b": torch.tensor(3.0)}]
    mixed = arithmetic.weighted(items[0], items, [0.5, 0.5], {"b": [0.25, 0.75]})
    assert (mixed["a"].item(), mixed["b"].item()) == (2.0, 2.5)


def test_distance_is_euclidean_over_the_named_tensors() -> None:
    first = {"a": torch.tensor([3.0]), "b": torch.tensor([[0.0], [5.0]]), "c": torch.tensor([1e9])}
    second = {"a": torch.tensor([0.0]), "b": torch.tensor([[4.0], [5.0]]), "c": torch.tensor([0.0])}
    assert arithmetic.distance(first, second, ["a", "b"]) == 5.0


class Reading(Mapping[str, Tensor]):
    """A ticket whose tensor is read anew each time, as from a file; counts how many are in memory at once."""

    alive, most = 0, 0

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.ones(4)
        Reading.alive += 1
        Reading.most = max(Reading.most, Reading.alive)
        weakref.finalize(tensor, self.gone)
        return tensor

    @staticmethod
    def gone() -> None:
        Reading.alive -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(["w"])

    def __len__(self) -> int:
        return 1


def test_a_weighted_sum_reads_one_ticket_at_a_time() -> None:
    total = arithmetic.weighted({"w": torch.zeros(4)}, [Reading() for _ in range(9)], [1.0] * 9)
    assert total["w"].tolist() == [9.0] * 4
    assert Reading.most <= 2  # the one that is added, while the next is read

"""The layout sparse-bitmask is written and read as its library does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.errors import UserError
from lottery_pools.exchange import bitmask
from lottery_pools.runs.seeds import generator


def test_the_layout_is_the_published_one() -> None:
    """Bits along the last dimension, the first the lowest of its byte; row offsets count the values before each row."""
    weight = torch.tensor([[0.0, 1, 0, 2, 0, 0, 0, 0, 3], [4, 0, 0, 0, 0, 0, 0, 5, 0]])
    parts = bitmask.encode(weight, weight != 0)
    assert parts["shape"].tolist() == [2, 9]
    assert parts["compressed"].tolist() == [1, 2, 3, 4, 5]
    assert parts["bitmask"].dtype == torch.uint8
    assert parts["bitmask"].tolist() == [[0b1010, 1], [0b10000001, 0]]
    assert parts["row_offsets"].tolist() == [0, 3]


@given(st.lists(st.integers(1, 11), min_size=1, max_size=4), st.integers(0, 100))
def test_round_trip_of_any_shape_with_weights_that_survive_as_zero(shape: list[int], seed: int) -> None:
    draws = generator(seed, "bitmask")
    mask = torch.rand(shape, generator=draws) < 0.5
    weight = torch.randn(shape, generator=draws) * mask * (torch.rand(shape, generator=draws) < 0.9)
    parts = bitmask.encode(weight, mask)
    decoded = bitmask.decode(parts["shape"], parts["compressed"], parts["bitmask"])
    assert torch.equal(decoded[0], weight)
    assert torch.equal(decoded[1], mask)


def test_the_library_reads_it_and_we_read_what_it_wrote() -> None:
    library = pytest.importorskip("compressed_tensors.compressors.sparse_compressors.sparse_bitmask")
    weight = torch.randn(6, 2, 3, 3) * (torch.rand(6, 2, 3, 3) < 0.3)
    parts = bitmask.encode(weight, weight != 0)
    assert torch.equal(library.BitmaskTensor(**parts).decompress(), weight)
    theirs = library.BitmaskTensor.from_dense(weight).dict("layer")
    assert {name.removeprefix("layer."): t.tolist() for name, t in theirs.items()} == {
        name: t.tolist() for name, t in parts.items()
    }
    assert torch.equal(bitmask.decoded(theirs)[0]["layer.weight"], weight)


@pytest.mark.parametrize("stem", ["a", "a.weight"])
def test_both_spellings_of_names_are_read_and_other_tensors_stay(stem: str) -> None:
    weight = torch.tensor([[0.0, 7.0]])
    tensors = {f"{stem}.{part}": tensor for part, tensor in bitmask.encode(weight, weight != 0).items()}
    weights, masks = bitmask.decoded({"a.bias": torch.ones(1), **tensors})
    assert weights.keys() == {"a.bias", "a.weight"}
    assert torch.equal(weights["a.weight"], weight)
    assert masks["a.weight"].tolist() == [[False, True]]


def test_damage_and_quantised_layers_are_refused() -> None:
    parts = bitmask.encode(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))
    tensors = {f"a.{part}": tensor for part, tensor in parts.items()}
    with pytest.raises(UserError, match="keeps 6 weights of which 5 are there"):
        bitmask.decoded({**tensors, "a.compressed": torch.ones(5)})
    with pytest.raises(UserError, match=r"a bitmask is torch.uint8 \(2, 1\) for a tensor of \(9, 9\)"):
        bitmask.decoded({**tensors, "a.shape": torch.tensor([9, 9])})
    with pytest.raises(UserError, match="'a' has a bitmask but no compressed"):
        bitmask.decoded({name: tensor for name, tensor in tensors.items() if name != "a.compressed"})
    with pytest.raises(UserError, match=r"'b\.weight_packed' is part of a quantised layer"):
        bitmask.decoded({"b.weight_packed": torch.ones(2)})

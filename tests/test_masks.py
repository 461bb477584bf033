from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks

Case = tuple[dict[str, Tensor], dict[str, Tensor], int]


@st.composite
def cases(draw: Any) -> Case:
    """Weights of few different values, hence with ties and zeros; a mask with survivors; how many to keep."""
    draws = generator(draw(st.integers(0, 10**6)), "masks")
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]))
    sizes = draw(st.lists(st.sampled_from([(1,), (7,), (2, 3), (4, 1, 5)]), min_size=1, max_size=4))
    values = draw(st.sampled_from([0, 2, 100]))
    weights = {
        f"t{i}": torch.randint(-values, values + 1, size, generator=draws).to(dtype) for i, size in enumerate(sizes)
    }
    mask = {name: torch.rand(w.shape, generator=draws) < 0.7 for name, w in weights.items()}
    mask["t0"].view(-1)[0] = True
    return weights, mask, draw(st.integers(1, masks.count(mask)[0]))


def brute(weights: dict[str, Tensor], mask: dict[str, Tensor], keep: int) -> dict[str, list[bool]]:
    """The first `keep` survivors of a stable sort by falling magnitude."""
    survivors = [
        (abs(value), name, position)
        for name, tensor in weights.items()
        for position, value in enumerate(tensor.flatten().tolist())
        if mask[name].flatten()[position]
    ]
    kept = {(name, position) for _, name, position in sorted(survivors, key=lambda s: -s[0])[:keep]}
    return {name: [(name, i) in kept for i in range(tensor.numel())] for name, tensor in weights.items()}


@given(cases())
def test_global_pruning_is_a_stable_sort_of_the_survivors(case: Case) -> None:
    weights, mask, keep = case
    pruned = masks.prune(masks.magnitude(weights, mask), mask, keep)
    assert {name: m.flatten().tolist() for name, m in pruned.items()} == brute(weights, mask, keep)
    assert all(m.dtype == torch.bool and m.shape == weights[name].shape for name, m in pruned.items())


@given(cases())
def test_layer_pruning_takes_the_same_share_of_every_tensor_and_sums_exactly(case: Case) -> None:
    weights, mask, keep = case
    pruned = masks.prune(masks.magnitude(weights, mask), mask, keep, "layer")
    before, after = masks.count(mask)[0], masks.count(pruned)[0]
    assert after == keep
    for name, m in pruned.items():
        kept = int(m.sum())
        assert abs(kept - keep * int(mask[name].sum()) / before) < 1
        alone = brute({name: weights[name]}, {name: mask[name]}, kept)
        assert m.flatten().tolist() == alone[name]


def test_layer_pruning_gives_whole_weights_to_the_largest_remainders_then_to_the_earlier_tensor() -> None:
    mask = {
        "a": torch.ones(3, dtype=torch.bool),
        "b": torch.ones(4, dtype=torch.bool),
        "c": torch.ones(3, dtype=torch.bool),
    }
    scores = {name: torch.ones(m.shape) for name, m in mask.items()}

    def shares(keep: int) -> list[int]:
        return [int(m.sum()) for m in masks.prune(scores, mask, keep, "layer").values()]

    assert shares(5) == [2, 2, 1]  # 1.5, 2.0, 1.5
    assert shares(4) == [1, 2, 1]  # 1.2, 1.6, 1.2
    assert shares(1) == [0, 1, 0]  # 0.3, 0.4, 0.3
    assert shares(10) == [3, 4, 3]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_pruned_weight_never_comes_back_though_survivors_are_zero(scope: Literal["global", "layer"]) -> None:
    weights = {"w": torch.tensor([9.0, 0.0, 9.0, 0.0, 0.0])}
    mask = {"w": torch.tensor([False, True, False, True, True])}
    assert masks.prune(masks.magnitude(weights, mask), mask, 2, scope)["w"].tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("keep", [-1, 0, 4])
def test_keep_out_of_range(keep: int, scope: Literal["global", "layer"]) -> None:
    mask = {"w": torch.tensor([True, True, True, False])}
    with pytest.raises(UserError, match=f"^cannot keep {keep} of 3 surviving weights: ask for a density") as error:
        masks.prune({"w": torch.ones(4)}, mask, keep, scope)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_nan_cannot_be_ranked_but_infinity_can(scope: Literal["global", "layer"]) -> None:
    mask = masks.dense({"a": torch.ones(2), "b": torch.ones(2)}, ["a", "b"])
    scores = {"a": torch.tensor([0.5, 0.1]), "b": torch.tensor([float("nan"), 1.0])}
    with pytest.raises(UserError, match=r"^'b' has weights that are NaN and cannot be ranked: train with"):
        masks.prune(scores, mask, 2, scope)
    mask["b"][0] = False  # no survivor: its score is of no account
    assert masks.prune(scores, mask, 2, scope)["b"].tolist() == [False, True]
    scores["a"][1] = float("inf")
    assert masks.prune(scores, mask, 1)["a"].tolist() == [False, True]


def test_apply_gives_positive_zeros_and_passes_on_what_has_no_mask() -> None:
    weights = {"w": torch.tensor([-1.0, -2.0, float("nan"), float("-inf")]), "b": torch.ones(2)}
    applied = masks.apply(weights, {"w": torch.tensor([True, False, False, False])})
    assert applied["w"].tolist() == [-1.0, 0.0, 0.0, 0.0]
    assert applied["w"].signbit().tolist() == [True, False, False, False]
    assert applied["b"] is weights["b"]
    assert weights["w"][1] == -2.0


def test_dense_from_zeros_and_count() -> None:
    weights = {"w": torch.tensor([[1.0, 0.0], [-0.0, -3.0]]), "b": torch.zeros(2)}
    assert masks.dense(weights, ["w"])["w"].tolist() == [[True, True], [True, True]]
    nonzero = masks.from_zeros(weights, ["w"])
    assert nonzero["w"].tolist() == [[True, False], [False, True]]
    assert list(nonzero) == ["w"]
    assert masks.count(nonzero) == (2, 4)
    assert masks.count({}) == (0, 0)


def test_float64_weights_are_ranked_as_such_and_beside_float32() -> None:
    weights = {"a": torch.tensor([1.0, 0.5]), "b": torch.tensor([1, 1 + 1e-9, 1e-50, 0], dtype=torch.float64)}
    mask = masks.dense(weights, weights)
    kept = [masks.prune(masks.magnitude(weights, mask), mask, keep) for keep in (1, 2, 5)]
    assert [(k["a"].tolist(), k["b"].tolist()) for k in kept] == [
        ([False, False], [False, True, False, False]),
        ([True, False], [False, True, False, False]),
        ([True, True], [True, True, True, False]),
    ]


def test_the_names_of_a_mask_are_among_the_weights() -> None:
    weights = {"conv.weight": torch.ones(2)}
    with pytest.raises(UserError, match=r"^unknown tensor 'conv.wieght': did you mean 'conv.weight'\?$"):
        masks.from_zeros(weights, ["conv.wieght"])
    with pytest.raises(UserError, match=r"^names is 'conv.weight': give the names of the prunable tensors in a list$"):
        masks.from_zeros(weights, "conv.weight")


def test_random_scores_are_a_function_of_the_seed_alone() -> None:
    mask = {"a": torch.ones(50, dtype=torch.bool), "b": torch.ones(50, dtype=torch.bool)}

    def kept(seed: int) -> dict[str, list[bool]]:
        scores = masks.random_scores(mask, generator(seed, "prune", 1))
        return {name: m.tolist() for name, m in masks.prune(scores, mask, 40).items()}

    first = kept(0)
    assert first == kept(0)
    assert first != kept(1)
    assert first["a"] != first["b"]

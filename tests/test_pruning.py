"""Pruning back: exactly as many weights as the target keeps, by each rule, tied tensors ranked once."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lottery_pools.pooling import pruning
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket


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
    new = pruning.back_mask(weights, ticket, scope)
    pruned = pruning.prune_back(weights, ticket, scope)
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


@settings(deadline=None)
@given(
    values=st.lists(st.integers(-2, 2), min_size=10, max_size=10),
    bits=st.tuples(*[st.lists(st.booleans(), min_size=10, max_size=10)] * 3),
    scope=st.sampled_from(["global", "layer"]),
    rule=st.sampled_from(["target", "union", "intersection"]),
)
def test_mask_rules_keep_their_own_first_and_exactly_as_many(
    values: list[int], bits: tuple[list[bool], ...], scope: pruning.Scope, rule: pruning.MaskRule
) -> None:
    def split(flat: Tensor) -> dict[str, Tensor]:
        return {"a": flat[:6].view(2, 3), "b": flat[6:]}

    target, *merged = (split(torch.tensor(mask)) for mask in bits)
    assume(masks.count(target)[0] > 0)
    ticket = Ticket(masks.apply(split(torch.ones(10)), target), target, 1)
    weights = split(torch.tensor(values).float())
    first = pruning.preferred(rule, target, merged)
    assert first is not None
    expected = {"target": target, "union": {n: merged[0][n] | merged[1][n] for n in target}}.get(
        rule, {n: merged[0][n] & merged[1][n] for n in target}
    )
    assert all(torch.equal(first[name], expected[name]) for name in target)
    new = pruning.back_mask(weights, ticket, scope, first)
    assert masks.count(new) == masks.count(target)
    if rule == "target":
        assert all(torch.equal(new[name], target[name]) for name in target)
    for group in [["a", "b"]] if scope == "global" else [["a"], ["b"]]:
        rank = [  # those in `first`, then the larger
            (bool(first[name].flatten()[i]), float(weights[name].flatten()[i].abs()), bool(new[name].flatten()[i]))
            for name in group
            for i in range(new[name].numel())
        ]
        assert sum(kept for *_, kept in rank) == sum(int(target[name].sum()) for name in group)
        stay, go = ([key for *key, kept in rank if kept is which] for which in (True, False))
        assert not stay or not go or min(stay) >= max(go)


def test_magnitude_prefers_none() -> None:
    mask = {"a": torch.tensor([True, False])}
    assert pruning.preferred("magnitude", mask, [mask]) is None


class Tied(nn.Module):
    """One tensor under two names, beside another."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = (nn.Linear(3, 3, bias=False) for _ in range(3))
        self.decoder.weight = self.encoder.weight


TIED = ["encoder.weight", "decoder.weight"]


def tied_ticket(shared: int, head: int) -> Ticket:
    """The first `shared` weights of the tied tensor survive, and the first `head` of the other."""
    positions = torch.arange(9).view(3, 3)
    mask = dict.fromkeys(TIED, positions < shared) | {"head.weight": positions < head}
    return Ticket({name: kept.float() for name, kept in mask.items()}, mask, 1)


def test_tied_names_are_found() -> None:
    assert pruning.tied_names(Tied(), ["encoder.weight", "decoder.weight", "head.weight"]) == [TIED]
    assert pruning.tied_names(Tied(), ["encoder.weight", "head.weight"]) == []


@settings(deadline=None)
@given(
    values=st.lists(st.integers(0, 9), min_size=18, max_size=18),
    kept=st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(any),
    scope=st.sampled_from(["global", "layer"]),
)
def test_a_tied_tensor_is_ranked_once_and_counted_under_each_name(
    values: list[int], kept: tuple[int, int], scope: Literal["global", "layer"]
) -> None:
    ticket = tied_ticket(*kept)
    shared, head = (torch.tensor(part).float().view(3, 3) for part in (values[:9], values[9:]))
    weights = {**dict.fromkeys(TIED, shared), "head.weight": head}
    mask = pruning.back_mask(weights, ticket, scope, tied=[TIED])
    assert list(mask) == list(ticket.mask)
    assert torch.equal(mask[TIED[0]], mask[TIED[1]])
    assert masks.count(mask) == masks.count(ticket.mask)
    for name, tensor in (("encoder.weight", shared), ("head.weight", head)):
        stay, go = tensor[mask[name]], tensor[~mask[name]]
        assert not len(stay) or not len(go) or stay.min() >= go.max()


def test_tied_weights_are_taken_by_their_rank_over_the_network() -> None:
    ticket = tied_ticket(2, 2)  # 2 · 2 + 2 = 6 weights
    shared, head = torch.zeros(3, 3), torch.zeros(3, 3)
    shared[0] = torch.tensor([9.0, 5.0, 1.0])
    head[0] = torch.tensor([8.0, 7.0, 6.0])
    mask = pruning.back_mask({**dict.fromkeys(TIED, shared), "head.weight": head}, ticket, tied=[TIED])
    # 9 (twice), 8, 7, 6 make five; 5 would count twice, so the next single one, a zero of the other tensor, is taken
    assert [int(mask[name].sum()) for name in (*TIED, "head.weight")] == [1, 1, 4]
    assert mask["head.weight"][0].all()


@pytest.mark.parametrize("level", range(3))
def test_where_no_single_weight_is_left_the_targets_counts_are_kept(level: int) -> None:
    ticket = tied_ticket(1 + level, 9)
    shared = torch.full((3, 3), 5.0)
    weights = {**dict.fromkeys(TIED, shared), "head.weight": torch.ones(3, 3)}
    mask = pruning.back_mask(weights, ticket, tied=[TIED])
    assert masks.count(mask)[0] == ticket.kept

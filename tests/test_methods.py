"""The methods: each worked out by hand, what holds of every one, and what `pool` refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import batchnorm, learning
from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.methods import METHODS, find
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.pruning import MaskRule, Scope
from lottery_pools.pooling.recipe import Recipe, replay
from lottery_pools.pooling.result import Pooled, Trial
from lottery_pools.pooling.task import PoolingTask
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, snapshot
from tests.test_algorithm2 import (
    COEFFICIENTS,
    HAND,
    Net,
    linear_score,
    linear_ticket,
    make_recalibrate,
    make_samples,
    make_score,
    make_tickets,
    tensors_equal,
)

# Without `recalibrate` a network with BatchNorm is warned of; tests/test_guard.py holds that.
pytestmark = pytest.mark.filterwarnings("ignore:the model has BatchNorm")
NAN = float("nan")
TICKETS = make_tickets(0, range(4))


def make_loss(seed: int) -> Callable[[nn.Module], Tensor]:
    """Cross-entropy on batches of twelve samples that do not score, in turn, from the first at each call of this."""
    images, labels = make_samples(seed + 3)
    batches = [(images[:12], labels[:12]), (images[12:], labels[12:])]

    def loss(model: nn.Module) -> Tensor:
        batches.append(batches.pop(0))
        return nn.functional.cross_entropy(model(batches[-1][0]), batches[-1][1])

    return loss


def make_base(seed: int) -> dict[str, Tensor]:
    return dict(make_tickets(seed, [0], noise=0.1)[0].weights)


def make_inputs(seed: int) -> Callable[[], list[Tensor]]:
    """Two batches of inputs, of different sizes."""
    images = make_samples(seed + 2)[0]
    return lambda: [images[:16], images[16:]]


STEPS = 20
"""Steps of learning in tests of what holds of any number: the published 500 are slow."""


def pooled_by(method: str, seed: int = 0, target: int = 1, **options: Any) -> Pooled:
    labels = make_samples(seed + 2)[1]
    given = {"loss": make_loss(seed), "base": make_base(seed), "samples": make_inputs(seed), "labels": labels}
    options = {"tickets": make_tickets(seed, range(4)), **given, **options}
    model = options.pop("model", None) or Net()
    with patch.object(learning, "LEARNED_SOUP_STEPS", STEPS):
        return pool(model, options.pop("tickets"), target, make_score(seed), method=method, **options)


# By hand


class Undecided(nn.Linear):
    """Two classes that are always equally probable, so that all networks agree equally."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).repeat(1, 2)


def by_hand(
    method: str | Method,
    tickets: Sequence[Ticket],
    target: int,
    score: Callable[[nn.Module], Tensor | float] = linear_score,
    **options: Any,
) -> tuple[Pooled, list[float]]:
    inputs = tickets[0].weights["weight"].shape[1]
    network = Undecided if find(method).compares_predictions else nn.Linear
    pooled = pool(network(inputs, 1, bias=False), tickets, target, score, method=method, **options)
    return pooled, pooled.ticket.weights["weight"][0].tolist()


def product(model: nn.Module) -> float:
    return float(model.weight[0, 0] * model.weight[0, 1])  # type: ignore[index]


def kept_two(level: int, *values: float) -> Ticket:
    mask = {"weight": torch.tensor([[True, True, False, False]])}
    return Ticket({"weight": torch.tensor([values]).float()}, mask, level)


def dense_ticket(level: int, *values: float) -> Ticket:
    weights = {"weight": torch.tensor([values]).float()}
    return Ticket(weights, masks.dense(weights, weights), level)


def test_swa_gives_the_accepted_equal_weight() -> None:
    pooled, weights = by_hand("swa", HAND, 2)
    # 1: [3, 1, 2, 0] → [3, 0, 2, 0] → 1;  3: [1, 4, 0, 0] → 5;  0 at 2/3;  4 at 3/4: [1.875, 2, 0, 2.25] → 2
    assert [(t.candidate, t.alpha, t.accepted) for t in pooled.trials] == [
        (1, 1 / 2, False),
        (3, 1 / 2, True),
        (0, 2 / 3, True),
        (4, 3 / 4, False),
    ]
    assert weights == pytest.approx([7.5 / 3, 8 / 3, 0, 0])


@pytest.mark.parametrize(
    ("method", "alpha", "second"),
    [
        ("ema", 0.95, 0.95 * (0.95 * 1 + 0.05 * 3) + 0.05 * 5),
        ("ema-unguarded", 0.95, 0.95 * (0.95 * 1 + 0.05 * 3) + 0.05 * 5),
        ("ema-as-published", 0.05, 0.05 * (0.05 + 0.95 * 3) + 0.95 * 5),
    ],
)
def test_ema(method: str, alpha: float, second: float) -> None:
    tickets = [linear_ticket(0, 1, 1, 0, 0), linear_ticket(1, 1, 3, 0, 0), linear_ticket(2, 1, 5, 0, 0)]
    pooled, weights = by_hand(method, tickets, 0)
    assert pooled.recipe == ((1, alpha), (2, alpha))
    assert weights == pytest.approx([1, second, 0, 0])


def test_uniform_soup_is_the_mean_of_all_whatever_it_scores() -> None:
    pooled, weights = by_hand("uniform-soup", HAND, 2)
    assert weights == pytest.approx([11.5 / 5, 0, 0, 9 / 5])  # of [2.3, 1.6, 0.8, 1.8]
    assert pooled.score == pytest.approx(2.3)
    assert pooled.target_score == 4
    assert pooled.recipe == tuple((level, 1 / 5) for level in (2, 1, 3, 0, 4))


def test_sparser_soup_is_the_mean_of_the_target_and_all_sparser_whatever_it_scores() -> None:
    alone = Ticket(
        {"weight": torch.tensor([[3.0, 0, 0, 0]])}, {"weight": torch.tensor([[True, False, False, False]])}, 2
    )
    tickets = [dense_ticket(0, 9, 9, 9, 9), kept_two(1, 1, 2, 0, 0), alone]
    pooled, weights = by_hand("sparser-soup", tickets, 1)
    assert weights == pytest.approx([2, 1, 0, 0])
    assert pooled.recipe == ((1, 1 / 2), (2, 1 / 2))
    assert by_hand("sparser-soup", tickets, 2)[0].recipe == ((2, 1.0),)
    unscored = pool(nn.Linear(4, 1, bias=False), tickets, 1, method="sparser-soup")
    assert torch.equal(unscored.ticket.weights["weight"], pooled.ticket.weights["weight"])
    assert math.isnan(unscored.score)
    assert math.isnan(unscored.target_score)


def test_greedy_soup_starts_with_the_best_and_takes_what_does_not_lower_it() -> None:
    # alone, 2 has the product 4, all others 0, so they follow nearest first
    pooled, weights = by_hand("greedy-soup", HAND, 2, product)
    assert pooled.trials[:2] == (
        Trial(1, 1 / 2, 0.0, 4.0, False),  # [3, 1, 2, 0] → [3, 0, 2, 0]
        Trial(3, 1 / 2, 4.0, 4.0, True),  # [1, 4, 0, 0]
    )
    assert [(t.candidate, t.alpha, t.accepted) for t in pooled.trials[2:]] == [(0, 2 / 3, True), (4, 3 / 4, False)]
    assert pooled.recipe == tuple((level, 1 / 3) for level in (2, 3, 0))
    assert weights == pytest.approx([7.5 / 3, 8 / 3, 0, 0])
    alone, weights = by_hand("greedy-soup", HAND, 2)  # 3 scores 6, and every mean with it less
    assert (alone.recipe, weights) == (((3, 1.0),), [0, 6, 0, 0])


def squared(goal: Sequence[float]) -> Callable[[nn.Module], Tensor]:
    def loss(model: nn.Module) -> Tensor:
        weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
        return (weights - torch.tensor(goal, dtype=weights.dtype)).square().sum()

    return loss


def test_learned_soup_finds_the_best_coefficients() -> None:
    # c · [2, 2] + (1 - c) · [6, 0] is nearest to [3, 1.5] at c = 3/4
    tickets = [linear_ticket(0, 2, 2, 0, 0), kept_two(1, 6, 0, 0, 0)]
    pooled, weights = by_hand("learned-soup", tickets, 0, loss=squared([3, 1.5, 0, 0]))
    assert [share for _, share in pooled.recipe] == pytest.approx([3 / 4, 1 / 4], abs=0.01)
    assert weights == pytest.approx([3, 1.5, 0, 0], abs=0.05)
    assert (pooled.evaluations, pooled.gradient_steps) == (2, 500)


def test_learned_soup_by_tensor() -> None:
    tickets = [
        Ticket(
            {"weight": torch.tensor([[value]]), "bias": torch.tensor([value])},
            {"weight": torch.tensor([[True]])},
            level,
        )
        for level, value in enumerate((1.0, 5.0))
    ]
    model = nn.Linear(1, 1)
    pooled = pool(model, tickets, 0, lambda model: 0.0, method="learned-soup-layers", loss=squared([2, 4]))
    assert model.weight.item() == pytest.approx(2, abs=0.05)
    assert model.bias.item() == pytest.approx(4, abs=0.05)
    shares = pooled.settings["shares"]
    assert shares["weight"] == pytest.approx([3 / 4, 1 / 4], abs=0.01)
    assert shares["bias"] == pytest.approx([1 / 4, 3 / 4], abs=0.01)
    assert [share for _, share in pooled.recipe] == pytest.approx([1 / 2, 1 / 2], abs=0.01)


def test_learned_soup_by_tensor_leaves_a_bias_alone_that_batchnorm_cancels() -> None:
    # its gradient is a rounding error, which Adam scaled up to whole steps in directions that differed by device
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), torch.randn(32, 3)
    tickets = []
    for level in range(3):
        weights = {
            name: tensor + 0.3 * torch.randn(tensor.shape) if tensor.is_floating_point() else tensor
            for name, tensor in model.state_dict().items()
        }
        tickets.append(Ticket(weights, {"0.weight": torch.ones(4, 3, dtype=torch.bool)}, level))

    def loss(model: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 2)

    def recalibrate(model: nn.Module) -> None:
        batchnorm.recalibrate(model, [inputs])

    with patch.object(learning, "LEARNED_SOUP_STEPS", 20):
        pooled = pool(model, tickets, 0, lambda model: 0.0, recalibrate, method="learned-soup-layers", loss=loss)
    shares = pooled.settings["shares"]
    assert shares["0.bias"] == pytest.approx([1 / 3] * 3, abs=1e-6)
    assert all(shares[name] != pytest.approx([1 / 3] * 3, abs=0.05) for name in ("0.weight", "2.weight", "2.bias"))


def nested(level: int, value: float) -> Ticket:
    """The first 4 - level weights of four survive, all equal."""
    mask = torch.arange(4)[None] < 4 - level
    return Ticket({"weight": value * mask.float()}, {"weight": mask}, level)


def near(goal: float) -> Callable[[nn.Module], float]:
    return lambda model: -abs(float(model.weight[0, 0]) - goal)  # type: ignore[index]


def test_trimmed_soup() -> None:
    tickets = [nested(0, 12), nested(1, 4), nested(2, 2), nested(3, 0)]
    pooled, weights = by_hand("trimmed-soup", tickets[::-1], 0, near(2))
    # all: 4.5; without the densest: 2; from there without the densest: 1, without the sparsest: 3
    assert [(t.candidate, t.score, t.threshold, t.accepted) for t in pooled.trials] == [
        (0, 0, -2.5, True),
        (1, -1, 0, False),
        (3, -1, 0, False),
    ]
    assert pooled.recipe == ((1, 1 / 3), (2, 1 / 3), (3, 1 / 3))
    assert weights == pytest.approx([2, 2, 4 / 3, 0])
    assert (pooled.score, pooled.target_score, pooled.evaluations) == (0, -10, 5)
    # nothing is pruned away: the target's mask stays
    assert pooled.ticket.mask["weight"].tolist() == [[True] * 4]
    # the sparsest goes where the densest should not
    pooled, weights = by_hand("trimmed-soup", tickets, 0, near(6))
    assert pooled.recipe == ((0, 1 / 3), (1, 1 / 3), (2, 1 / 3))
    assert weights == pytest.approx([6, 6, 16 / 3, 4])


def test_a_small_trimmed_soup_takes_in_denser_tickets() -> None:
    tickets = [nested(0, 12), nested(1, 4), nested(2, 2), nested(3, 0)]
    pooled, weights = by_hand("trimmed-soup", tickets, 2, near(2.5))
    # the target alone: 2; with the sparser: 1; with the next denser: 3, no nearer; so it stays as it is
    assert (pooled.recipe, pooled.evaluations) == (((2, 1.0),), 5)
    pooled, weights = by_hand("trimmed-soup", tickets, 2, near(9))
    assert pooled.recipe == ((0, 1 / 3), (1, 1 / 3), (2, 1 / 3))
    assert [(t.candidate, t.score, t.threshold, t.accepted) for t in pooled.trials[-2:]] == [
        (1, -6, -7, True),
        (0, -3, -6, True),
    ]
    assert weights == pytest.approx([6, 6, 0, 0])  # pruned back: 16/3 and 4 are gone
    assert pooled.ticket.mask["weight"].tolist() == [[True, True, False, False]]
    # the sparsest too, which has no sparser ticket
    pooled, _ = by_hand("trimmed-soup", tickets, 3, near(9))
    assert (pooled.recipe, pooled.evaluations) == (((0, 1 / 4), (1, 1 / 4), (2, 1 / 4), (3, 1 / 4)), 4)


def test_a_trimmed_soup_of_four_or_without_its_target_takes_in_none() -> None:
    tickets = [nested(0, 12), nested(1, 3), nested(2, 3), nested(3, 3), replace(nested(3, 3), level=4)]
    pooled, _ = by_hand("trimmed-soup", tickets, 1, near(9))
    assert pooled.recipe == tuple((level, 1 / 4) for level in (1, 2, 3, 4))
    tickets = [nested(0, 12), nested(1, 9), nested(2, 3), nested(3, 3)]
    pooled, _ = by_hand("trimmed-soup", tickets, 1, near(3))
    assert pooled.recipe == ((2, 1 / 2), (3, 1 / 2))
    assert 0 not in [trial.candidate for trial in pooled.trials]


def test_trimmed_soup_gives_way_to_the_target() -> None:
    # as where tickets are not connected: every mean is bad
    tickets = [nested(0, 1), nested(1, -9), nested(2, 12), nested(3, -9)]
    pooled, weights = by_hand("trimmed-soup", tickets, 0, lambda model: float(float(model.weight[0, 0]) == 1))  # type: ignore[index]
    assert (pooled.recipe, pooled.score) == (((0, 1.0),), 1.0)
    assert weights == [1, 1, 1, 1]


def test_trimmed_soup_wants_more_than_half_a_standard_error() -> None:
    tickets = [nested(0, 4), nested(1, 2), nested(2, 0)]

    def score(noise: float) -> Callable[[nn.Module], Tensor]:
        def samples(model: nn.Module) -> Tensor:
            weight = model.weight.double()[0, 0]  # type: ignore[index]
            return -(weight - 1).abs() + noise * weight * torch.tensor([1.0, -1.0, 1.0, -1.0])

        return samples

    # without the densest: 1, higher by one; 4 samples, so the standard error is 0.58 times the noise
    assert by_hand("trimmed-soup", tickets, 0, score(3.0))[0].recipe == ((1, 1 / 2), (2, 1 / 2))
    assert len(by_hand("trimmed-soup", tickets, 0, score(4.0))[0].recipe) == 3


def test_trimming_ends_with_the_budget() -> None:
    tickets = [nested(0, 12), nested(1, 4), nested(2, 2), nested(3, 0)]
    levels = {1: [0], 2: [0, 1, 2, 3], 3: [1, 2, 3]}
    for limit, expected in levels.items():
        pooled, _ = by_hand("trimmed-soup", tickets, 0, near(2), max_evaluations=limit)
        assert ([level for level, _ in pooled.recipe], pooled.evaluations) == (expected, limit)


def test_learning_follows_the_gradient_that_autograd_finds_through_the_mixture() -> None:
    draws = generator(0, "tickets")
    tickets = [linear_ticket(level, *torch.randn(8, generator=draws).tolist()) for level in range(3)]
    keep = torch.arange(8) < 5
    tickets[1] = Ticket({"weight": tickets[1].weights["weight"] * keep}, {"weight": keep[None]}, 1)
    goal = torch.randn(8, generator=draws).tolist()
    pooled, _ = by_hand("learned-soup", tickets, 1, lambda model: 0.0, loss=squared(goal))
    stacked = torch.stack([tickets[level].weights["weight"][0] for level in (1, 0, 2)]).double()
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.AdamW([logits], 0.05, weight_decay=0.0)
    for _ in range(500):
        mixed = logits.softmax(0) @ stacked
        top = torch.zeros(8, dtype=torch.bool).index_fill(0, mixed.abs().topk(5).indices, True)
        loss = (mixed * top - torch.tensor(goal)).square().sum()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    assert [level for level, _ in pooled.recipe] == [1, 0, 2]
    assert [share for _, share in pooled.recipe] == pytest.approx(logits.softmax(0).tolist(), abs=1e-4)
    assert max(logits.softmax(0).tolist()) > 0.4


def test_learned_soups_learn_a_temperature_beside_the_coefficients() -> None:
    draws = generator(1, "temperature")
    inputs, labels = torch.randn(40, 3, generator=draws), torch.randint(4, (40,), generator=draws)
    tickets = [
        Ticket({"weight": 3 * torch.randn(4, 3, generator=draws)}, {"weight": torch.ones(4, 3).bool()}, level)
        for level in range(3)
    ]
    model = nn.Linear(3, 4, bias=False)

    def loss(model: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(model(inputs), labels)

    pooled = pool(model, tickets, 0, lambda model: 0.0, method="learned-soup", loss=loss)
    stacked = torch.stack([ticket.weights["weight"] for ticket in tickets]).double()
    logits, factor = (torch.full(shape, value, dtype=torch.float64) for shape, value in (((3,), 0.0), ((), 1.0)))
    adam = torch.optim.AdamW([logits.requires_grad_(), factor.requires_grad_()], 0.05, weight_decay=0.0)
    for _ in range(500):
        mixed = (logits.softmax(0)[:, None, None] * stacked).sum(0)
        adam.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(factor * (inputs.double() @ mixed.T), labels))
        adam.step()
    assert [share for _, share in pooled.recipe] == pytest.approx(logits.softmax(0).tolist(), abs=1e-3)
    assert factor.item() < 0.5  # these networks are far too sure
    assert len(model._forward_hooks) == 0


def test_learned_soups_need_an_output_that_has_a_temperature() -> None:
    class Pair(Net):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), None

    def loss(model: nn.Module) -> Tensor:
        result: Tensor = model(make_samples(0)[0])[0].sum()
        return result

    with pytest.raises(UserError, match=r"must be a tensor of logits, not tuple: use trimmed-soup"):
        pool(Pair(), TICKETS, 1, lambda model: 0.0, method="learned-soup", loss=loss)


def test_without_an_acceptance_test_every_neighbour_joins_and_the_best_on_the_way_is_taken() -> None:
    pooled, weights = by_hand("swa-unguarded", HAND, 2)
    # [2, 2, 0, 0]; with 1: [3, 0, 2, 0] → 1; with 3: [2, 2, 1.33, 0] → 4, no lower than the target's; with 0:
    # [2.875, 1.5, 0, 0] → 4.375; with 4: [2.3, 0, 0, 1.8] → 2.3
    assert [(t.candidate, t.alpha, t.accepted) for t in pooled.trials] == [
        (1, 1 / 2, False),
        (3, 2 / 3, True),
        (0, 3 / 4, True),
        (4, 4 / 5, False),
    ]
    assert [trial.score for trial in pooled.trials] == pytest.approx([1, 4, 4.375, 2.3])
    assert pooled.recipe == ((1, 1 / 2), (3, 2 / 3), (0, 3 / 4))
    assert weights == pytest.approx([2.875, 1.5, 0, 0])
    worse, weights = by_hand("ema-unguarded", [HAND[2], HAND[4]], 2)
    assert (worse.recipe, weights) == ((), [2, 2, 0, 0])
    limited, _ = by_hand("swa-unguarded", HAND, 2, max_evaluations=3)
    assert (limited.recipe, limited.evaluations) == (((1, 1 / 2), (3, 2 / 3)), 3)


def test_ties() -> None:
    def away(level: int, *difference: float) -> Ticket:
        return dense_ticket(level, *(1 + d for d in (*difference, 0, 0, 0, 0, 0, 0, 0)))

    # the two largest of ten stay: [4, -3], [2, 5], [-1, -6]; signs of the sums: +, -; means 3 and -4.5
    tickets = [away(0, 4, -3, 1), away(1, 2, 5, -1), away(2, -1, -6, 0.5)]

    def score(model: nn.Module) -> float:
        return -abs(float(model.weight[0, 0]) - 3.3)  # type: ignore[index]

    pooled, weights = by_hand("ties", tickets, 1, score, base={"weight": torch.ones(1, 10)})
    assert pooled.settings == {"trim": 0.2, "scale": 0.8}
    assert weights == pytest.approx([1 + 0.8 * 3, 1 - 0.8 * 4.5, *[1] * 8])
    assert pooled.evaluations == 1 + 6


def test_ties_elects_no_sign_where_differences_cancel() -> None:
    tickets = [dense_ticket(0, 3, 1, 1), dense_ticket(1, -1, 1, 1)]
    _, weights = by_hand("ties", tickets, 0, lambda model: 0.0, base={"weight": torch.ones(1, 3)})
    assert weights == [1, 1, 1]


def test_mask_rules_by_hand() -> None:
    # target [2, 2, 0, 0] and [0, 6, 8, 0], half and half: [1, 4, 4, 0]; both have the second weight, none the fourth
    tickets = [linear_ticket(0, 2, 2, 0, 0), linear_ticket(1, 0, 6, 8, 0)]
    by_rule = {
        rule: by_hand("average", tickets, 0, lambda model: 1.0, mask=rule)[1]
        for rule in ("magnitude", "target", "union", "intersection")
    }
    assert by_rule == {
        "magnitude": [0, 4, 4, 0],
        "target": [1, 4, 0, 0],
        "union": [0, 4, 4, 0],
        "intersection": [0, 4, 4, 0],
    }
    # the rewind point brings back what neither has, but not by union
    base = {"weight": torch.tensor([[0.0, 0, 0, 50]])}
    for rule, kept in (("magnitude", True), ("union", False)):
        score = lambda model: float(model.weight[0].abs().sum())  # noqa: E731
        _, weights = by_hand("ties", tickets, 0, score, mask=rule, base=base)
        assert (weights[3] != 0) is kept


# What holds of every method


@settings(max_examples=80, deadline=None)
@given(
    method=st.sampled_from(sorted(METHODS)),
    seed=st.integers(0, 2**32),
    target=st.integers(0, 3),
    scope=st.sampled_from(["global", "layer"]),
    rule=st.sampled_from(["magnitude", "target", "union", "intersection"]),
    recalibrates=st.booleans(),
)
def test_every_method_keeps_density_and_integers_and_can_be_replayed(
    method: str, seed: int, target: int, scope: Scope, rule: MaskRule, recalibrates: bool
) -> None:
    tickets, model = make_tickets(seed, range(4)), Net()
    recalibrate = make_recalibrate(seed) if recalibrates else None
    pooled = pooled_by(
        method, seed, target, model=model, tickets=tickets, recalibrate=recalibrate, scope=scope, mask=rule
    )
    ticket = pooled.ticket
    assert (ticket.level, ticket.kept, ticket.density) == (target, tickets[target].kept, tickets[target].density)
    if scope == "layer" or rule == "target":
        assert {n: int(m.sum()) for n, m in ticket.mask.items()} == {
            n: int(m.sum()) for n, m in tickets[target].mask.items()
        }
    if rule == "target":
        assert all(torch.equal(mask, tickets[target].mask[name]) for name, mask in ticket.mask.items())
    assert ticket.weights["norm.num_batches_tracked"] == (3 if recalibrates else 100 + target)
    assert all(torch.equal(tensor, ticket.weights[name]) for name, tensor in snapshot(model).items())
    if not METHODS[method].compares_predictions:
        assert make_score(seed)(model).double().mean() == pooled.score
    assert all(map(tensors_equal, tickets, make_tickets(seed, range(4))))
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())

    origin = json.loads(json.dumps(dict(ticket.origin)))  # as a file keeps it
    assert origin.pop("recipe") == [list(step) for step in pooled.recipe]
    assert (origin["method"], origin["scope"], origin["mask"]) == (method, scope, rule)
    given: dict[str, Any] = {"base": make_base(seed), "samples": make_inputs(seed)}
    replayed = replay(Net(), tickets[::-1], Recipe.of(pooled.ticket), recalibrate, **given)
    assert tensors_equal(replayed, ticket)
    used = {str(level) for level in (target, *(level for level, _ in pooled.recipe))}
    assert origin["mixed"] == {level: tickets[int(level)].digest for level in sorted(used)}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_order_in_which_tickets_are_given_does_not_matter(method: str) -> None:
    for seed in range(2):
        pooled = pooled_by(method, seed)
        reordered = pooled_by(method, seed, tickets=[make_tickets(seed, range(4))[i] for i in (2, 0, 3, 1)])
        assert (reordered.recipe, reordered.trials, reordered.evaluations) == (
            pooled.recipe,
            pooled.trials,
            pooled.evaluations,
        )
        assert tensors_equal(reordered.ticket, pooled.ticket)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_equal_candidates_come_in_a_fixed_order(method: str) -> None:
    tickets = [dense_ticket(level, 2, first) for level, first in ((1, 4), (2, 2), (3, 4))]
    options = {"loss": squared([2, 3]), "base": {"weight": torch.ones(1, 2)}, "samples": lambda: [torch.eye(2)]}
    options["labels"] = torch.tensor([0, 1])
    for order in (tickets, tickets[::-1]):
        pooled, _ = by_hand(method, order, 2, lambda model: 1.0, **options)
        levels = [level for level, _ in pooled.recipe if level != 2]
        assert levels == [1, 3]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_evaluations_are_counted(method: str) -> None:
    calls: list[nn.Module] = []
    pooled = pooled_by(method, recalibrate=calls.append)
    rebuilds = METHODS[method].final_recalibration  # these build the network of their recipe again, to hold fewer
    assert pooled.evaluations == len(calls) - rebuilds > 1


@pytest.mark.parametrize("method", ["trimmed-soup", "consensus-soup", "fading-soup", "balanced-soup"])
def test_the_network_that_is_returned_may_be_recalibrated_better_than_those_compared(method: str) -> None:
    quick: list[nn.Module] = []
    thorough = make_recalibrate(0)
    pooled = pooled_by(method, recalibrate=quick.append, final_recalibrate=thorough)
    assert len(quick) == pooled.evaluations
    replayed = replay(Net(), TICKETS, Recipe.of(pooled.ticket), thorough)
    assert tensors_equal(replayed, pooled.ticket)


def test_learning_has_batch_statistics_and_leaves_modes_as_they_were() -> None:
    model, modes = Net(), []
    loss = make_loss(0)

    def watched(model: nn.Module) -> Tensor:
        modes.append({name: module.training for name, module in model.named_modules()})
        return loss(model)

    model.first.train()
    with torch.no_grad():  # of the caller's
        pooled_by("learned-soup", model=model, loss=watched, recalibrate=lambda model: None)
    assert len(modes) == STEPS
    assert all(mode == {"": False, "first": False, "norm": True, "second": False} for mode in modes)


def test_memory_for_learning_may_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    held = pooled_by("learned-soup")
    monkeypatch.setattr("lottery_pools.pooling.learning.HELD", 0)
    assert tensors_equal(pooled_by("learned-soup").ticket, held.ticket)


def test_the_table_links_its_papers() -> None:
    for name, method in METHODS.items():
        assert method.paper.startswith("https://"), name
        assert "\n" not in method.summary


def test_average_is_interpolation_half_and_half() -> None:
    for seed in range(3):
        average = pooled_by("average", seed, coefficients=COEFFICIENTS)
        half = pooled_by("interpolation", seed, coefficients=(0.5,))
        assert average.trials == half.trials
        assert tensors_equal(average.ticket, half.ticket)


def test_coefficients_may_be_an_array() -> None:
    array = pooled_by("interpolation", coefficients=np.array([0.25, 0.5], np.float32))
    assert array.trials == pooled_by("interpolation", coefficients=(0.25, 0.5)).trials
    assert json.dumps(array.ticket.origin["recipe"])


def test_only_the_nearest_candidates_are_offered_on_request() -> None:
    assert [trial.candidate for trial in pooled_by("average").trials] == [0, 2, 3]
    assert [trial.candidate for trial in pooled_by("average", candidates=1).trials] == [0]
    assert [level for level, _ in pooled_by("uniform-soup", candidates=2).recipe] == [1, 0, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "interpolate"}, "unknown method 'interpolate': did you mean 'interpolation'"),
        ({"method": "best"}, r"'best' \(the trimmed soup, then one .*\) is retired: trimmed-soup is nearest to it$"),
        ({"method": "slerp"}, r"'slerp' \(along the arc .*\) is retired: interpolation is nearest to it$"),
        ({"method": "dare"}, r"'dare' \(differences from the rewind point.*\) is retired: ties is nearest to it$"),
        ({"coefficients": (0.5, 1.0)}, r"coefficients are \(0.5, 1.0\): give numbers strictly between 0 and 1"),
        ({"coefficients": (0.0,)}, "strictly between 0 and 1"),
        ({"coefficients": ()}, "strictly between 0 and 1"),
        ({"candidates": 0}, "candidates is 0: give 1 or more"),
        ({"tickets": TICKETS[1:2]}, "a pool of one ticket"),
        ({"tickets": [*TICKETS, TICKETS[2]]}, "two tickets have level 2"),
        ({"target": 9}, r"no ticket of level 9 to strengthen: the tickets have levels \[0, 1, 2, 3\]"),
        (
            {"model": Net(width=6)},
            r"'first.weight' is \(5, 4\) in the weights of the ticket of level 0 and \(6, 4\) in the model",
        ),
        ({"model": nn.Linear(4, 5).double()}, r"the ticket of level 0 lack 'weight' \(5, 4\)"),
        (
            {"tickets": [*TICKETS, Ticket(TICKETS[0].weights, masks.dense(TICKETS[0].weights, ["first.weight"]), 4)]},
            "'second.weight' is prunable in only one of the tickets of levels 1 and 4",
        ),
        ({"coefficients": 0.5}, "coefficients are 0.5: give numbers strictly between 0 and 1, one or more in a list"),
        ({"score": lambda model: float("nan")}, "score returned nan"),
        ({"scope": "Global"}, "unknown scope 'Global': did you mean 'global'"),
        ({"mask": "targets"}, "unknown mask rule 'targets': did you mean 'target'"),
        ({"method": "learned-soup"}, "learned soups need a loss: give `loss`"),
        ({"method": "learned-soup", "loss": lambda model: 1.0}, "loss returned no differentiable scalar"),
        (
            {"method": "learned-soup", "loss": lambda model: model.first.weight},
            "loss returned no differentiable scalar",
        ),
        ({"method": "learned-soup-layers", "loss": lambda model: model.first.weight.sum() * NAN}, "loss returned NaN"),
        ({"method": "ties"}, "differences from the rewind point: give `base`"),
        ({"method": "ties", "base": {}}, r"the weights of `base` lack 'first.weight' \(5, 4\)"),
    ],
)
def test_mistakes_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    arguments = {"model": Net(), "tickets": TICKETS, "target": 1, "score": make_score(0), **options}
    with pytest.raises(UserError, match=message) as caught:
        pool(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [NAN, float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_a_number_that_is_not_finite_is_named_with_its_ticket_by_every_method(method: str, value: float) -> None:
    tickets = make_tickets(0, range(4))
    parameter = next(name for name, _ in Net().named_parameters() if name not in tickets[3].mask)
    statistic = next(name for name, _ in Net().named_buffers() if name.endswith("running_var"))
    for unmasked in (parameter, statistic):
        weights = {name: tensor.clone() for name, tensor in tickets[3].weights.items()}
        weights[unmasked][0] = value
        odd = [*tickets[:3], replace(tickets[3], weights=weights)]
        with pytest.raises(UserError, match=f"^1 numbers of '{unmasked}' of the ticket of level 3 are NaN or infinite"):
            pooled_by(method, tickets=odd)


def test_a_method_of_the_users_own_is_pooled_and_replayed() -> None:
    def half(task: PoolingTask) -> Pooled:
        target_score, _ = task.evaluate(task.target_network)
        ingredients = [(task.target, 0.5), (task.candidates[0], 0.5)]
        score, network = task.evaluate(task.mixture(ingredients))
        return task.result(network, ingredients, score, target_score)

    method = Method("half", half, label="Half and half")
    tickets = [linear_ticket(0, 2, 4, 0, 0), linear_ticket(1, 4, 2, 0, 0), linear_ticket(2, 9, 9, 0, 0)]
    model = nn.Linear(4, 1, bias=False)
    pooled = pool(model, tickets, 0, linear_score, method=method)
    assert pooled.ticket.weights["weight"].tolist() == [[3, 3, 0, 0]]
    assert (pooled.recipe, pooled.evaluations) == (((0, 0.5), (1, 0.5)), 2)
    recipe = replace(Recipe.of(pooled.ticket), method=method)
    assert tensors_equal(replay(model, tickets, recipe), pooled.ticket)
    with pytest.raises(UserError, match="unknown method 'half'"):
        replay(model, tickets, Recipe.of(pooled.ticket))


def test_every_method_says_how_many_networks_it_evaluates() -> None:
    """The closed form that foresees a search's cost is what a search does where every score is equal."""
    tickets = [nested(level, 4 - level) for level in range(4)]
    for name, method in METHODS.items():
        for target in range(4):
            passes = list[int]()

            def samples(passes: list[int] = passes) -> list[Tensor]:
                passes.append(1)
                return [torch.eye(4)]

            options = {"loss": squared([2, 2, 1, 0]), "base": {"weight": torch.ones(1, 4)}, "coefficients": (0.3, 0.6)}
            options["labels"] = torch.zeros(4, dtype=torch.long)
            pooled, _ = by_hand(name, tickets, target, lambda model: 0.0, samples=samples, **options)
            offer = Offer(sparser=3 - target, denser=target, coefficients=2)
            assert pooled.evaluations == method.evaluations(offer), (name, target)
            scored = pooled.evaluations if method.compares_predictions else 0
            assert len(passes) == method.passes(offer) + scored, (name, target)
            assert pooled.gradient_steps in (method.gradient_steps, 0)

"""Algorithm 2: worked out by hand, against an independent implementation, and what it promises beside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import batchnorm
from lottery_pools.pooling.algorithm2 import greedy, neighbours
from lottery_pools.pooling.checks import checked_tickets
from lottery_pools.pooling.evaluator import Evaluator
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.pruning import Scope
from lottery_pools.pooling.recipe import Recipe, replay
from lottery_pools.pooling.result import Pooled, Trial
from lottery_pools.pooling.task import PoolingTask
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot

# Without `recalibrate` a network with BatchNorm is warned of; tests/test_guard.py holds that.
pytestmark = pytest.mark.filterwarnings("ignore:the model has BatchNorm")
Array = NDArray[np.float64]
PRUNABLE = ("first.weight", "second.weight")
COEFFICIENTS = (0.1, 0.3, 0.5, 0.7, 0.9)


class Net(nn.Module):
    """Two prunable tensors around a BatchNorm, in float64 so that another implementation can agree exactly."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.second = nn.Linear(width, 3)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.norm(self.first(x)).relu())
        return logits


def algorithm2(
    evaluator: Evaluator,
    target: Ticket,
    candidates: Sequence[Ticket],
    coefficients: Sequence[float],
    scope: Scope = "global",
) -> Pooled:
    return greedy(PoolingTask(evaluator, target, candidates, coefficients, scope), lambda n: coefficients)


def make_tickets(seed: int, levels: Sequence[int], noise: float = 0.5) -> list[Ticket]:
    """Neighbouring networks: one random network, each level with noise of its own, pruned to density 0.7 ** level."""

    def draw(*name: str | int) -> dict[str, Tensor]:
        draws = generator(seed, *name)
        return {
            key: torch.randn(tensor.shape, generator=draws, dtype=torch.float64)
            for key, tensor in Net().state_dict().items()
            if tensor.is_floating_point()
        }

    def ticket(level: int) -> Ticket:
        deviation = draw("level", level)
        weights = {name: base + noise * deviation[name] for name, base in draw("base").items()}
        weights["norm.running_var"] = weights["norm.running_var"].abs() + 0.1
        weights["norm.num_batches_tracked"] = torch.tensor(100 + level)
        dense = masks.dense(weights, PRUNABLE)
        mask = masks.prune(masks.magnitude(weights, dense), dense, max(1, round(35 * 0.7**level)))
        return Ticket(masks.apply(weights, mask), mask, level)

    return [ticket(level) for level in levels]


def make_samples(seed: int, n: int = 24) -> tuple[Tensor, Tensor]:
    draws = generator(seed, "samples")
    return torch.randn(n, 4, generator=draws, dtype=torch.float64), torch.randint(3, (n,), generator=draws)


def make_score(seed: int) -> Callable[[nn.Module], Tensor]:
    """Which samples a network predicts correctly, (n,) bool."""
    images, labels = make_samples(seed)
    return lambda model: model.eval()(images).argmax(1) == labels


def make_recalibrate(seed: int) -> Callable[[nn.Module], object]:
    images = make_samples(seed + 1, 30)[0]
    parts = torch.split(images, 10)
    return lambda model: batchnorm.recalibrate(model, parts)


def tensors_equal(one: Ticket, other: Ticket) -> bool:
    return all(
        list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in ((one.weights, other.weights), (one.mask, other.mask))
    )


# By hand: four weights, of which the target keeps two.


def linear_ticket(level: int, *values: float) -> Ticket:
    weights = {"weight": torch.tensor([values]).float()}
    return Ticket(weights, masks.from_zeros(weights, ["weight"]), level)


def linear_score(model: nn.Module) -> float:
    return float(model.weight @ torch.tensor([1.0, 1.0, -1.0, 0.0]))  # type: ignore[operator]


HAND = [
    linear_ticket(0, 5.5, 0, 0, 0),
    linear_ticket(1, 4, 0, 4, 0),
    linear_ticket(2, 2, 2, 0, 0),
    linear_ticket(3, 0, 6, 0, 0),
    linear_ticket(4, 0, 0, 0, 9),
]


def test_by_hand() -> None:
    model = nn.Linear(4, 1, bias=False)
    calls: list[float] = []

    def score(model: nn.Module) -> float:
        calls.append(linear_score(model))
        return calls[-1]

    pooled = algorithm2(Evaluator(model, score), HAND[2], neighbours(HAND, 2), (0.25, 0.5))
    assert pooled.trials == (
        # [3.5, 0.5, 3, 0] → [3.5, 0, 3, 0] → 0.5;  [3, 1, 2, 0] → [3, 0, 2, 0] → 1: below the target's 4
        Trial(candidate=1, alpha=0.5, score=1.0, threshold=4.0, accepted=False),
        # [0.5, 5, 0, 0] → 5.5;  [1, 4, 0, 0] → 5
        Trial(candidate=3, alpha=0.25, score=5.5, threshold=4.0, accepted=True),
        # onto [0.5, 5, 0, 0]: [4.25, 1.25, 0, 0] → 5.5;  [3, 2.5, 0, 0] → 5.5: the first of equals, and equal is enough
        Trial(candidate=0, alpha=0.25, score=5.5, threshold=5.5, accepted=True),
        # [1.0625, 0.3125, 0, 6.75] → [1.0625, 0, 0, 6.75];  [2.125, 0.625, 0, 4.5] → [2.125, 0, 0, 4.5]
        Trial(candidate=4, alpha=0.5, score=2.125, threshold=5.5, accepted=False),
    )
    assert pooled.recipe == ((3, 0.25), (0, 0.25))
    assert pooled.ticket.weights["weight"].tolist() == [[4.25, 1.25, 0.0, 0.0]]
    assert pooled.ticket.mask["weight"].tolist() == [[True, True, False, False]]
    assert (pooled.target_score, pooled.score) == (4.0, 5.5)
    assert pooled.evaluations == len(calls) == 1 + 4 * 2


def test_the_recalibrated_target_sets_the_threshold() -> None:
    class Bonus(nn.Linear):
        bonus: Tensor

        def __init__(self) -> None:
            super().__init__(4, 1, bias=False)
            self.register_buffer("bonus", torch.zeros(()))

    def ticket(level: int, *values: float) -> Ticket:
        plain = linear_ticket(level, *values)
        return Ticket({**plain.weights, "bonus": torch.zeros(())}, plain.mask, level)

    def settle(model: nn.Module) -> None:
        assert isinstance(model, Bonus)
        model.bonus.fill_(1.0)

    # half and half: [1.5, 2, 0, 0] → 3.5 + 1, above the stored target's 4 but below the recalibrated target's 5
    target, other = ticket(0, 2, 2, 0, 0), ticket(1, 1, 2, 0, 0)
    evaluator = Evaluator(Bonus(), lambda model: linear_score(model) + float(model.bonus), settle)  # type: ignore[arg-type]
    pooled = algorithm2(evaluator, target, [other], (0.5,))
    assert pooled.trials == (Trial(1, 0.5, 4.5, 5.0, False),)
    assert (pooled.target_score, pooled.score, pooled.recipe) == (5.0, 5.0, ())
    assert pooled.ticket.weights["bonus"] == 1.0


def test_neighbours_are_nearest_first_and_the_denser_of_two() -> None:
    shuffled = [HAND[i] for i in (4, 0, 3, 2, 1)]
    assert [ticket.level for ticket in neighbours(shuffled, 2)] == [1, 3, 0, 4]
    assert [ticket.level for ticket in neighbours(shuffled, 0)] == [1, 2, 3, 4]


# An independent implementation, from the paper's text.


def naive(
    tickets: dict[int, dict[str, Array]], target: int, kept: dict[str, int], seed: int, recalibrates: bool, scope: str
) -> tuple[list[tuple[int, float]], dict[str, Array]]:
    images, labels = (part.numpy() for part in make_samples(seed))
    batches = make_samples(seed + 1, 30)[0].numpy().reshape(3, 10, 4)

    def accuracy(w: dict[str, Array]) -> float:
        if recalibrates:
            hidden = [batch @ w["first.weight"].T + w["first.bias"] for batch in batches]
            w["norm.running_mean"] = sum(h.mean(0) for h in hidden) / 3
            w["norm.running_var"] = sum(h.var(0, ddof=1) for h in hidden) / 3
        h = images @ w["first.weight"].T + w["first.bias"]
        h = (h - w["norm.running_mean"]) / np.sqrt(w["norm.running_var"] + 1e-5) * w["norm.weight"] + w["norm.bias"]
        logits = np.maximum(h, 0) @ w["second.weight"].T + w["second.bias"]
        return float((logits.argmax(1) == labels).mean())

    def prune(w: dict[str, Array]) -> None:
        for group in [PRUNABLE] if scope == "global" else [PRUNABLE[:1], PRUNABLE[1:]]:
            flat = np.concatenate([w[name].ravel() for name in group])
            flat[np.argsort(-np.abs(flat), kind="stable")[sum(kept[name] for name in group) :]] = 0
            for name in group:
                w[name], flat = flat[: w[name].size].reshape(w[name].shape), flat[w[name].size :]

    best = dict(tickets[target])
    bar, recipe = accuracy(best), []
    for distance in range(1, 20):
        for level in (target - distance, target + distance):
            if level not in tickets:
                continue
            tried = []
            for alpha in COEFFICIENTS:
                w = {name: alpha * best[name] + (1 - alpha) * tickets[level][name] for name in best}
                prune(w)
                tried.append((accuracy(w), alpha, w))
            top = max(score for score, _, _ in tried)
            if top >= bar:
                bar, alpha, best = next(t for t in tried if t[0] == top)
                recipe.append((level, alpha))
    return recipe, best


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    levels=st.sets(st.integers(0, 6), min_size=2, max_size=5),
    pick=st.integers(0, 4),
    recalibrates=st.booleans(),
    scope=st.sampled_from(["global", "layer"]),
)
def test_agrees_with_an_independent_implementation(
    seed: int, levels: set[int], pick: int, recalibrates: bool, scope: Scope
) -> None:
    tickets = make_tickets(seed, sorted(levels))
    target = tickets[pick % len(tickets)]
    recalibrate = make_recalibrate(seed) if recalibrates else None
    pooled = algorithm2(
        Evaluator(Net(), make_score(seed), recalibrate), target, neighbours(tickets, target.level), COEFFICIENTS, scope
    )
    plain = {
        ticket.level: {name: tensor.numpy() for name, tensor in ticket.weights.items() if tensor.is_floating_point()}
        for ticket in tickets
    }
    kept = {name: int(mask.sum()) for name, mask in target.mask.items()}
    recipe, weights = naive(plain, target.level, kept, seed, recalibrates, scope)
    assert list(pooled.recipe) == recipe
    for name, expected in weights.items():
        np.testing.assert_allclose(pooled.ticket.weights[name].numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_independent_implementation_is_put_to_the_test() -> None:
    """Its random problems take some candidates and refuse others, with several coefficients."""
    trials = [
        trial
        for seed in range(10)
        for trial in search(seed, make_tickets(seed, range(5)), make_recalibrate(seed)).trials
    ]
    assert 5 < sum(trial.accepted for trial in trials) < 35
    assert len({trial.alpha for trial in trials if trial.accepted}) >= 4


# What holds of every search.


def search(
    seed: int,
    tickets: Sequence[Ticket],
    recalibrate: Callable[[nn.Module], object] | None = None,
    target: int = 2,
    scope: Scope = "global",
) -> Pooled:
    by_level = {ticket.level: ticket for ticket in tickets}
    evaluator = Evaluator(Net(), make_score(seed), recalibrate)
    return algorithm2(evaluator, by_level[target], neighbours(tickets, target), COEFFICIENTS, scope)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("recalibrates", [False, True])
def test_density_is_exact_integers_are_the_targets_and_replay_gives_the_same_bits(
    recalibrates: bool, scope: Scope
) -> None:
    accepted = 0
    for seed in range(6):
        tickets = make_tickets(seed, range(5))
        recalibrate = make_recalibrate(seed) if recalibrates else None
        pooled = search(seed, tickets, recalibrate, scope=scope)
        assert (pooled.ticket.level, pooled.ticket.kept) == (2, tickets[2].kept)
        assert pooled.ticket.weights["norm.num_batches_tracked"] == (3 if recalibrates else 102)
        model = Net()
        replayed = replay(model, tickets, Recipe(2, pooled.recipe, "interpolation", scope), recalibrate)
        assert tensors_equal(replayed, pooled.ticket)
        assert all(torch.equal(tensor, replayed.weights[name]) for name, tensor in snapshot(model).items())
        accepted += len(pooled.recipe)
    assert accepted >= 6


def test_the_pooled_network_is_the_one_that_was_scored() -> None:
    """Even where recalibration draws other samples each time, as a shuffling loader does."""
    draws = generator(0, "shuffle")

    def recalibrate(model: nn.Module) -> None:
        batchnorm.recalibrate(model, [torch.randn(10, 4, generator=draws, dtype=torch.float64)])

    pooled = search(0, make_tickets(0, range(5)), recalibrate)
    assert pooled.recipe
    model = Net()
    model.load_state_dict(dict(pooled.ticket.weights))
    assert make_score(0)(model).double().mean() == pooled.score


def test_given_tickets_and_their_order_are_left_alone() -> None:
    tickets = make_tickets(3, range(5))
    before = make_tickets(3, range(5))
    pooled = search(3, tickets, make_recalibrate(3))
    assert pooled.recipe
    assert all(map(tensors_equal, tickets, before))
    shuffled = search(3, [tickets[i] for i in (3, 0, 4, 2, 1)], make_recalibrate(3))
    assert shuffled.trials == pooled.trials
    assert tensors_equal(shuffled.ticket, pooled.ticket)


def test_equal_candidates_come_in_a_fixed_order() -> None:
    tickets = [linear_ticket(level, *values) for level, values in ((1, (2, 4, 0, 0)), (2, (2, 2, 0, 0)))]
    tickets.append(linear_ticket(3, 2, 4, 0, 0))
    for order in (tickets, tickets[::-1]):
        pooled = algorithm2(
            Evaluator(nn.Linear(4, 1, bias=False), linear_score), tickets[1], neighbours(order, 2), (0.5,)
        )
        assert pooled.recipe == ((1, 0.5), (3, 0.5))


def test_a_score_may_be_a_number_or_one_per_sample() -> None:
    tickets, score = make_tickets(4, range(4)), make_score(4)
    results = [
        algorithm2(Evaluator(Net(), scored), tickets[1], neighbours(tickets, 1), COEFFICIENTS)
        for scored in (score, lambda model: float(score(model).double().mean()), lambda model: score(model).float())
    ]
    assert results[0].trials == results[1].trials == results[2].trials
    assert results[0].recipe


def test_tickets_of_another_precision_are_mixed_in() -> None:
    tickets = make_tickets(0, range(3))
    half = Ticket(
        {n: t.float() if t.is_floating_point() else t for n, t in tickets[2].weights.items()}, tickets[2].mask, 2
    )
    pooled = algorithm2(Evaluator(Net(), lambda model: 1.0), tickets[0], [half], (0.5,))
    assert pooled.recipe == ((2, 0.5),)
    assert pooled.ticket.weights["first.weight"].dtype == torch.float64


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "score returned nan: return a finite number"),
        (torch.tensor([0.0, float("nan")]), "score returned nan"),
        (torch.tensor([0.0, -float("inf")]), "score returned -inf"),
        (float("inf"), "score returned inf"),
        (
            None,
            r"score returned a NoneType: return a number, higher is better, or a tensor with one per sample, \(n,\)",
        ),
        ([0.5, 0.5], "score returned a list"),
        (np.zeros(2), "score returned a ndarray"),
        (torch.zeros(2, 3), r"score returned a tensor \(2, 3\)"),
    ],
)
def test_a_score_that_cannot_be_compared_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        algorithm2(Evaluator(nn.Linear(4, 1, bias=False), lambda model: value), HAND[2], HAND[:2], (0.5,))


def test_scores_are_of_the_same_samples_each_time() -> None:
    evaluator = Evaluator(nn.Linear(4, 1, bias=False), lambda model: torch.ones(3 + evaluator.evaluations))
    with pytest.raises(UserError, match=r"score returned \(4,\) values, before \(3,\): score on the same samples"):
        algorithm2(evaluator, HAND[2], HAND[:2], (0.5,))


def test_a_score_may_be_returned_in_the_same_tensor_each_time() -> None:
    buffer = torch.zeros(2)
    evaluator = Evaluator(nn.Linear(4, 1, bias=False), lambda model: buffer.fill_(linear_score(model)))
    evaluator.evaluate(HAND[2].weights)
    evaluator.evaluate(HAND[0].weights)
    assert [torch.as_tensor(score).tolist() for score in evaluator.scores] == [[4, 4], [5.5, 5.5]]


# Tickets and the module they are loaded into


@pytest.mark.parametrize("method", ["interpolation", "trimmed-soup", "ties"])
def test_a_ticket_and_base_that_are_the_modules_own_tensors_are_left_alone(method: str) -> None:
    def pooled(model: Net, weights: Mapping[str, Tensor]) -> Pooled:
        tickets = [Ticket(weights, drawn[2].mask, 2), *(drawn[level] for level in (0, 1, 3))]
        return pool(model, tickets, 1, make_score(0), make_recalibrate(0), method=method, base=weights)

    drawn, model = make_tickets(0, range(4)), Net()
    load_into(model, drawn[2].weights)
    apart = snapshot(model)
    assert tensors_equal(pooled(model, model.state_dict()).ticket, pooled(Net(), apart).ticket)


def test_two_tickets_that_are_the_modules_own_tensors_are_refused() -> None:
    model = nn.Linear(4, 1)
    mask = {"weight": torch.ones(1, 4, dtype=torch.bool)}
    tickets = [Ticket(masks.apply(model.state_dict(), mask), mask, level) for level in range(2)]  # their bias is one
    with pytest.raises(UserError, match="tickets of levels 0 and 1 both hold the model's own tensors, so they are one"):
        checked_tickets(model, tickets, 0)


class Tied(nn.Module):
    """One tensor under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight


def test_a_tied_tensor_is_masked_under_all_its_names_or_none() -> None:
    def tickets(*names: str) -> list[Ticket]:
        weight = torch.eye(4)
        weights = {"first.weight": weight, "second.weight": weight}
        return [Ticket(weights, masks.from_zeros(weights, names), level) for level in range(2)]

    with pytest.raises(UserError, match=r"^'first.weight' and 'second.weight' are one tied tensor, of which only"):
        checked_tickets(Tied(), tickets("first.weight"), 0)
    assert list(checked_tickets(Tied(), tickets("first.weight", "second.weight"), 0)) == [0, 1]


def test_complex_parameters_are_refused() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    weights = snapshot(model)
    tickets = [Ticket(weights, masks.dense(weights, ["weight"]), level) for level in range(2)]
    with pytest.raises(UserError, match=r"^'weight' is complex, which no method mixes"):
        checked_tickets(model, tickets, 0)


def test_a_recipe_of_a_missing_level_is_refused() -> None:
    with pytest.raises(UserError, match=r"level 7, which is not among the tickets: \[0, 1, 2, 3, 4\]"):
        replay(nn.Linear(4, 1, bias=False), HAND, Recipe(2, ((7, 0.5),)))


NAMED = {"preprocessing": {"classes": ["a", "b"]}}


def of_run(ticket: Ticket, **origin: object) -> Ticket:
    model = {"name": "net", "classes": 3}
    return replace(ticket, origin={"model": model, "data": "d", "config": "c", "seed": 0, **NAMED, **origin})


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"seed": 1}, "the tickets of levels 0 and 2 are of different runs: seed is 0 and 1; pool tickets of one run"),
        ({"config": "e"}, "different runs: config is c and e"),
        ({"data": "cifar10"}, "different runs: data is d and cifar10"),
        ({"preprocessing": {"classes": ["b", "a"]}}, "levels 0 and 2 have other classes, or in another order: "),
        ({"model": {"name": "net", "classes": 10}}, "different models: classes is 3 and 10"),
        ({"model": {"name": "other", "classes": 3}}, "different models: name is net and other"),
    ],
)
def test_tickets_of_another_run_or_model_are_refused(origin: dict[str, object], message: str) -> None:
    tickets = make_tickets(0, range(3))
    same, other = [of_run(ticket) for ticket in tickets[:2]], of_run(tickets[2], **origin)
    with pytest.raises(UserError, match=message) as caught:
        checked_tickets(Net(), [*same, other], 0)
    assert "\n" not in str(caught.value)
    assert list(checked_tickets(Net(), [*same, tickets[2]], 0)) == [0, 1, 2]  # one of no known origin
    if not {"model", "preprocessing"}.isdisjoint(origin):  # no control
        with pytest.raises(UserError, match=message):
            checked_tickets(Net(), [*same, other], 0, allow_other_run=True)
    else:
        assert list(checked_tickets(Net(), [*same, other], 0, allow_other_run=True)) == [0, 1, 2]


MEMORY = """
import dataclasses, sys, torch
from pathlib import Path
from torch import nn
from lottery_pools.pooling import learning
from lottery_pools.pooling.pool import pool
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.ticket import Ticket

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

torch.set_num_threads(1)
learning.HELD = 0
learning.LEARNED_SOUP_STEPS = 2
model = nn.Linear(2**9, 2**9, bias=False)
weights = {"weight": model.weight.detach()}
path = Path(sys.argv[1])
files.save(Ticket(weights, masks.dense(weights, weights), 0), path)
for count in (4, 16):
    lazy = [dataclasses.replace(files.load(path), level=level) for level in range(count)]
    for method in ("interpolation", "greedy-soup", "learned-soup", "ties"):
        loss = lambda model: model.weight.square().mean()
        pool(model, lazy, 0, lambda model: 1.0, coefficients=(0.5,), method=method, base=weights, loss=loss)
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_peak_memory_does_not_grow_with_the_number_of_tickets(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "ticket.safetensors")]
    given_back = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "100000"}  # so that freed tensors leave no trace
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=given_back)
    four, sixteen = map(float, done.stdout.split())
    assert sixteen - four < 2  # MB, of which a ticket has 1


# Budgets


def test_a_search_stops_before_it_evaluates_more_than_it_may() -> None:
    tickets = make_tickets(0, range(5))
    for limit, tried in ((1, 0), (5, 1), (8, 1), (9, 2), (None, 4)):
        pooled = pool(
            Net(),
            tickets,
            2,
            make_score(0),
            method="interpolation",
            coefficients=COEFFICIENTS[:4],
            max_evaluations=limit,
        )
        assert (len(pooled.trials), pooled.evaluations) == (tried, 1 + 4 * tried)


def test_a_method_that_cannot_stop_in_time_says_so() -> None:
    with pytest.raises(UserError, match="the budget is spent after 1 evaluations and this method needs more"):
        pool(Net(), make_tickets(0, range(4)), 2, make_score(0), method="uniform-soup", max_evaluations=1)
    with pytest.raises(UserError, match="max_evaluations is 0: give 1 or more"):
        pool(Net(), make_tickets(0, range(4)), 2, make_score(0), max_evaluations=0)


def test_better_is_judged_sample_by_sample() -> None:
    evaluator = Evaluator(nn.Linear(1, 1), lambda model: 0.0)
    evaluator.scores += [torch.tensor([0.0, 5.0, 9.0]), torch.tensor([1.0, 6.0, 10.0]), torch.tensor([3.0, 5.0, 10.0])]
    assert evaluator.is_better(1, 0, 99)  # by one in every sample: nothing is surer
    assert not evaluator.is_better(0, 0)
    # differences 3, 0, 1: mean 4/3, standard deviation 1.53, standard error 0.88
    assert evaluator.is_better(2, 0, 1.5)
    assert not evaluator.is_better(2, 0, 1.52)
    evaluator.scores += [0.5, 0.6]  # without samples, higher is enough
    assert evaluator.is_better(-1, -2, 99)
    assert not evaluator.is_better(-2, -1)


def test_a_tensor_that_was_pruned_elsewhere_and_has_no_mask_is_refused() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    draws = torch.Generator().manual_seed(0)
    mask = {"0.weight": torch.ones(8, 8, dtype=torch.bool)}

    def ticket(level: int, pruned: Tensor) -> Ticket:
        weights = {name: torch.randn(tensor.shape, generator=draws) for name, tensor in model.state_dict().items()}
        weights["1.weight"][pruned] = 0
        return Ticket(weights, mask, level)

    places = [torch.rand(8, 8, generator=draws) < 0.5 for _ in range(2)]
    with pytest.raises(
        UserError, match=r"^'1.weight' of the ticket of level 1 has .* zeros, other ones than .* level 0"
    ):
        checked_tickets(model, [ticket(0, places[0]), ticket(1, places[1])], 0)
    # Zeros at the same places stay, and so do those of a tensor that is zero altogether.
    assert list(checked_tickets(model, [ticket(0, places[0]), ticket(1, places[0])], 0)) == [0, 1]
    nowhere, everywhere = torch.zeros(8, 8, dtype=torch.bool), torch.ones(8, 8, dtype=torch.bool)
    assert list(checked_tickets(model, [ticket(0, nowhere), ticket(1, everywhere)], 0)) == [0, 1]
    for pair in ([ticket(0, places[0]), ticket(1, nowhere)], [ticket(1, nowhere), ticket(0, places[0])]):
        with pytest.raises(UserError, match=r"^'1.weight' of the ticket of level 0 has .* zeros"):
            checked_tickets(model, pair, 0)

"""The methods: what holds of every one, and what `pool` refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.methods import METHODS, pool
from lottery_pools.pooling.search import replay
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, snapshot
from tests.test_search import COEFFICIENTS, Net, make_recalibrate, make_score, make_tickets, tensors_equal

TICKETS = make_tickets(0, range(4))


def pooled_by(method: str, seed: int = 0, target: int = 1, **options: Any) -> Any:
    return pool(Net(), make_tickets(seed, range(4)), target, make_score(seed), method=method, **options)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("target", [0, 2])
def test_every_method_keeps_density_and_integers_and_says_how_it_was_done(method: str, target: int) -> None:
    for seed in range(4):
        tickets = make_tickets(seed, range(4))
        model = Net()
        pooled = pool(model, tickets, target, make_score(seed), method=method)
        ticket = pooled.ticket
        assert (ticket.level, ticket.kept, ticket.density) == (target, tickets[target].kept, tickets[target].density)
        assert ticket.weights["norm.num_batches_tracked"] == 100 + target
        assert ticket.origin["method"] == method
        assert all(torch.equal(tensor, ticket.weights[name]) for name, tensor in snapshot(model).items())
        assert make_score(seed)(model).double().mean() == pooled.score
        assert all(map(tensors_equal, tickets, make_tickets(seed, range(4))))
        again = pool(Net(), tickets[::-1], target, make_score(seed), method=method)
        assert tensors_equal(again.ticket, ticket)


@pytest.mark.parametrize("method", ["average", "interpolation"])
def test_origin_holds_the_recipe_which_rebuilds_the_ticket(method: str) -> None:
    tickets, recalibrate = make_tickets(5, range(4)), make_recalibrate(5)
    pooled = pool(Net(), tickets, 1, make_score(5), recalibrate, method=method, scope="layer")
    origin = pooled.ticket.origin
    assert origin == {"method": method, "scope": "layer", "recipe": [list(step) for step in pooled.recipe]}
    assert origin["recipe"]
    assert tensors_equal(replay(Net(), tickets, 1, origin["recipe"], recalibrate, origin["scope"]), pooled.ticket)


def test_average_is_interpolation_half_and_half() -> None:
    for seed in range(3):
        average = pooled_by("average", seed, coefficients=COEFFICIENTS)
        half = pooled_by("interpolation", seed, coefficients=(0.5,))
        assert average.trials == half.trials
        assert tensors_equal(average.ticket, half.ticket)


def test_only_the_nearest_candidates_are_offered_on_request() -> None:
    assert [trial.candidate for trial in pooled_by("average").trials] == [0, 2, 3]
    assert [trial.candidate for trial in pooled_by("average", candidates=1).trials] == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "interpolate"}, "unknown method 'interpolate': did you mean 'interpolation'"),
        ({"coefficients": (0.5, 1.0)}, r"coefficients are \[0.5, 1.0\]: give numbers strictly between 0 and 1"),
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
        ({"score": lambda model: float("nan")}, "score returned NaN"),
    ],
)
def test_mistakes_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    arguments = {"model": Net(), "tickets": TICKETS, "target": 1, "score": make_score(0), **options}
    with pytest.raises(UserError, match=message) as caught:
        pool(**arguments)
    assert "\n" not in str(caught.value)

"""Merges by what tickets compute: Fisher, RegMean, Model Stock and REPAIR, each by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.fisher import diagonal_fisher
from lottery_pools.pooling.merging import least_squares_within
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.result import Pooled
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets.ticket import Ticket, load_into

INPUTS = torch.randn(30, 4, generator=generator(0, "inputs"), dtype=torch.float64)


class Two(nn.Module):
    """Two prunable layers without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5, bias=False), nn.Linear(5, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.first(x).relu())
        return logits


def nested_tickets(count: int = 3) -> list[Ticket]:
    """Random tickets, each of which lost some weights of `second` that the one before has."""
    draws = generator(1, "tickets")
    result = []
    for level in range(count):
        weights = {name: torch.randn(t.shape, generator=draws).double() for name, t in Two().state_dict().items()}
        mask = {"first.weight": torch.ones(5, 4).bool(), "second.weight": (torch.arange(15) >= 2 * level).view(3, 5)}
        weights["second.weight"] *= mask["second.weight"]
        result.append(Ticket(weights, mask, level))
    return result


TICKETS = nested_tickets()


def merged(method: str, target: int, tickets: list[Ticket] = TICKETS) -> Pooled:
    base = {name: torch.full(t.shape, 0.5).double() for name, t in Two().state_dict().items()}
    samples = lambda: [INPUTS[:20], INPUTS[20:]]  # noqa: E731
    return pool(Two(), tickets, target, lambda model: 0.0, method=method, samples=samples, base=base)


def hidden(ticket: Ticket) -> Tensor:
    return (INPUTS @ ticket.weights["first.weight"].T).relu()


@pytest.mark.parametrize("method", ["fisher", "regmean", "model-stock", "repair"])
def test_they_merge_the_target_and_sparser_tickets_and_keep_its_mask(method: str) -> None:
    pooled = merged(method, 1)
    assert pooled.recipe == ((1, 1 / 2), (2, 1 / 2))
    assert all(torch.equal(mask, TICKETS[1].mask[name]) for name, mask in pooled.ticket.mask.items())
    assert not pooled.ticket.weights["second.weight"][~TICKETS[1].mask["second.weight"]].any()
    alone = merged(method, 2).ticket
    for name, tensor in TICKETS[2].weights.items():
        assert torch.allclose(alone.weights[name], tensor, atol=1e-8), name


def mean_of(name: str) -> Tensor:
    return (TICKETS[1].weights[name] + TICKETS[2].weights[name]) / 2


def test_fisher_merging_weighs_by_the_information() -> None:
    model, total, weights = Two(), dict[str, Tensor](), dict[str, Tensor]()
    for ticket in TICKETS[1:]:
        load_into(model, ticket.weights)
        for name, information in diagonal_fisher(model, [INPUTS[:20], INPUTS[20:]], 0).items():
            information = information.clamp(min=1e-6)
            total[name] = total.get(name, 0) + information * ticket.weights[name]
            weights[name] = weights.get(name, 0) + information
    pooled = merged("fisher", 1).ticket.weights
    for name, tensor in total.items():
        assert torch.allclose(pooled[name], tensor / weights[name]), name
    assert not torch.allclose(pooled["first.weight"], mean_of("first.weight"))


def test_regmean_solves_its_least_squares_within_the_mask() -> None:
    pooled = merged("regmean", 1).ticket.weights
    # the first layers see the same inputs, so their least squares is the mean
    assert torch.allclose(pooled["first.weight"], mean_of("first.weight"))
    gram, product = torch.zeros(5, 5).double(), torch.zeros(3, 5).double()
    for ticket in TICKETS[1:]:
        ticket_gram = hidden(ticket).T @ hidden(ticket)
        ticket_gram = torch.where(torch.eye(5).bool(), ticket_gram, 0.9 * ticket_gram)
        gram, product = gram + ticket_gram, product + ticket.weights["second.weight"] @ ticket_gram
    for row in range(3):
        kept = TICKETS[1].mask["second.weight"][row].numpy()
        solved = np.linalg.solve(gram.numpy()[np.ix_(kept, kept)], product[row].numpy()[kept])
        assert pooled["second.weight"][row].numpy()[kept] == pytest.approx(solved)
    assert torch.allclose(pooled["second.bias"], mean_of("second.bias"))


def test_least_squares_leave_weights_of_inputs_that_are_always_zero() -> None:
    gram = torch.diag(torch.tensor([2.0, 0.0, 1.0])).double()
    start, everywhere = torch.tensor([[9.0, 7.0, 9.0]]).double(), torch.ones(1, 3).bool()
    solved = least_squares_within(everywhere, gram, torch.tensor([[4.0, 0.0, 3.0]]).double(), start)
    assert solved[0].tolist() == pytest.approx([2, 7, 3])


def vector(level: int, *values: float) -> Ticket:
    weights = {"weight": torch.tensor([values]).float()}
    return Ticket(weights, {"weight": torch.ones(1, len(values)).bool()}, level)


@pytest.mark.parametrize(
    ("tickets", "expected"),
    [
        # from the base [1, 1]: [2, 0] and [0, 2], at a right angle, so nothing is left of them
        ([vector(0, 3, 1), vector(1, 1, 3)], [1, 1]),
        ([vector(0, 3, 1), vector(1, 3, 1)], [3, 1]),
        # [2, 0] and [1, √3]: cos 60° = 1/2, so t = 2 · 1/2 / (1 + 1/2) = 2/3 of the mean's [1.5, √3/2]
        ([vector(0, 3, 1), vector(1, 2, 1 + 3**0.5)], [1 + 1, 1 + 3**0.5 / 3]),
        # an obtuse angle counts as a right one
        ([vector(0, 3, 1), vector(1, -1, 1)], [1, 1]),
        ([vector(0, 1, 1), vector(1, 1, 1)], [1, 1]),
    ],
)
def test_model_stock_moves_the_mean_towards_the_base(tickets: list[Ticket], expected: list[float]) -> None:
    model = nn.Linear(2, 1, bias=False)
    base = {"weight": torch.ones(1, 2)}
    pooled = pool(model, tickets, 0, lambda model: 0.0, method="model-stock", base=base)
    assert pooled.ticket.weights["weight"][0].tolist() == pytest.approx(expected)


def test_model_stock_prunes_the_base_as_the_target() -> None:
    mask = {"weight": torch.tensor([[True, False]])}
    tickets = [Ticket({"weight": torch.tensor([[value, 0.0]])}, mask, level) for level, value in enumerate((3.0, 5.0))]
    base = {"weight": torch.tensor([[1.0, 9.0]])}
    pooled = pool(nn.Linear(2, 1, bias=False), tickets, 0, lambda model: 0.0, method="model-stock", base=base)
    assert pooled.ticket.weights["weight"].tolist() == [[4, 0]]


def test_repaired_outputs_vary_as_those_of_the_tickets() -> None:
    pooled = merged("repair", 1).ticket.weights
    outputs = [hidden(t) @ t.weights["second.weight"].T + t.weights["second.bias"] for t in TICKETS[1:]]
    output = (INPUTS @ pooled["first.weight"].T).relu() @ pooled["second.weight"].T + pooled["second.bias"]
    # in two batches, each repaired by itself on the way, so the last layer's agree about
    deviation = torch.stack([out.std(0, correction=0) for out in outputs]).mean(0)
    assert output.std(0, correction=0).tolist() == pytest.approx(deviation.tolist(), rel=0.1)
    before = [INPUTS @ t.weights["first.weight"].T for t in TICKETS[1:]]
    first = (INPUTS @ pooled["first.weight"].T).std(0, correction=0)
    assert torch.allclose(first, torch.stack([out.std(0, correction=0) for out in before]).mean(0))


@pytest.mark.parametrize("method", ["fisher", "regmean", "repair"])
def test_samples_are_needed(method: str) -> None:
    with pytest.raises(UserError, match="give `samples`, which returns batches of inputs"):
        pool(Two(), TICKETS, 1, lambda model: 0.0, method=method)

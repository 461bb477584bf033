"""The naive ensemble: worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.evaluation.ensemble import ensemble
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket
from tests.test_paths import close, linear, ticket


def predictor(level: int, probabilities: list[list[float]]) -> Ticket:
    """A network whose sample i has these class probabilities: its logits are its weights."""
    weights = {"weight": torch.tensor(probabilities, dtype=torch.float64).log().T.contiguous()}
    return Ticket(weights, masks.dense(weights, ["weight"]), level)


def logits(model: nn.Module) -> Tensor:
    out: Tensor = model(torch.eye(3, dtype=torch.float64))
    return out


def test_an_ensemble_by_hand() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    one = predictor(0, [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    two = predictor(3, [[0.3, 0.7], [0.4, 0.6], [0.6, 0.4]])
    three = predictor(5, [[0.6, 0.4], [0.1, 0.9], [0.2, 0.8]])
    row = ensemble(model, [one, two, three], logits, torch.tensor([0, 1, 1]))
    # means: [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]: the first of equals is class 0, which is wrong
    assert (row.levels, row.passes, row.n, row.correct, row.accuracy) == ((0, 3, 5), 3, 3, 2, close(2 / 3))
    assert row.hits == "wA=="  # bits 110
    assert row.loss == close(-(math.log(0.6) + math.log(0.7) + math.log(0.5)) / 3)
    # three confidences in three bins: |1 - 0.6|, |1 - 0.7|, |0 - 0.5|
    assert row.ece == close((0.4 + 0.3 + 0.5) / 3)
    # members predict 011... one: 0 1 0; two: 1 1 0; three: 0 1 1: pairs differ on 1, 1 and 2 of 3 samples
    assert row.disagreement == close((1 + 1 + 2) / 9)


def test_an_ensemble_of_one_network_is_that_network() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    member = predictor(0, [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    labels = torch.tensor([0, 0, 0])
    alone, thrice = ensemble(model, [member], logits, labels), ensemble(model, [member] * 3, logits, labels)
    assert (alone.disagreement, thrice.disagreement) == (0, 0)
    assert (alone.hits, alone.passes, thrice.hits, thrice.passes) == (thrice.hits, 1, alone.hits, 3)
    assert alone.loss == close(thrice.loss) == close(-(math.log(0.9) + math.log(0.4) + math.log(0.7)) / 3)


def test_probabilities_that_underflow_have_a_finite_loss() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    weights = {"weight": torch.tensor([[2000.0] * 3, [0.0] * 3], dtype=torch.float64)}
    sure = Ticket(weights, masks.dense(weights, ["weight"]), 0)
    assert ensemble(model, [sure, sure], logits, torch.ones(3, dtype=torch.long)).loss == close(2000)


def test_members_are_recalibrated() -> None:
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)

    def swap(model: nn.Module) -> None:
        assert isinstance(model, nn.Linear)
        model.weight.data = model.weight.data.flip(0)

    member = predictor(0, [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    assert ensemble(model, [member], logits, torch.zeros(3, dtype=torch.long)).correct == 3
    assert ensemble(model, [member, member], logits, torch.zeros(3, dtype=torch.long), swap).correct == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="an ensemble of no tickets"):
        ensemble(linear(1), [], lambda model: torch.ones(1, 2), torch.zeros(1))
    with pytest.raises(UserError, match="logits of 1 samples and 2 labels"):
        ensemble(linear(1), [ticket(0, 1)], lambda model: torch.ones(1, 2), torch.zeros(2))

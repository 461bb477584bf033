"""What identifies weights: a digest that follows values, not places in memory."""

from __future__ import annotations

import pytest
import torch

from lottery_pools.errors import UserError
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.recipe import Recipe, replay
from lottery_pools.tickets import files
from lottery_pools.tickets.identity import weights_digest
from lottery_pools.tickets.ticket import Ticket
from tests.test_algorithm2 import Net, make_recalibrate, make_score, make_tickets, tensors_equal

WEIGHTS = {"a": torch.tensor([[1.0, 0.0], [-2.0, 0.5]]), "b": torch.tensor(3)}


def test_equal_weights_have_one_digest() -> None:
    digest = weights_digest(WEIGHTS)
    assert len(digest) == 16
    assert weights_digest({name: WEIGHTS[name].clone() for name in "ba"}) == digest
    assert weights_digest({**WEIGHTS, "a": WEIGHTS["a"].t().contiguous().t()}) == digest
    assert weights_digest({**WEIGHTS, "a": torch.where(WEIGHTS["a"] == 0, -0.0, WEIGHTS["a"])}) == digest
    others = (
        {**WEIGHTS, "a": WEIGHTS["a"] * (1 + 1e-6)},
        {**WEIGHTS, "a": WEIGHTS["a"].flatten()},
        {**WEIGHTS, "a": WEIGHTS["a"].double()},
        {**WEIGHTS, "b": torch.tensor(4)},
        {"c": WEIGHTS["a"], "b": WEIGHTS["b"]},
    )
    assert digest not in {weights_digest(other) for other in others}


def test_a_recipe_is_not_replayed_on_other_tickets(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A ticket from its file is the same one; one that was trained on is not."""
    tickets, recalibrate = make_tickets(0, range(4)), make_recalibrate(0)
    pooled = pool(Net(), tickets, 1, make_score(0), recalibrate)
    recipe = Recipe.of(pooled.ticket)
    folder = tmp_path_factory.mktemp("tickets")
    for ticket in tickets:
        files.save(ticket, folder / f"{ticket.level}.safetensors")
    read = [files.load(folder / f"{level}.safetensors", Net()) for level in range(4)]
    assert tensors_equal(replay(Net(), read, recipe, recalibrate), pooled.ticket)
    for level in recipe.mixed:
        changed = {name: tensor * 1.01 for name, tensor in tickets[int(level)].weights.items()}
        odd = [
            Ticket(changed, ticket.mask, ticket.level) if ticket.level == int(level) else ticket for ticket in tickets
        ]
        with pytest.raises(
            UserError, match=rf"^the ticket of level {level} has other weights \(digest [0-9a-f]{{16}}\)"
        ):
            replay(Net(), odd, recipe, recalibrate)
    with pytest.warns(UserWarning, match="the model has BatchNorm and no `recalibrate` was given"):
        replay(Net(), tickets, recipe)

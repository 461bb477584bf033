"""What identifies weights: a digest that follows values, not places in memory."""

from __future__ import annotations

import pytest
import torch

from lottery_pools.errors import UserError
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.recipe import Recipe, replay
from lottery_pools.tickets import files
from lottery_pools.tickets.identity import tensors_digest
from lottery_pools.tickets.ticket import Ticket
from tests.test_algorithm2 import Net, make_recalibrate, make_score, make_tickets, tensors_equal

WEIGHTS = {"a": torch.tensor([[1.0, 0.0], [-2.0, 0.5]]), "b": torch.tensor(3)}


def test_equal_weights_have_one_digest() -> None:
    digest = tensors_digest(WEIGHTS)
    assert len(digest) == 16
    assert tensors_digest({name: WEIGHTS[name].clone() for name in "ba"}) == digest
    assert tensors_digest({**WEIGHTS, "a": WEIGHTS["a"].t().contiguous().t()}) == digest
    assert tensors_digest({**WEIGHTS, "a": torch.where(WEIGHTS["a"] == 0, -0.0, WEIGHTS["a"])}) == digest
    others = (
        {**WEIGHTS, "a": WEIGHTS["a"] * (1 + 1e-6)},
        {**WEIGHTS, "a": WEIGHTS["a"].flatten()},
        {**WEIGHTS, "a": WEIGHTS["a"].double()},
        {**WEIGHTS, "b": torch.tensor(4)},
        {"c": WEIGHTS["a"], "b": WEIGHTS["b"]},
    )
    assert digest not in {tensors_digest(other) for other in others}


def test_batches_that_batchnorm_has_seen_do_not_count() -> None:
    """A ticket of a state_dict that was not cloned shares that number with the model, where pooling changes it."""
    model, tickets, recalibrate = Net(), make_tickets(0, range(4)), make_recalibrate(0)
    seen = {"norm.num_batches_tracked": model.state_dict()["norm.num_batches_tracked"]}
    tickets = [Ticket({**ticket.weights, **seen}, ticket.mask, ticket.level) for ticket in tickets]
    pooled = pool(model, tickets, 1, make_score(0), recalibrate)
    assert int(tickets[1].weights["norm.num_batches_tracked"]) == 3
    assert tensors_equal(replay(model, tickets, Recipe.of(pooled.ticket), recalibrate), pooled.ticket)


def test_a_digest_follows_masks_and_changes_in_place() -> None:
    weights = {"w": torch.tensor([1.0, 0.0, 2.0, 0.0])}
    ticket = Ticket(weights, {"w": weights["w"] != 0}, 0)
    wider = Ticket(weights, {"w": torch.tensor([True, True, True, False])}, 0)
    first = ticket.digest
    assert wider.digest != first
    weights["w"].mul_(2)
    assert ticket.digest not in (first, wider.digest)
    weights["w"].div_(2)
    assert ticket.digest == first
    with torch.inference_mode():
        unversioned = Ticket({"w": weights["w"].clone()}, ticket.mask, 0)
        assert unversioned.digest == first
        unversioned.weights["w"].mul_(2)
        assert unversioned.digest != first


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
        weights = tickets[int(level)].weights
        changed = {name: tensor * 1.01 if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
        odd = [
            Ticket(changed, ticket.mask, ticket.level) if ticket.level == int(level) else ticket for ticket in tickets
        ]
        with pytest.raises(
            UserError, match=rf"^the ticket of level {level} has other weights \(digest [0-9a-f]{{16}}\)"
        ):
            replay(Net(), odd, recipe, recalibrate)
    mask = {name: torch.ones_like(kept) for name, kept in tickets[1].mask.items()}
    with pytest.raises(UserError, match=r"^the ticket of level 1 has other weights"):
        replay(Net(), [Ticket(t.weights, mask, 1) if t.level == 1 else t for t in tickets], recipe, recalibrate)
    with pytest.raises(UserError, match=r"^model is a dict"):
        replay({}, tickets, recipe)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="the model has BatchNorm and no `recalibrate` was given"):
        replay(Net(), tickets, recipe)

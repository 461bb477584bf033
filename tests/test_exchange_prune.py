"""A ticket goes on under torch.nn.utils.prune, and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import lottery_pools as lp
from lottery_pools.errors import UserError
from lottery_pools.tickets.ticket import Ticket
from tests.test_exchange_read import Small, drawn, same, ticket


def test_round_trip_and_fine_tuning_keeps_the_mask(tmp_path: Path) -> None:
    wanted = ticket(0.4)
    network = lp.to_prune(drawn(3), wanted)
    assert isinstance(network, Small)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    assert same(lp.read(tmp_path / "a.pt"), wanted)

    optimizer = torch.optim.SGD(network.parameters(), 0.5, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(8, 1, 9)).square().sum().backward()
        optimizer.step()
    torch.save(network.state_dict(), tmp_path / "tuned.pt")
    tuned = lp.read(tmp_path / "tuned.pt")
    assert all(torch.equal(tuned.mask[name], mask) for name, mask in wanted.mask.items())
    assert not torch.equal(tuned.weights["conv.weight"], wanted.weights["conv.weight"])
    network.eval()
    plain = drawn(4).eval()
    plain.load_state_dict(dict(tuned.weights))
    x = torch.randn(4, 1, 9)
    torch.testing.assert_close(plain(x), network(x))


def test_attention_and_tied_layers_are_pruned_too(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)
            self.words = nn.Embedding(6, 4)
            self.out = nn.Linear(4, 6, bias=False)
            self.out.weight = self.words.weight

    network = Tied()
    mask = torch.rand(6, 4) < 0.5
    masks = {
        "words.weight": mask,
        "out.weight": mask,
        "attention.in_proj_weight": torch.rand(12, 4) < 0.5,
    }
    weights = {name: tensor * masks.get(name, torch.tensor(1)) for name, tensor in network.state_dict().items()}
    wanted = Ticket(weights, masks, 1)
    pruned = lp.to_prune(network, wanted)
    x = torch.randn(3, 1, 4)
    assert pruned.attention(x, x, x)[0].shape == x.shape
    torch.save(pruned.state_dict(), tmp_path / "a.pt")
    assert same(lp.read(tmp_path / "a.pt", model=Tied()), wanted)
    assert pruned.out.get_parameter("weight_orig") is pruned.words.get_parameter("weight_orig")


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(UserError, match=r"the weights of the ticket lack '0\.weight'"):
        lp.to_prune(nn.Sequential(nn.Linear(2, 2)), ticket(0.4))
    network = drawn()
    prune.identity(network.conv, "weight")  # type: ignore[no-untyped-call]
    with pytest.raises(UserError, match=r"is under torch\.nn\.utils\.prune already: call prune\.remove"):
        lp.to_prune(network, ticket(0.4))

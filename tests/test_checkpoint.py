from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.tickets.checkpoint import load_state, save_state
from lottery_pools.tickets.ticket import snapshot


def network(width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3, 4, 4)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("with_best", [True, False])
def test_round_trip(tmp_path: Path, optimizer: Any, with_best: bool) -> None:
    first, second = network(), network()
    for model in (first, second):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    first_optimizer, second_optimizer = optimizer(first.parameters(), 0.1), optimizer(second.parameters(), 0.1)
    best = snapshot(first) if with_best else None
    step(first, first_optimizer)
    save_state(tmp_path / "state", first, first_optimizer, best, {"step": 3, "loss": 0.25})
    kept, values = load_state(tmp_path / "state", second, second_optimizer)
    assert values == {"step": 3, "loss": 0.25}
    assert (kept is None) == (best is None)
    assert all(torch.equal(tensor, (kept or {})[name]) for name, tensor in (best or {}).items())
    step(first, first_optimizer)
    step(second, second_optimizer)
    assert all(torch.equal(tensor, snapshot(second)[name]) for name, tensor in snapshot(first).items())
    with pytest.raises(UserError, match=r"'0\.weight' is"):
        load_state(tmp_path / "state", network(5), second_optimizer)

"""A small pool, made on any device by any method: for tests on a stand-in for a GPU and on a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from unittest.mock import patch

import torch
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.pooling import learning
from lottery_pools.tickets import masks

Place = Literal["device", "cpu", "files"]
"""Where tickets are when they are pooled: on the device of the module, on the CPU, or in their files."""
STEPS = 2
"""Steps by which coefficients are learned: enough to come through all of it."""


def network() -> nn.Module:
    """A classifier with BatchNorm, a convolution in groups, biases, and no two layers of one shape."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def make_tickets(base: dict[str, Tensor], draws: torch.Generator) -> list[lp.Ticket]:
    """Three tickets near `base`, each pruned from the one before."""
    prunable = [name for name, tensor in base.items() if tensor.ndim > 1]
    mask, tickets = masks.dense(base, prunable), []
    for level in range(3):
        weights = {
            name: tensor + 0.1 * torch.randn(tensor.shape, generator=draws).abs()
            if tensor.is_floating_point()
            else tensor
            for name, tensor in base.items()
        }
        tickets.append(lp.Ticket(masks.apply(weights, mask), mask, level))
        mask = masks.prune(masks.magnitude(weights, mask), mask, int(masks.count(mask)[0] * 0.8))
    return tickets


def moved(tensors: lp.pooling.arithmetic.Tensors, device: str) -> dict[str, Tensor]:
    """Tensors by name on a device."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def pooled(method: str, device: str, place: Place, folder: Path) -> tuple[lp.Pooled, lp.Ticket]:
    """Pool three tickets on a device: (what the search gives, the ticket that replay gives of it)."""
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(48, 1, 7, 7, generator=draws)
    labels = torch.randint(3, (48,), generator=draws).to(device)
    first = network()
    base = {
        name: torch.randn(tensor.shape, generator=draws).abs() if tensor.is_floating_point() else tensor
        for name, tensor in first.state_dict().items()
    }
    tickets = make_tickets(base, draws)
    if place == "device":
        tickets = [lp.Ticket(moved(t.weights, device), moved(t.mask, device), t.level) for t in tickets]
    elif place == "files":
        paths = [folder / f"{ticket.level}.safetensors" for ticket in tickets]
        for ticket, path in zip(tickets, paths, strict=True):
            lp.save(ticket, path)
        tickets = [lp.load(path) for path in paths]
    model, samples = first.to(device), list(torch.split(inputs.to(device), 20))

    def score(model: nn.Module) -> Tensor:
        return lp.log_likelihood(model.eval()(torch.cat(samples[:2])), labels[:40])

    def loss(model: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(model(samples[2]), labels[40:])

    def recalibrate(model: nn.Module) -> None:
        lp.recalibrate(model, samples)

    with patch.object(learning, "LEARNED_SOUP_STEPS", STEPS):
        result = lp.pool(
            model, tickets, 1, score, recalibrate, method=method, coefficients=(0.3, 0.6), loss=loss, base=base,
            samples=lambda: samples, labels=labels,
        )  # fmt: skip
        recipe = lp.Recipe.of(result.ticket)
        replayed = lp.replay(model, tickets, recipe, recalibrate, base=base, samples=lambda: samples)
    return result, replayed

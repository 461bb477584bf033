"""Tickets from a training loop of your own: segmentation, scored by the overlap with the true area.

`lp.imp` is given a function that trains the network that it is handed; it prunes, rewinds and keeps the tickets.
Run: python examples/own_loop.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import lottery_pools as lp

SIZE = 16


def discs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n noisy images (n, 1, SIZE, SIZE) of a disc on a slope, and which pixels are the disc's, as 0 or 1."""
    draws = torch.Generator().manual_seed(seed)
    middle = 4 + 8 * torch.rand(n, 2, 1, 1, generator=draws)
    radius = 2 + 3 * torch.rand(n, 1, 1, generator=draws)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    inside = ((x - middle[:, 0]) ** 2 + (y - middle[:, 1]) ** 2 < radius**2).float()[:, None]
    slope = (x / SIZE - 0.5) * torch.randn(n, 1, 1, 1, generator=draws)
    return inside + slope + 0.7 * torch.randn(n, 1, SIZE, SIZE, generator=draws), inside


def network() -> nn.Module:
    """Five convolutions, the middle ones on half the resolution."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(24, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Conv2d(16, 1, 1),
    )


def main(folder: Path | None = None) -> None:
    """Five tickets; the second is strengthened; the overlap before and after on fresh images."""
    training, validation, test = discs(300, 1), discs(600, 2), discs(600, 3)

    def fit(model: nn.Module, epochs: range) -> None:
        optimizer = torch.optim.Adam(model.parameters())
        for epoch in epochs:
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (1 - epoch / 12)
            for batch in torch.split(torch.randperm(300), 30):
                optimizer.zero_grad()
                loss = nn.functional.binary_cross_entropy_with_logits(model(training[0][batch]), training[1][batch])
                torch.autograd.backward(loss)
                optimizer.step()

    def train(model: nn.Module, mask: dict[str, Tensor], level: int) -> None:
        fit(model, range(1, 12))

    def overlap(model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
        """Intersection over union of each image, (n,)."""
        model.eval()
        with torch.no_grad():
            predicted, true = model(data[0]) > 0, data[1] > 0
        shares: Tensor = (predicted & true).sum((1, 2, 3)) / (predicted | true).sum((1, 2, 3))
        return shares

    def recalibrate(model: nn.Module) -> None:
        lp.recalibrate(model, torch.split(training[0], 100))

    model = network()
    tickets = lp.imp(train, model, levels=4, rate=0.4, rewind=lambda model: fit(model, range(1)), folder=folder)
    target = 1
    pooled = lp.pool(model, tickets, target, lambda model: overlap(model, validation), recalibrate)
    print(f"density {pooled.ticket.density:.3f}, as the ticket's {tickets[target].density:.3f}")
    print(f"recipe {list(pooled.recipe)}")
    after = float(overlap(model, test).mean())
    model.load_state_dict(dict(tickets[target].weights))
    print(f"test overlap: ticket {float(overlap(model, test).mean()):.3f}, pooled {after:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)

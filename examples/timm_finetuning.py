"""Tickets from pretrained weights: a network of timm is fine-tuned, and survivors go back to the pretrained weights.

The weights come from a file, and nothing is downloaded. Needs `pip install timm`.
Run: python examples/timm_finetuning.py resnet10t.safetensors [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

import lottery_pools as lp

CLASSES, SIZE = 3, 32


def stripes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n noisy images (n, 3, SIZE, SIZE) of stripes, and how they run (n,): 0 down, 1 across, 2 aslant."""
    draws = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (n,), generator=draws)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    way = torch.stack([x, y, x + y])[label].float()
    phase = 6.3 * torch.rand(n, 1, 1, generator=draws)
    images = (way / 2 + phase).sin()[:, None] + 4 * torch.randn(n, 3, SIZE, SIZE, generator=draws)
    return images, label


def main(weights: Path, folder: Path | None = None, name: str = "resnet10t") -> None:
    """Three tickets of a fine-tuned network; the second is strengthened."""
    training, validation = stripes(96, 1), stripes(96, 2)
    torch.manual_seed(0)
    pretrained = timm.create_model(name, checkpoint_path=str(weights))
    pretrained.reset_classifier(CLASSES)

    def train(model: nn.Module, mask: dict[str, Tensor], level: int) -> None:
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        for _ in range(2):
            for batch in torch.split(torch.randperm(len(training[0])), 24):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(model(training[0][batch]), training[1][batch]))
                optimizer.step()

    def score(model: nn.Module) -> Tensor:
        return lp.log_likelihood(model.eval()(validation[0]), validation[1])

    def recalibrate(model: nn.Module) -> None:
        lp.recalibrate(model, torch.split(training[0], 48))

    tickets = lp.imp(train, pretrained, levels=2, rate=0.5, prunable="convolutions", folder=folder)
    pooled = lp.pool(pretrained, tickets, 1, score, recalibrate)
    print(f"density {pooled.ticket.density:.3f}, as the ticket's {tickets[1].density:.3f}")
    print(f"recipe {list(pooled.recipe)}, log-likelihood {pooled.target_score:.3f} → {pooled.score:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)

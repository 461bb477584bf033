"""Tickets from Lightning: its Trainer trains every level.

Needs `pip install lightning`. Run: python examples/lightning_loop.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lottery_pools as lp


class Classifier(lightning.LightningModule):
    """A module of Lightning's as you may have it: network, loss and optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 20) → logits (n, 4)."""
        logits: Tensor = self.network(inputs)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """The loss of a batch."""
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, made anew for every level."""
        return torch.optim.AdamW(self.parameters(), 0.01)


def clusters(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n points (n, 20) around two centres for each of four classes, and their classes (n,)."""
    draws = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, 20, generator=torch.Generator().manual_seed(9))
    chosen = torch.randint(8, (n,), generator=draws)
    return centres[chosen] + 1.3 * torch.randn(n, 20, generator=draws), chosen % 4


def main(folder: Path | None = None) -> None:
    """Five tickets; the middle one is strengthened."""
    training, validation = clusters(400, 1), clusters(1000, 2)
    torch.manual_seed(0)
    module = Classifier()

    def fit(module: nn.Module, epochs: int) -> None:
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, DataLoader(TensorDataset(*training), 40, shuffle=True))

    def score(module: nn.Module) -> Tensor:
        return lp.log_likelihood(module.eval()(validation[0]), validation[1])

    tickets = lp.imp(
        lambda module, mask, level: fit(module, 5),
        module,
        levels=4,
        rewind=lambda module: fit(module, 1),
        folder=folder,
    )
    pooled = lp.pool(module, tickets, 2, score, lambda module: lp.recalibrate(module, [training[0]]))
    print(f"density {pooled.ticket.density:.3f}, as the ticket's {tickets[2].density:.3f}")
    print(f"recipe {list(pooled.recipe)}, log-likelihood {pooled.target_score:.3f} → {pooled.score:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)

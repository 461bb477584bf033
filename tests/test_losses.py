from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lottery_pools.config.schema import Task, Training
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import losses

CPU = torch.device("cpu")
OUTPUTS = torch.randn(6, 3, generator=generator(0, "outputs"))
CLASSES = torch.tensor([0, 1, 2, 2, 1, 0])
PRESENT = torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
NUMBERS = torch.randn(6, 3, generator=generator(0, "numbers"))


def loss(task: Task, labels: Tensor, **settings: object) -> Tensor:
    return losses.of(Training(**settings), task, CPU)(OUTPUTS, labels)  # type: ignore[arg-type]


def test_cross_entropy_with_weights_and_smoothing() -> None:
    assert torch.equal(loss("single-label", CLASSES), F.cross_entropy(OUTPUTS, CLASSES))
    smoothed = loss("single-label", CLASSES, label_smoothing=0.2)
    assert torch.equal(smoothed, F.cross_entropy(OUTPUTS, CLASSES, label_smoothing=0.2))
    each = F.cross_entropy(OUTPUTS, CLASSES, reduction="none")
    weights = torch.tensor([1.0, 2, 5])[CLASSES]
    torch.testing.assert_close(
        loss("single-label", CLASSES, class_weights=(1.0, 2.0, 5.0)), (each * weights).sum() / weights.sum()
    )


def test_binary_cross_entropy_of_labels_that_are_there_or_not() -> None:
    probabilities = OUTPUTS.sigmoid()
    if_present, if_absent = -probabilities.log(), -(1 - probabilities).log()
    torch.testing.assert_close(loss("multi-label", PRESENT), (PRESENT * if_present + (1 - PRESENT) * if_absent).mean())
    weighted = (PRESENT * if_present * torch.tensor([3.0, 1, 2]) + (1 - PRESENT) * if_absent).mean()
    torch.testing.assert_close(loss("multi-label", PRESENT, class_weights=(3.0, 1.0, 2.0)), weighted)
    target = 0.8 * PRESENT + 0.1
    smoothed = (target * if_present + (1 - target) * if_absent).mean()
    torch.testing.assert_close(loss("multi-label", PRESENT, label_smoothing=0.2), smoothed)


def test_squared_error_of_numbers() -> None:
    errors = (OUTPUTS - NUMBERS) ** 2
    torch.testing.assert_close(loss("regression", NUMBERS), errors.mean())
    weighted = (errors * torch.tensor([1.0, 0.5, 2])).mean()
    torch.testing.assert_close(loss("regression", NUMBERS, class_weights=(1.0, 0.5, 2.0)), weighted)


def test_a_loss_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses.py").write_text(
        "def absolute(outputs, labels):\n    return (outputs - labels).abs().mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    torch.testing.assert_close(
        loss("regression", NUMBERS, loss="own_losses:absolute"), (OUTPUTS - NUMBERS).abs().mean()
    )
    with pytest.raises(UserError, match=r"^unknown loss of module own_losses 'absolut': did you mean 'absolute'\?$"):
        loss("regression", NUMBERS, loss="own_losses:absolut")
    with pytest.raises(UserError, match=r"^loss 'absolute' is not an importable name: write package\.module:function$"):
        loss("regression", NUMBERS, loss="absolute")
    with pytest.raises(UserError, match=r"^loss 'nowhere:absolute' cannot be imported from "):
        loss("regression", NUMBERS, loss="nowhere:absolute")

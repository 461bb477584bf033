from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lottery_pools.config.schema import Config
from lottery_pools.errors import Notice, UserError
from lottery_pools.models import registry
from lottery_pools.tickets import checks, imp, masks
from tests.test_imp import CONFIG, DATA, dense_run, pruned, run


def none_kept(config: Config, tmp_path: Path) -> None:
    run(config, tmp_path)


@pytest.mark.parametrize("act", [none_kept, lambda config, _: checks.check_settings(config, DATA)])
def test_a_density_that_keeps_no_weight(tmp_path: Path, act: Callable[[Config, Path], None]) -> None:
    prunable = masks.count(masks.dense(dense_run(0), registry.prunable(imp.network(CONFIG, DATA, 0), "convolutions")))
    with pytest.raises(UserError) as error:
        act(pruned(densities=(0.5, 1e-7)), tmp_path)
    assert str(error.value) == (
        f"density 1e-07 of level 2 keeps none of {prunable[1]} prunable weights: "
        "lower pruning.levels or take a larger network"
    )


def test_a_rewind_point_after_the_last_step() -> None:
    checks.check_settings(pruned(rewind=8, rewind_unit="steps"), DATA)
    with pytest.raises(UserError, match=r"^pruning\.rewind is step 9: training has only 9 steps$"):
        checks.check_settings(pruned(rewind=9, rewind_unit="steps"), DATA)


def test_a_network_with_another_number_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    monkeypatch.setattr(imp, "network", lambda *_: wrong)
    with pytest.raises(UserError) as error:
        checks.check_settings(CONFIG, DATA)
    assert str(error.value) == (
        "model 'resnet20' gives (2, 5) for samples (2, 3, 8, 8), 'mnist1d' has 3 classes: "
        "make the model output (batch, 3)"
    )


class Auxiliary(nn.Module):
    """A tuple in training mode, as networks with auxiliary outputs give."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3, len(DATA.classes), 8)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits: Tensor = self.linear(x)[:, :, 0, 0]
        return (logits, logits) if self.training else logits


def test_a_network_with_auxiliary_outputs_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imp, "network", lambda *_: Auxiliary())
    with pytest.raises(UserError, match=r"returns tuple in training mode, as for auxiliary outputs"):
        checks.check_settings(CONFIG, DATA)


def test_a_batch_of_one_that_batchnorm_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = nn.Sequential(nn.Conv2d(3, len(DATA.classes), 8), nn.Flatten(), nn.BatchNorm1d(len(DATA.classes)))
    monkeypatch.setattr(imp, "network", lambda *_: flat)
    config = replace(CONFIG, training=replace(CONFIG.training, batch=1))
    with pytest.raises(
        UserError, match=r"cannot be trained on a batch of 1 samples: Expected more than 1.*training\.batch"
    ):
        checks.check_settings(config, DATA)


def test_weights_that_are_left_alone_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), weight_norm(nn.Conv2d(2, len(DATA.classes), 8)), nn.Flatten())
    monkeypatch.setattr(imp, "network", lambda *_: network)
    with pytest.warns(Notice, match=r"leaves 1 weights of this network alone: 1\.weight \(parametrised"):
        checks.check_settings(CONFIG, DATA)


def test_class_weights_of_another_number_of_classes() -> None:
    config = replace(CONFIG, training=replace(CONFIG.training, class_weights=(1.0, 2.0)))
    with pytest.raises(UserError, match=r"^training\.class_weights has 2 weights, 'mnist1d' needs 3$"):
        checks.check_settings(config, DATA)
    checks.check_settings(replace(config, training=replace(config.training, class_weights=(1.0, 2.0, 3.0))), DATA)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return outputs", "does not return a tensor of one number that follows from the outputs"),
        ("return outputs.detach().sum()", "does not return a tensor of one number that follows from the outputs"),
        ("return 1.0", "does not return a tensor of one number that follows from the outputs"),
        ("return (outputs @ labels.float()).sum()", r"cannot take outputs \(2, 3\) and labels \(2,\): "),
        ("return torch.nn.functional.cross_entropy(outputs, labels)", None),
    ],
)
def test_a_loss_of_ones_own_is_tried(
    body: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tried_loss.py").write_text(f"import torch\n\n\ndef loss(outputs, labels):\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tried_loss", raising=False)
    config = replace(CONFIG, training=replace(CONFIG.training, loss="tried_loss:loss"))
    if message is None:
        checks.check_settings(config, DATA)
        return
    with pytest.raises(UserError, match=message):
        checks.check_settings(config, DATA)


@pytest.mark.parametrize(
    ("device", "precision", "supported", "refused"),
    [
        ("cuda", "bfloat16", False, True),
        ("cuda", "bfloat16", True, False),
        ("cuda", "float32", False, False),
        ("cpu", "bfloat16", False, False),
    ],
)
def test_a_gpu_without_bfloat16_is_named(
    device: str, precision: Any, supported: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    settings = replace(CONFIG.training, precision=precision)
    if refused:
        with pytest.raises(UserError, match=r"give --training\.precision float32$"):
            checks.check_precision(settings, torch.device(device))
    else:
        checks.check_precision(settings, torch.device(device))

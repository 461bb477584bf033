"""Training on a real GPU: recorded steps give the bits of plain ones, and what cannot be recorded is trained plainly.

make test-gpu
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Training
from lottery_pools.errors import Notice
from lottery_pools.models import registry
from lottery_pools.runs import engine
from lottery_pools.tickets import training
from lottery_pools.tickets.ticket import snapshot
from lottery_pools.tickets.training import Epoch, train
from tests.test_training import DATA, PLAIN, dropout_network, half, network, run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    engine.prepare(1, deterministic=True)
    yield
    torch.use_deterministic_algorithms(False)


def bits(weights: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.cpu().numpy().tobytes() for name, tensor in weights.items()}


def trained(model: nn.Module, settings: Training, **changes: Any) -> dict[str, bytes]:
    """The weights that training gives on a GPU, from the model's weights, which stay as they are."""
    changes.setdefault("dataset", DATA.to("cuda"))
    before = snapshot(model)
    mask = {name: kept.cuda() for name, kept in half(model).items()}
    result = bits(train(model.cuda(), mask, run(settings, **changes)).weights)
    model.cpu().load_state_dict(before)
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bfloat16"},
        {"optimizer": "adamw"},
        {"nesterov": True, "clip_norm": 0.5, "label_smoothing": 0.1},
        {"keep": "ema"},
        {"keep": "swa"},
        {"channels_last": False},
    ],
)
@pytest.mark.parametrize("make", [network, dropout_network])
def test_recorded_steps_give_the_bits_of_plain_ones(make: Any, changes: dict[str, Any]) -> None:
    settings = replace(PLAIN, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)  # nothing keeps these networks from being recorded
        recorded = trained(make(), settings)
    assert recorded == trained(make(), settings, record=False)
    assert recorded == trained(make(), settings)


@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_two_runs_of_the_papers_networks_give_the_same_bytes(name: str) -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8, generator=draws)
    split = replace(DATA.train, stored=images, labels=torch.arange(300) % 3)
    data = replace(DATA, train=split).to("cuda")
    settings = replace(PLAIN, epochs=2, milestones=(1,), batch=64, precision="bfloat16")

    def once() -> dict[str, bytes]:
        model = registry.build(name, {"stem": "cifar"} if name == "resnet18" else {}, 3, (3, 32, 32), seed=0).cuda()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
            return bits(train(model, {}, run(settings, dataset=data)).weights)

    assert once() == once()


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    for number, settings in enumerate([PLAIN, replace(PLAIN, optimizer="adamw", keep="ema")]):
        changes: dict[str, Any] = {"dataset": DATA.to("cuda"), "checkpoint": tmp_path / f"{number}.safetensors"}
        mask = {name: kept.cuda() for name, kept in half(network()).items()}

        def stop(epoch: Epoch) -> None:
            if epoch.epoch == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(network().cuda(), mask, run(settings, **changes), stop)
        assert changes["checkpoint"].exists()
        assert bits(train(network().cuda(), mask, run(settings, **changes)).weights) == trained(network(), settings)


class Waiting(nn.Module):
    """A network whose output depends on a number that the host reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(192, 3)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits if float(logits.detach().sum()) > 0 else 2 * logits


class Refusing(Waiting):
    """A network that draws random numbers and cannot be recorded, which shows only when it is tried."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = nn.functional.dropout(self.layer(images.flatten(1)), 0.5, self.training)
        if torch.cuda.is_current_stream_capturing():
            logits.sum().item()
        return logits


@pytest.mark.parametrize(
    ("make", "obstacle"),
    [(Waiting, r"waits for the GPU within a step \(test_graphs.py, line "), (Refusing, r"cannot be recorded \(")],
)
def test_what_cannot_be_recorded_is_trained_plainly(make: type[nn.Module], obstacle: str) -> None:
    model = make()
    weights = snapshot(model)
    with pytest.warns(Notice, match=f"since the network {obstacle}"):
        attempted = bits(train(model.cuda(), {}, run(PLAIN, dataset=DATA.to("cuda"))).weights)
    twin = make()
    twin.load_state_dict(weights)
    plain = bits(train(twin.cuda(), {}, run(PLAIN, dataset=DATA.to("cuda"), record=False)).weights)
    assert attempted == plain


def test_training_leaves_no_memory_behind() -> None:
    data, allocated = DATA.to("cuda"), []
    for _ in range(3):  # the first time sets up the libraries
        train(network().cuda(), {}, run(PLAIN, dataset=data))
        torch.cuda.synchronize()
        allocated.append(torch.cuda.memory_allocated())
    assert allocated[2] <= allocated[1]

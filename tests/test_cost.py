"""Costs: multiply-adds against published figures and by hand, images against what is really done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lottery_pools.config import Config, Data, Model, Pooling, Pruning, Training
from lottery_pools.data import sources
from lottery_pools.evaluation import cost
from lottery_pools.models import registry
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import imp


@pytest.mark.parametrize(
    ("name", "classes", "shape", "billions"),
    [
        ("resnet18", 1000, (3, 224, 224), 1.82),
        ("resnet34", 1000, (3, 224, 224), 3.67),
        ("resnet50", 1000, (3, 224, 224), 4.09),
        ("vgg16", 10, (3, 32, 32), 0.313),
        ("resnet18", 10, (3, 32, 32), 0.556),
        ("resnet20", 10, (3, 32, 32), 0.041),
    ],
)
def test_known_networks_cost_what_is_published(
    name: str, classes: int, shape: tuple[int, int, int], billions: float
) -> None:
    with torch.device("meta"):  # shapes only
        model = registry.MODELS[name](classes, shape)
    assert cost.flops(model, shape) / 1e9 == pytest.approx(billions, rel=0.007)


class Everything(nn.Module):
    """Each kind of layer, groups, strides, and one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)  # (4, 8, 8) → (6, 4, 4)
        self.signal = nn.Conv1d(6, 5, 3)  # (6, 16) → (5, 14)
        self.each = nn.Linear(14, 7, bias=False)  # on each of 5 vectors
        self.again = nn.Linear(7, 7)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.each(self.signal(self.image(x).flatten(2)))
        twice: Tensor = self.again(self.again(y))
        return twice


BY_HAND = {"image.weight": 16, "signal.weight": 14, "each.weight": 5, "again.weight": 2 * 5}
"""Tensor → how often each of its weights is multiplied."""


@given(st.floats(0, 1), st.integers(0, 99), st.sets(st.sampled_from(sorted(BY_HAND))))
def test_each_surviving_weight_counts_once_a_position(density: float, seed: int, masked: set[str]) -> None:
    model = Everything()
    weights = dict(model.named_parameters())
    draws = generator(seed, "mask")
    mask = {name: torch.rand(weights[name].shape, generator=draws) < density for name in masked}
    expected = sum(
        times * (int(mask[name].sum()) if name in mask else weights[name].numel()) for name, times in BY_HAND.items()
    )
    assert cost.flops(model, (4, 8, 8), mask) == expected


def test_counting_leaves_the_network_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train()
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert cost.flops(model, (1, 3, 3)) == 18
    assert [module.training for module in model] == [True, True, False]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model[0]._forward_hooks


def test_tied_weights_are_pruned_wherever_they_are_used() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert cost.flops(model, (4,), {"0.weight": torch.eye(4, dtype=torch.bool)}) == 8


SMALL = Config(
    data=Data(train=33, validation=20, test=20),  # batches of 16 and 16: the one left over is left out
    model=Model(arguments={"width": 4, "depth": 2}),
    training=Training(epochs=4, batch=16, keep="last", milestones=()),
    pruning=Pruning(levels=2, rewind=1, fine_tune_epochs=3),
)


@pytest.mark.parametrize(
    ("pruning", "images"),
    [
        ({}, [128, 128 + 96, 128 + 192]),
        ({"rewind_unit": "steps", "rewind": 3}, [128, 128 + 80, 128 + 160]),
        ({"after": "fine-tune"}, [128, 224, 320]),
        ({"after": "reinitialise", "copies": 2}, [128, 384, 640]),
    ],
)
def test_training_images_are_those_that_tickets_report(
    tmp_path: Path, pruning: dict[str, Any], images: list[int]
) -> None:
    config = dataclasses.replace(SMALL, pruning=dataclasses.replace(SMALL.pruning, **pruning))
    assert cost.training_images(config, 33) == images
    tickets = imp.tickets(config, sources.load(config.data), RunFolder(tmp_path), 0)
    assert [ticket.origin["train_images"] for ticket in tickets] == images


@pytest.mark.parametrize(
    ("pooling", "coefficients", "images"),
    [
        (Pooling(recalibration="all"), None, (18 * 11 + 1) * 50_000),  # the paper's search for one target
        (Pooling(recalibration="all"), 1, 19 * 50_000),
        (Pooling(candidates=4), None, (4 * 11 + 1) * 7000),
        (Pooling(candidates=99, coefficients=(0.5,), recalibration=0), None, 19 * 5000),
        (Pooling(recalibration=10**6, candidates=1, coefficients=(0.5,)), None, 2 * 50_000),
    ],
)
def test_a_search_forwards_the_images_of_every_look(pooling: Pooling, coefficients: int | None, images: int) -> None:
    assert cost.search_images(Config(pooling=pooling), 45_000, 5000, coefficients) == images


def test_gpu_hours_by_hand() -> None:
    # 10^9 multiply-adds are 2 · 10^9 operations; 3 · 1200 + 0 = 3600 passes of them at 2 · 10^12 a second: 3.6 seconds.
    assert cost.gpu_hours(10**9, trained=1200, tflops=2.0) == pytest.approx(0.001)
    assert cost.gpu_hours(10**9, forwarded=3600, tflops=2.0) == pytest.approx(0.001)
    assert cost.gpu_hours(10**9, 600, 1800, tflops=1.0) == pytest.approx(0.002)

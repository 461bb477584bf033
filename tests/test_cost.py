"""Costs: multiply-adds against published figures and by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.flop_counter import FlopCounterMode

from lottery_pools.evaluation import cost
from lottery_pools.models import registry
from lottery_pools.runs.seeds import generator


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


@pytest.mark.parametrize("name", sorted(registry.MODELS))
def test_dense_counts_are_those_of_pytorch(name: str) -> None:
    shape = (1, 40) if name in ("conv1d", "mlp") else (3, 32, 32)
    with torch.device("meta"):
        model = registry.MODELS[name](10, shape).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, *shape))
    assert 2 * cost.flops(model, shape) == counter.get_total_flops()


def test_counting_does_not_load_pytorchs_compiler() -> None:  # which takes seconds
    code = "import sys; from lottery_pools.evaluation import cost; from lottery_pools.models import registry; "
    code += "cost.flops(registry.MODELS['conv1d'](10, (1, 40)), (1, 40)); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


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


class Attention(nn.Module):
    """Self-attention of 5 vectors of 8, then a transposed convolution of what comes out, as an image."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up = nn.ConvTranspose2d(1, 2, 3, stride=2)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.attention(x, x, x, need_weights=self.need_weights)[0]
        result: Tensor = self.up(mixed[:, None])
        return result


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_and_transposed_convolutions_count(need_weights: bool) -> None:
    model = Attention(need_weights)
    products = 2 * 5 * 5 * 8  # queries with keys, attention with values
    assert cost.flops(model, (5, 8)) == 5 * (3 * 64 + 64) + products + 5 * 8 * 18
    mask = {
        "attention.in_proj_weight": torch.arange(24)[:, None].expand(24, 8) < 6,
        "up.weight": torch.eye(3, dtype=torch.bool).expand(1, 2, 3, 3),
    }
    assert cost.flops(model, (5, 8), mask) == 5 * (48 + 64) + products + 5 * 8 * 6


def test_weights_computed_from_parameters_count_in_full() -> None:
    model = nn.Sequential(weight_norm(nn.Conv2d(1, 2, 3)), spectral_norm(nn.Conv2d(2, 2, 3)))
    assert cost.flops(model, (1, 6, 6)) == 16 * 18 + 4 * 36

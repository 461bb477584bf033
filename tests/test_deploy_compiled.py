"""Compiled networks compute what PyTorch computes: every kind of layer, many shapes, any batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lottery_pools.deploy import compiled as deploy

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every module's tests compile anew: nothing comes from an earlier run."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path_factory.mktemp("cache")))


def sparse(module: nn.Module, density: float, seed: int) -> nn.Module:
    """The module with random weights of that density and BatchNorm statistics that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            values = torch.rand(tensor.shape, generator=generator)
            kept = torch.rand(tensor.shape, generator=generator) < density
            positive = name.endswith("running_var") or "norm" in name
            tensor.copy_(values + 0.5 if positive else (values - 0.5) * (kept if tensor.ndim > 1 else 1))
    return module.eval()


def assert_same(module: nn.Module, shape: tuple[int, ...], batches: tuple[int, ...], target: str | None = None) -> None:
    """The compiled module gives PyTorch's results within 1e-4 of their size, for every batch size."""
    compiled = deploy.compile(module, target=target, engine="c", threads=1)
    for batch in batches:
        x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = module(x)
        scale = max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
        torch.testing.assert_close(compiled(x), expected, rtol=0, atol=1e-4 * scale)


class Layers(nn.Module):
    """Layers in a row; from time to time, where shapes allow, what came before is added."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            y = layer(x)
            x = x + y if x.shape == y.shape and isinstance(layer, nn.Conv1d | nn.Conv2d) else y
        return x


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """(a network of random layers, the shape of its samples)"""
    flat = draw(st.booleans())
    size = [draw(st.integers(5, 19)) for _ in range(1 if flat else 2)]
    channels = first = draw(st.integers(1, 3)) * 2
    convolution: Callable[..., nn.Module]
    convolution, norm = (nn.Conv1d, nn.BatchNorm1d) if flat else (nn.Conv2d, nn.BatchNorm2d)
    layers: list[nn.Module] = []
    x = torch.zeros(2, channels, *size)
    for _ in range(draw(st.integers(1, 3))):
        kernel = [draw(st.integers(1, min(3, side))) for side in x.shape[2:]]
        dilation = [draw(st.integers(1, 2)) if 2 * (k - 1) < side else 1
                    for k, side in zip(kernel, x.shape[2:], strict=True)]  # fmt: skip
        outputs = draw(st.sampled_from([2, 4, channels, 16]))
        groups = draw(st.sampled_from([1, 1, 2, channels if outputs == channels else 1]))
        padding = [draw(st.integers(0, k)) for k in kernel]
        stride = [draw(st.integers(1, 3)) for _ in kernel]
        layers.append(convolution(channels, outputs, tuple(kernel), tuple(stride), tuple(padding), tuple(dilation),
                                  groups, bias=draw(st.booleans())))  # fmt: skip
        layers += draw(st.sampled_from([[], [nn.ReLU()], [norm(outputs), nn.ReLU()], [nn.GELU()], [norm(outputs)]]))
        x = Layers(layers).eval()(torch.zeros(2, first, *size))
        channels = outputs
    if min(x.shape[2:]) >= 2 and draw(st.booleans()):
        pools = (nn.MaxPool1d, nn.AvgPool1d) if flat else (nn.MaxPool2d, nn.AvgPool2d)
        layers.append(draw(st.sampled_from(pools))(2, draw(st.integers(1, 2)), ceil_mode=draw(st.booleans())))
    if draw(st.booleans()):
        layers.append(nn.Flatten())
        features = Layers(layers).eval()(torch.zeros(2, first, *size)).shape[1]
        layers.append(nn.Linear(features, 5))
    return Layers(layers), (first, *size)


def check_random(network: tuple[nn.Module, tuple[int, ...]], density: float, batch: int, seed: int) -> None:
    module, shape = network
    assert_same(sparse(module, density, seed), shape, (batch, 1))


RANDOM = {
    "network": networks(),
    "density": st.sampled_from([0.0, 0.02, 0.2, 0.5, 1.0]) | st.floats(0, 1),
    "batch": st.integers(1, 200),
    "seed": st.integers(0, 99),
}


@settings(max_examples=8, derandomize=True)
@given(**RANDOM)
def test_random_networks_are_computed_as_by_pytorch(
    network: tuple[nn.Module, tuple[int, ...]], density: float, batch: int, seed: int
) -> None:
    check_random(network, density, batch, seed)


@pytest.mark.slow
@settings(max_examples=150)
@given(**RANDOM)
def test_many_random_networks_are_computed_as_by_pytorch(
    network: tuple[nn.Module, tuple[int, ...]], density: float, batch: int, seed: int
) -> None:
    check_random(network, density, batch, seed)

"""Residual networks: published sizes, shapes, and the formula of a block."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet20, resnet34, resnet50


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("factory", "classes", "side", "published"),
    [
        (resnet18, 1000, 224, 11_689_512),
        (resnet34, 1000, 224, 21_797_672),
        (resnet50, 1000, 224, 25_557_032),
        (resnet18, 10, 32, 11_173_962),
        (resnet20, 10, 32, 269_722 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)),  # and two 1×1 shortcuts with BatchNorm
    ],
)
def test_size_is_the_published_one(factory: Callable[..., ResNet], classes: int, side: int, published: int) -> None:
    with torch.device("meta"):
        assert parameters(factory(classes, (3, side, side))) == published


def test_resnet20_deepens_by_blocks() -> None:
    network = resnet20(10, (3, 32, 32), width=4, blocks=5)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) + 1 == 6 * 5 + 2


def test_stages_halve_the_image_and_double_the_width() -> None:
    x = torch.zeros(1, 1, 64, 64)
    seen = {}
    for name, layer in resnet50(7, (1, 64, 64), width=2).eval().named_children():
        x = layer(x)
        seen[name] = tuple(x.shape[1:])
    assert seen["conv1"] == (2, 32, 32)
    assert [seen[f"layer{stage}"] for stage in (1, 2, 3, 4)] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert seen["fc"] == (7,)


@pytest.mark.parametrize(
    ("side", "stem", "kernel"), [(63, None, 3), (64, None, 7), (64, "cifar", 3), (32, "imagenet", 7)]
)
def test_stem_follows_the_height_unless_given(side: int, stem: str | None, kernel: int) -> None:
    network = resnet34(10, (3, side, 32), width=1, stem=stem)
    assert isinstance(network.conv1, nn.Conv2d)
    assert network.conv1.kernel_size == (kernel, kernel)
    assert hasattr(network, "maxpool") == (kernel == 7)


def test_unknown_stem_is_refused() -> None:
    with pytest.raises(UserError, match="unknown stem 'imagnet': did you mean 'imagenet'"):
        resnet18(10, (3, 32, 32), stem="imagnet")


@pytest.mark.parametrize("block", [BasicBlock(8, 8, 1), Bottleneck(8, 2, 1)])
def test_block_whose_last_norm_is_zero_is_its_shortcut(block: nn.Module) -> None:
    last = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    nn.init.zeros_(last.weight)
    x = torch.linspace(-1, 1, 8 * 9).reshape(1, 8, 3, 3)
    torch.testing.assert_close(block(x), x.relu())


def test_block_is_the_formula_and_leaves_its_input() -> None:
    torch.manual_seed(0)
    block = BasicBlock(2, 4, 2).eval()
    x = torch.randn(3, 2, 6, 6)
    before = x.clone()

    def convolved(name: str, x: Tensor, stride: int) -> Tensor:
        weight = block.get_parameter(name)
        y = torch.nn.functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return y / math.sqrt(1 + 1e-5)  # BatchNorm as created: mean 0, variance 1, ε = 1e-5

    main = convolved("conv2.weight", convolved("conv1.weight", x, 2).relu(), 1)
    expected = (main + convolved("downsample.0.weight", x, 2)).relu()
    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, before)

"""VGG-11 and VGG-16: the published sizes, any size of image, and their width."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lottery_pools.models.vgg import vgg11, vgg16

CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def test_size_is_that_of_configuration_d() -> None:
    with torch.device("meta"):
        network = vgg16(100, (3, 32, 32))
    convolutions = sum(9 * inputs * outputs for inputs, outputs in zip([3, *CHANNELS], CHANNELS, strict=False))
    assert convolutions + sum(CHANNELS) == 14_714_688  # the published figure has biases, which BatchNorm replaces
    assert sum(p.numel() for p in network.parameters()) == convolutions + 2 * sum(CHANNELS) + 512 * 100 + 100


def test_size_is_that_of_configuration_a() -> None:
    with torch.device("meta"):
        network = vgg11(10, (3, 32, 32))
    outputs = [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert outputs == [64, 128, 256, 256, 512, 512, 512, 512]
    convolutions = sum(9 * inputs * outputs for inputs, outputs in zip([3, *outputs], outputs, strict=False))
    assert convolutions + sum(outputs) == 9_220_480  # the published figure has biases, which BatchNorm replaces
    assert sum(p.numel() for p in network.parameters()) == convolutions + 2 * sum(outputs) + 512 * 10 + 10


@pytest.mark.parametrize(("side", "last"), [(8, 1), (16, 1), (32, 1), (64, 2), (40, 2)])
def test_any_size_of_image_passes(side: int, last: int) -> None:
    network = vgg16(5, (1, side, side), width=1 / 64).eval()
    x = torch.zeros(2, 1, side, side)
    for name, layer in network.named_children():
        x = layer(x)
        if name == "pool5":
            assert x.shape == (2, 8, last, last)
    assert x.shape == (2, 5)


def test_width_multiplies_channels() -> None:
    network = vgg16(5, (3, 32, 32), width=0.125)
    outputs = [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert outputs == [channels // 8 for channels in CHANNELS]

"""Residual networks (He et al., CVPR 2016): ResNet-20 for CIFAR (section 4.2), ResNet-18/34/50 for ImageNet (table 1).

Parameters have the names that torchvision gives them, so that with the ImageNet stem its weights of ResNet-18/34/50
can be loaded. Where a block changes the shape, its shortcut is a 1×1 convolution (option B of the paper). ResNet-20 has
them too, although the paper pads with zeros there (option A).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lottery_pools.errors import unknown


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or if the block changes the shape, a 1×1 convolution with BatchNorm."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: (n, inputs, h, w) → (n, width, h / stride, w / stride).

    Args:
        inputs: Channels of the input.
        width: Channels of both convolutions.
        stride: Stride of the first convolution.
    """

    expansion = 1
    """Channels of the output / `width`."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both paths after ReLU."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and a shortcut: (n, inputs, h, w) → (n, 4 · width, h / stride, w / stride).

    The stride is that of the 3×3 convolution, as in torchvision; in the paper it is that of the first 1×1 convolution.

    Args:
        inputs: Channels of the input.
        width: Channels of the first two convolutions; the third has four times as many.
        stride: Stride of the 3×3 convolution.
    """

    expansion = 4
    """Channels of the output / `width`."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both paths after ReLU."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


@dataclass(frozen=True)
class Layout:
    """The blocks of a residual network."""

    block: type[BasicBlock | Bottleneck]
    """The kind of all blocks."""
    counts: tuple[int, ...]
    """How many blocks each stage has."""


class ResNet(nn.Sequential):
    """A residual network: a stem, stages of blocks, and a linear classifier: (n, channels, h, w) → (n, classes).

    Each stage after the first halves height and width in its first block, and has twice as many channels.

    Args:
        layout: The blocks.
        width: Channels of the stem, and `width` of the blocks of the first stage.
        channels: Channels of the images.
        classes: Number of classes.
        stem: "cifar", a 3×3 convolution, or "imagenet", a 7×7 convolution of stride 2 followed by max pooling.

    Raises:
        UserError: `stem` is neither of these.
    """

    def __init__(self, layout: Layout, width: int, channels: int, classes: int, stem: str) -> None:
        layers = _stem_layers(stem, channels, width)
        inputs = width
        for index, count in enumerate(layout.counts):
            stage_width, stride = width << index, 1 if index == 0 else 2
            layers[f"layer{index + 1}"] = _stage(layout.block, count, inputs, stage_width, stride)
            inputs = layout.block.expansion * stage_width
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(inputs, classes)
        super().__init__(layers)


def _stem_layers(stem: str, channels: int, width: int) -> OrderedDict[str, nn.Module]:
    """The layers before the first stage, by name."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stem == "cifar":
        layers["conv1"] = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
    elif stem == "imagenet":
        layers["conv1"] = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    else:
        raise unknown("stem", stem, ("cifar", "imagenet"))
    layers["bn1"] = nn.BatchNorm2d(width)
    layers["relu"] = nn.ReLU(inplace=True)
    if stem == "imagenet":
        layers["maxpool"] = nn.MaxPool2d(3, 2, 1)
    return layers


def _stage(block: type[BasicBlock | Bottleneck], count: int, inputs: int, width: int, stride: int) -> nn.Sequential:
    """A stage of `count` blocks, of which the first takes `inputs` channels and has the stride."""
    stage = nn.Sequential()
    for _ in range(count):
        stage.append(block(inputs, width, stride))
        inputs, stride = block.expansion * width, 1
    return stage


def resnet20(classes: int, input_shape: tuple[int, int, int], *, width: int = 16, blocks: int = 3) -> ResNet:
    """Return a CIFAR ResNet with 6 · `blocks` + 2 layers: three stages of `blocks` basic blocks.

    Args:
        classes: Number of classes.
        input_shape: (channels, height, width) of one image.
        width: Channels of the first stage.
        blocks: Blocks of each stage; 3 make ResNet-20.
    """
    return ResNet(Layout(BasicBlock, (blocks,) * 3), width, input_shape[0], classes, "cifar")


def resnet18(classes: int, input_shape: tuple[int, int, int], *, width: int = 64, stem: str | None = None) -> ResNet:
    """Return ResNet-18.

    Args:
        classes: Number of classes.
        input_shape: (channels, height, width) of one image.
        width: Channels of the first stage.
        stem: "cifar" or "imagenet" (see `ResNet`); none: "cifar" for images lower than 64 pixels.
    """
    return ResNet(Layout(BasicBlock, (2, 2, 2, 2)), width, input_shape[0], classes, stem or _default_stem(input_shape))


def resnet34(classes: int, input_shape: tuple[int, int, int], *, width: int = 64, stem: str | None = None) -> ResNet:
    """Return ResNet-34; the arguments are those of `resnet18`."""
    return ResNet(Layout(BasicBlock, (3, 4, 6, 3)), width, input_shape[0], classes, stem or _default_stem(input_shape))


def resnet50(classes: int, input_shape: tuple[int, int, int], *, width: int = 64, stem: str | None = None) -> ResNet:
    """Return ResNet-50; the arguments are those of `resnet18`."""
    return ResNet(Layout(Bottleneck, (3, 4, 6, 3)), width, input_shape[0], classes, stem or _default_stem(input_shape))


def _default_stem(input_shape: tuple[int, int, int]) -> str:
    """The stem for images of this shape."""
    return "cifar" if input_shape[1] < 64 else "imagenet"

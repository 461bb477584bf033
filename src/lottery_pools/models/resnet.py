"""Residual networks (He et al., CVPR 2016): the CIFAR family of section 4.2 and the ImageNet family of table 1.

Tensors are called as in torchvision, so its weights of ResNet-18/34/50 load with the ImageNet stem. Where the shape
changes, the shortcut is a 1×1 convolution (option B), also in ResNet-20, where the paper pads with zeros (option A).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lottery_pools.errors import unknown


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or a 1×1 projection where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut: (n, inputs, h, w) → (n, width, h / stride, w / stride)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut: (n, inputs, h, w) → (n, 4 · width, h / stride, w / stride).

    The 3×3 convolution has the stride, as in torchvision; in the paper it is the first 1×1.
    """

    expansion = 4

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
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Sequential):
    """A stem, stages of `blocks` blocks, each twice as wide as the last and half the size, and a classifier.

    (n, channels, h, w) → (n, classes). `stem` is "cifar", a 3×3 convolution, or "imagenet", a 7×7 one of stride 2 with
    max pooling. Raises UserError for another stem.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: Sequence[int],
        width: int,
        channels: int,
        classes: int,
        stem: str,
    ) -> None:
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
        inputs = width
        for stage, count in enumerate(blocks):
            stack = nn.Sequential()
            for index in range(count):
                stack.append(block(inputs, width << stage, 2 if stage > 0 and index == 0 else 1))
                inputs = block.expansion * (width << stage)
            layers[f"layer{stage + 1}"] = stack
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(inputs, classes)
        super().__init__(layers)


def resnet20(classes: int, input_shape: tuple[int, int, int], *, width: int = 16, blocks: int = 3) -> ResNet:
    """The CIFAR ResNet of 6 · `blocks` + 2 layers: three stages of `blocks` basic blocks, `width` channels at first."""
    return ResNet(BasicBlock, (blocks,) * 3, width, input_shape[0], classes, "cifar")


def resnet18(classes: int, input_shape: tuple[int, int, int], *, width: int = 64, stem: str | None = None) -> ResNet:
    """ResNet-18; the stem, unless given, is "cifar" for images lower than 64 pixels."""
    return ResNet(BasicBlock, (2, 2, 2, 2), width, input_shape[0], classes, stem or _stem(input_shape))


def resnet34(classes: int, input_shape: tuple[int, int, int], *, width: int = 64, stem: str | None = None) -> ResNet:
    """ResNet-34; the stem, unless given, is "cifar" for images lower than 64 pixels."""
    return ResNet(BasicBlock, (3, 4, 6, 3), width, input_shape[0], classes, stem or _stem(input_shape))


def resnet50(classes: int, input_shape: tuple[int, int, int], *, width: int = 64, stem: str | None = None) -> ResNet:
    """ResNet-50; the stem, unless given, is "cifar" for images lower than 64 pixels."""
    return ResNet(Bottleneck, (3, 4, 6, 3), width, input_shape[0], classes, stem or _stem(input_shape))


def _stem(input_shape: tuple[int, int, int]) -> str:
    return "cifar" if input_shape[1] < 64 else "imagenet"

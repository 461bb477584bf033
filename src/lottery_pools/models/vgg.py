"""VGG (Simonyan & Zisserman, ICLR 2015) with BatchNorm and one linear layer, as used on CIFAR."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

_STAGES_11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_STAGES_16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions of each stage: the paper's configurations A and D."""


def vgg11(classes: int, input_shape: tuple[int, int, int], *, width: float = 1.0) -> nn.Sequential:
    """Return VGG-11, configuration A: (n, channels, h, w) → (n, classes).

    It has eight 3×3 convolutions with BatchNorm and ReLU in five stages, each followed by max pooling, then average
    pooling and a linear classifier.

    Args:
        classes: Number of classes.
        input_shape: (channels, height, width) of one image.
        width: Factor that multiplies the channels of every convolution.
    """
    return _vgg(_STAGES_11, classes, input_shape[0], width)


def vgg16(classes: int, input_shape: tuple[int, int, int], *, width: float = 1.0) -> nn.Sequential:
    """Return VGG-16, configuration D: (n, channels, h, w) → (n, classes).

    As `vgg11`, with thirteen convolutions.

    Args:
        classes: Number of classes.
        input_shape: (channels, height, width) of one image.
        width: Factor that multiplies the channels of every convolution.
    """
    return _vgg(_STAGES_16, classes, input_shape[0], width)


def _vgg(stages: tuple[tuple[int, ...], ...], classes: int, inputs: int, width: float) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, widths in enumerate(stages, start=1):
        for index, channels in enumerate(widths, start=1):
            outputs = max(1, round(width * channels))
            layers[f"conv{stage}_{index}"] = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    bn=nn.BatchNorm2d(outputs),
                    relu=nn.ReLU(inplace=True),
                )
            )
            inputs = outputs
        # With ceil_mode, a side of one pixel stays one pixel: images smaller than 32 pixels pass all five stages.
        layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=True)
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)

"""Small networks that train in seconds on a laptop."""

from __future__ import annotations

from collections import OrderedDict
from math import prod

from torch import nn


def conv1d(classes: int, input_shape: tuple[int, int], *, width: int = 32, depth: int = 3) -> nn.Sequential:
    """Return a convolutional network for signals: (n, channels, length) → (n, classes).

    It has `depth` convolutions over 5 points with BatchNorm and ReLU, all but the first of stride 2, then the mean over
    all points and a linear classifier.

    Args:
        classes: Number of classes.
        input_shape: (channels, length) of one signal.
        width: Channels of every convolution.
        depth: Number of convolutions.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = input_shape[0]
    for index in range(depth):
        layers[f"layer{index + 1}"] = nn.Sequential(
            OrderedDict(
                conv=nn.Conv1d(inputs, width, 5, 1 if index == 0 else 2, 2, bias=False),
                bn=nn.BatchNorm1d(width),
                relu=nn.ReLU(inplace=True),
            )
        )
        inputs = width
    layers["avgpool"] = nn.AdaptiveAvgPool1d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def mlp(classes: int, input_shape: tuple[int, ...], *, width: int = 256, depth: int = 2) -> nn.Sequential:
    """Return a fully connected network: (n, *input_shape) → (n, classes).

    It has `depth` hidden layers with BatchNorm and ReLU, and a linear classifier.

    Args:
        classes: Number of classes.
        input_shape: Shape of one sample.
        width: Units of every hidden layer.
        depth: Number of hidden layers.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(input_shape)
    for index in range(depth):
        layers[f"layer{index + 1}"] = nn.Sequential(
            OrderedDict(
                linear=nn.Linear(inputs, width, bias=False), bn=nn.BatchNorm1d(width), relu=nn.ReLU(inplace=True)
            )
        )
        inputs = width
    layers["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)

"""Small networks that train in seconds on a laptop."""

from __future__ import annotations

from collections import OrderedDict
from math import prod

from torch import nn


def conv1d(classes: int, input_shape: tuple[int, int], *, width: int = 32, depth: int = 3) -> nn.Sequential:
    """`depth` convolutions of 5 points, of stride 2 after the first, mean and classifier: (n, c, l) → (n, classes)."""
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
    """`depth` hidden layers of `width` units with BatchNorm, and a classifier: (n, *input_shape) → (n, classes)."""
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

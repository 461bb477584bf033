"""VGG-16 with BatchNorm (Simonyan & Zisserman, ICLR 2015, configuration D) in its CIFAR form."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(classes: int, input_shape: tuple[int, int, int], *, width: float = 1.0) -> nn.Sequential:
    """Thirteen 3×3 convolutions in five stages, average pooling and one linear classifier: (n, c, h, w) → (n, classes).

    `width` multiplies the channels of every convolution.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = input_shape[0]
    for stage, channels in enumerate(_STAGES, start=1):
        for index, channel in enumerate(channels, start=1):
            outputs = max(1, round(width * channel))
            layers[f"conv{stage}_{index}"] = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    bn=nn.BatchNorm2d(outputs),
                    relu=nn.ReLU(inplace=True),
                )
            )
            inputs = outputs
        # Rounding up leaves a side of one pixel as it is, so that images smaller than 32 pixels pass all five.
        layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=True)
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)

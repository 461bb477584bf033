"""The common corruptions of Hendrycks & Dietterich (ICLR 2019), on batches of images; readers of the published sets.

These are the 15 corruptions of CIFAR-C and ImageNet-C and the 4 extra ones, at five severities. They follow the code
that made those sets (github.com/hendrycks/robustness): the same constants, the same order of operations, and values
truncated to 8 bits where that code truncates them. What that code drew from NumPy's generator is drawn anew, for each
image from a seed. Where the original uses a library or photographs, the docstring says how close our version is.

Every corruption is a function of the module of its family (`noise`, `blur`, `weather`, `digital`, `spatter`). All take
the same three arguments: images float32 (n, c, h, w) from 0 to 255, which they may overwrite; the constants of one
severity, a tuple whose numbers the docstring of the function names in order; and the random draws of the images. The
values that they return may lie outside 0 to 255, and are clamped and truncated by `corrupt`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lottery_pools.data.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from lottery_pools.data.corruptions.constants import CIFAR, IMAGENET, ROUNDING_ERROR, SEVERITIES, Constants, check
from lottery_pools.data.corruptions.digital import (
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
    saturate,
)
from lottery_pools.data.corruptions.draws import Draws, draws
from lottery_pools.data.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from lottery_pools.data.corruptions.published import find_images, read_image, read_npy
from lottery_pools.data.corruptions.spatter import spatter
from lottery_pools.data.corruptions.weather import brightness, fog, frost, snow
from lottery_pools.errors import UserError, unknown

__all__ = ["SEVERITIES", "corrupt", "find_images", "names", "read_image", "read_npy"]

_COMMON: dict[str, Callable[[Tensor, Constants, Draws], Tensor]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
_EXTRA: dict[str, Callable[[Tensor, Constants, Draws], Tensor]] = {
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}

BLOCK = 1 << 17
"""Values corrupted in one step on a CPU, so that intermediate results stay in its cache."""


def names(extra: bool = False) -> tuple[str, ...]:
    """Return the names of the 15 corruptions in the order of the paper; with `extra`, of the 4 extra ones too."""
    return (*_COMMON, *_EXTRA) if extra else tuple(_COMMON)


def corrupt(images: Tensor, name: str, severity: int, seed: int, *, first: int = 0, constants: str = "cifar") -> Tensor:
    """Return corrupted copies of images.

    What is drawn for image i depends only on (seed, name, severity, first + i). Every network therefore sees the same
    pixels, whatever the size of its batches.

    Args:
        images: (n, c, h, w) uint8 with one or three channels, of at least 8 × 8 pixels.
        name: One of `names(extra=True)`.
        severity: 1 to 5.
        seed: Seed of the random draws.
        first: Number of the first image, if `images` is a part of a set.
        constants: Strengths made for images of 32 × 32 pixels, "cifar", or of 224 × 224, "imagenet"; "auto" takes
            imagenet's from a height of 64 pixels on. They are used as they are for images of any size.

    Returns:
        (n, c, h, w) uint8, on the device of `images`.

    Raises:
        UserError: The name, the severity or the constants are unknown, or the images are of another type or shape.

    Examples:
        >>> images = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
        >>> foggy = corrupt(images, "fog", severity=3, seed=0)
        >>> foggy.shape, foggy.dtype
        (torch.Size([2, 3, 32, 32]), torch.uint8)
        >>> second = corrupt(images[1:], "fog", severity=3, seed=0, first=1)
        >>> torch.equal(second[0], foggy[1])
        True
    """
    check(name, severity)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 8:
        raise UserError(
            f"corruption {name}: images are {images.dtype} of shape {tuple(images.shape)}: "
            "give torch.uint8 (n, 1 or 3, h, w) of at least 8 × 8 pixels"
        )
    if constants == "auto":
        constants = "imagenet" if images.shape[2] >= 64 else "cifar"
    tables = {"cifar": CIFAR, "imagenet": IMAGENET}
    if constants not in tables:
        raise unknown("set of constants", constants, (*tables, "auto"))
    function = {**_COMMON, **_EXTRA}[name]
    strength = tables[constants][name][severity - 1]
    on_cpu = images.device.type == "cpu"
    block = max(1, BLOCK // math.prod(images.shape[1:])) if on_cpu else max(1, len(images))
    result = torch.empty_like(images)
    for start in range(0, len(images), block):
        batch = images[start : start + block]
        drawn = draws(len(batch), first + start, images.device, seed, "corruption", name, severity)
        corrupted = function(batch.float(), strength, drawn)
        result[start : start + block] = corrupted.add_(ROUNDING_ERROR).clamp_(0, 255)
    return result

"""The common corruptions of Hendrycks & Dietterich (ICLR 2019) on batches of tensors; readers of the published sets.

The 15 of CIFAR-C and ImageNet-C and the 4 extra ones, five severities each, follow the code that made those sets
(github.com/hendrycks/robustness): same constants, same order of operations, values truncated to 8 bits as there.
What they drew from NumPy's generator is drawn anew, from a seed, each image for itself. A function whose original
leans on a library or on photographs says how it relates to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lottery_pools.data.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from lottery_pools.data.corruptions.constants import CIFAR, IMAGENET, SEVERITIES, Constants, check
from lottery_pools.data.corruptions.digital import (
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
    saturate,
)
from lottery_pools.data.corruptions.draws import Draws, draws
from lottery_pools.data.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from lottery_pools.data.corruptions.published import read_image_folder, read_npy
from lottery_pools.data.corruptions.spatter import spatter
from lottery_pools.data.corruptions.weather import brightness, fog, frost, snow
from lottery_pools.errors import UserError, unknown

__all__ = ["SEVERITIES", "corrupt", "names", "read_image_folder", "read_npy"]

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
"""Values corrupted at once on a CPU, so that what is between two steps stays in its cache."""


def names(extra: bool = False) -> tuple[str, ...]:
    """The 15 corruptions in the order of the paper, then, on demand, the 4 extra ones."""
    return (*_COMMON, *_EXTRA) if extra else tuple(_COMMON)


def corrupt(images: Tensor, name: str, severity: int, seed: int, first: int = 0, constants: str = "cifar") -> Tensor:
    """Corrupted copies of `images`, (n, c, h, w) uint8 with one or three channels → the same, on the same device.

    Image i draws from (seed, name, severity, first + i) alone: every network sees the same pixels, in batches of any
    size. `constants` are those of `cifar` (32 × 32) or `imagenet` (224 × 224); `auto` takes imagenet's from 64 pixels
    on. They hold as they are at any other size: nothing is scaled. Raises UserError for an unknown name, another
    severity, or images of another kind.
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
    block = max(len(images), 1) if images.device.type != "cpu" else max(1, BLOCK // math.prod(images.shape[1:]))
    result = torch.empty_like(images)
    for start in range(0, len(images), block):
        part = images[start : start + block]
        drawn = draws(len(part), first + start, images.device, seed, "corruption", name, severity)
        corrupted = function(part.float(), strength, drawn)
        # The published code truncates; what float32 leaves a hair below a whole value is that value.
        result[start : start + block] = corrupted.add_(2**-14).clamp_(0, 255)
    return result

"""Random crops and flips of whole batches, each image its own, on whatever device holds them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 64  # images resized at once, which bounds what lies between the two products


def crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each image cut at random, to its own size, out of itself with `padding` zeros on every side.

    Images are (n, c, h, w), or signals (n, c, length); type and memory format stay. Every offset in 0..2·padding, down
    and across, is as likely; `generator` lives on the CPU.
    """
    planes = images if images.ndim == 4 else images[:, :, None]
    n, c, h, w = planes.shape
    vertical = padding if images.ndim == 4 else 0
    across = torch.randint(2 * padding + 1, (n, 1, 1), generator=generator).to(images.device)
    down = torch.randint(2 * vertical + 1, (n, 1, 1), generator=generator).to(images.device)
    planes = functional.pad(planes, (padding, padding, vertical, vertical))
    interleaved = images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last)
    # Rows of what lies side by side in memory are copied whole: per channel, or with the channels interleaved.
    step, layers = (c, 1) if interleaved else (1, c)
    flat = (planes.permute(0, 2, 3, 1) if interleaved else planes).contiguous().view(-1)
    height, width, row = h + 2 * vertical, (w + 2 * padding) * step, w * step
    windows = flat.as_strided((flat.numel() - row + 1, row), (1, 1))  # a row from every place there is; costs no memory
    layer = torch.arange(n * layers, device=images.device).view(n, layers, 1)
    start = (layer * height + down + torch.arange(h, device=images.device)) * width + across * step
    rows = windows.index_select(0, start.view(-1))
    return (rows.view(n, h, w, c).permute(0, 3, 1, 2) if interleaved else rows).view(images.shape)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image, (n, c, h, w) or (n, c, length), mirrored left to right with probability one half.

    Type and memory format stay; `generator` lives on the CPU.
    """
    chosen = (torch.rand(len(images), generator=generator) < 0.5).nonzero()[:, 0].to(images.device)
    flipped = images.clone()
    flipped[chosen] = images[chosen].flip(-1)
    return flipped


def resized_crop(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random part of each image (n, c, h, w), brought to (n, c, size, size): bilinear, antialiased; the type stays.

    The parts are those of `boxes`; `generator` lives on the CPU. Each image is multiplied from both sides by the
    matrices of its own interpolation, so a batch takes two products and no loop; values are those of interpolating the
    part by itself, as torchvision does, to float32 rounding.
    """
    drawn = boxes(len(images), images.shape[2], images.shape[3], generator).to(images.device)
    parts = []
    with torch.autocast(images.device.type, enabled=False):
        for some, box in zip(torch.split(images, _BLOCK), torch.split(drawn, _BLOCK), strict=True):
            top, left, height, width = box.unbind(1)
            rows = _interpolation(top, height, images.shape[2], size)[:, None]
            columns = _interpolation(left, width, images.shape[3], size)[:, None]
            part = rows @ (some.float() @ columns.mT)
            parts.append(part.round_().to(images.dtype) if not images.is_floating_point() else part.to(images.dtype))
    return torch.cat(parts)


def boxes(n: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Random parts of images of h × w pixels: top, left, height, width, (n, 4) int64.

    Their area is uniform in 0.08–1 of the image's, their aspect ratio log-uniform in 3/4–4/3, their place uniform
    (Szegedy et al., CVPR 2015); of ten draws the first that fits is taken, if none does the whole image.
    """
    area, shape, down, across = torch.rand(4, n, 10, generator=generator, dtype=torch.float64)
    area = (0.08 + 0.92 * area) * (h * w)
    ratio = torch.exp((2 * shape - 1) * math.log(4 / 3))
    height, width = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
    fits = (height <= h) & (width <= w) & (height > 0) & (width > 0)
    top = (down * (h - height + 1)).long()
    left = (across * (w - width + 1)).long()
    first = fits.to(torch.uint8).argmax(1)[:, None, None]  # of equals the first
    drawn = torch.stack([top, left, height, width], 2).take_along_dim(first, 1)[:, 0]
    return torch.where(fits.any(1)[:, None], drawn, torch.tensor([0, 0, h, w]))


def middle(images: Tensor, size: int) -> Tensor:
    """The central square of `size` pixels of images (n, c, h, w)."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


def _interpolation(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Matrices (n, size, side) that bring the `length` (n,) points from `start` (n,) of a line of `side` to `size`.

    Linear where there are fewer points than wanted; else a triangle as wide as the points are close, cut at the ends.
    """
    place = torch.arange(side, device=start.device) + 0.5
    step = (length / size)[:, None]
    centre = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step
    weights = 1 - (place - centre[:, :, None]).abs_() / step.clamp(min=1)[:, :, None]
    inside = (place > start[:, None]) & (place < (start + length)[:, None])
    weights = weights.clamp_(min=0).mul_(inside[:, None])
    return weights.div_(weights.sum(2, keepdim=True))

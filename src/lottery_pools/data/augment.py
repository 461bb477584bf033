"""Random crops and flips of whole batches, each image its own, on whatever device holds them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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

"""Random crops and flips of whole batches of images: each image has its own draw, on whatever device the batch is.

What is random is drawn beforehand, on the CPU, and given as `Draws`. The functions that change images draw nothing and
read nothing back, so that a GPU need not be waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

_RESIZED_AT_ONCE = 64
"""Images that `resized_crop` resizes in one step, which bounds the memory that the step needs."""


@dataclass(frozen=True)
class Draws:
    """The random numbers by which n images are augmented. What an augmentation does not need is None.

    Example:
        ```python
        draws = Draws(mirrored=torch.tensor([True, False]))  # of two images, the first is mirrored
        ```
    """

    boxes: Tensor | None = None
    """The part of each image that `resized_crop` takes: (n, 4) int64, as `random_boxes` returns it."""
    offsets: Tensor | None = None
    """Where the window of each image that `crop` takes begins: (n, 2) int64, across and down, in pixels or points."""
    mirrored: Tensor | None = None
    """Which images `flip` mirrors: (n,) bool."""

    def tensors(self) -> list[Tensor]:
        """The tensors that are not None, in the order of the fields."""
        return [tensor for field in fields(self) if (tensor := getattr(self, field.name)) is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> Draws:
        """These draws with a function applied to each tensor, for example one that takes some images' draws."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return Draws(**{name: None if tensor is None else function(tensor) for name, tensor in tensors.items()})

    @staticmethod
    def cat(draws: Sequence[Draws]) -> Draws:
        """The draws of several batches, which need the same kinds, as those of one."""
        joined: dict[str, Tensor | None] = {}
        for name in (field.name for field in fields(Draws)):
            tensors = [tensor for draw in draws if (tensor := getattr(draw, name)) is not None]
            joined[name] = torch.cat(tensors) if tensors else None
        return Draws(**joined)


def random_offsets(n: int, padding: int, generator: torch.Generator, *, signals: bool = False) -> Tensor:
    """Draw where the windows of `crop` begin, every offset in 0 … 2 · padding as likely; 0 down for signals.

    Returns:
        (n, 2) int64: pixels or points across and down, for each image.
    """
    across = torch.randint(2 * padding + 1, (n,), generator=generator)
    down = torch.randint(1 if signals else 2 * padding + 1, (n,), generator=generator)
    return torch.stack([across, down], 1)


def random_mirrored(n: int, generator: torch.Generator) -> Tensor:
    """Draw which images `flip` mirrors, each with probability one half: (n,) bool."""
    return torch.rand(n, generator=generator) < 0.5


def crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    """Pad each image with zeros on every side, and cut a window of its own size from it.

    Args:
        images: Images (n, c, h, w), or signals (n, c, length), which are padded at both ends only.
        padding: Zeros on each side, in pixels or points.
        offsets: The place of each window, as `random_offsets` returns it, on the device of the images.

    Returns:
        The windows, of the shape, type, memory format and device of `images`.
    """
    is_image = images.ndim == 4
    planes = images if is_image else images[:, :, None]
    n, c, h, w = planes.shape
    vertical = padding if is_image else 0
    across, down = offsets[:, 0, None, None], offsets[:, 1, None, None]
    planes = functional.pad(planes, (padding, padding, vertical, vertical))
    # The windows are copied row by row, as rows lie in memory: those of one channel, or of all channels interleaved.
    interleaved = is_image and images.is_contiguous(memory_format=torch.channels_last)
    values, layers = (c, 1) if interleaved else (1, c)
    flat = (planes.permute(0, 2, 3, 1) if interleaved else planes).contiguous().view(-1)
    padded_height, padded_row, row = h + 2 * vertical, (w + 2 * padding) * values, w * values
    # Element i of `row_from` is the row of a window that starts at value i; the view takes no memory.
    row_from = flat.as_strided((flat.numel() - row + 1, row), (1, 1))
    layer = torch.arange(n * layers, device=images.device).view(n, layers, 1)
    start = (layer * padded_height + down + torch.arange(h, device=images.device)) * padded_row + across * values
    rows = row_from.index_select(0, start.view(-1))
    return (rows.view(n, h, w, c).permute(0, 3, 1, 2) if interleaved else rows).view(images.shape)


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror some images left to right.

    Args:
        images: Images (n, c, h, w), or signals (n, c, length).
        mirrored: Which images are mirrored: (n,) bool, on the device of the images.

    Returns:
        A new tensor of the shape, type, memory format and device of `images`.
    """
    return torch.where(mirrored.view(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


def resized_crop(images: Tensor, size: int, boxes: Tensor) -> Tensor:
    """Cut a box from each image and resize it, by bilinear interpolation with antialiasing.

    The values are those of interpolating each box by itself, as torchvision does, to the rounding of float32. Here each
    image is multiplied by the matrices of its own interpolation, one for rows and one for columns, so that a batch
    takes two products instead of a loop.

    Args:
        images: Images (n, c, h, w).
        size: Height and width of the results, in pixels.
        boxes: The part of each image, as `random_boxes` returns it, on the device of the images.

    Returns:
        Images (n, c, size, size) of the type and device of `images`.
    """
    resized = []
    with torch.autocast(images.device.type, enabled=False):
        for batch, box in zip(torch.split(images, _RESIZED_AT_ONCE), torch.split(boxes, _RESIZED_AT_ONCE), strict=True):
            top, left, height, width = box.unbind(1)
            rows = _interpolation(top, height, images.shape[2], size)[:, None]
            columns = _interpolation(left, width, images.shape[3], size)[:, None]
            result = rows @ (batch.float() @ columns.mT)
            resized.append((result if images.is_floating_point() else result.round_()).to(images.dtype))
    return torch.cat(resized)


def random_boxes(n: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """Draw boxes inside images of h × w pixels (Szegedy et al., CVPR 2015).

    The area is uniform in 0.08 to 1 of the image's, the aspect ratio log-uniform in 3/4 to 4/3, the place uniform. Ten
    boxes are drawn for each image and the first that fits into it is taken; if none fits, the whole image.

    Returns:
        (n, 4) int64: top, left, height and width of each box, in pixels.
    """
    area, shape, down, across = torch.rand(4, n, 10, generator=generator, dtype=torch.float64)
    area = (0.08 + 0.92 * area) * (h * w)
    ratio = torch.exp((2 * shape - 1) * math.log(4 / 3))
    height, width = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
    fits = (height <= h) & (width <= w) & (height > 0) & (width > 0)
    top = (down * (h - height + 1)).long()
    left = (across * (w - width + 1)).long()
    first = fits.to(torch.uint8).argmax(1)[:, None, None]  # argmax returns the first of equals
    boxes = torch.stack([top, left, height, width], 2).take_along_dim(first, 1)[:, 0]
    return torch.where(fits.any(1)[:, None], boxes, torch.tensor([0, 0, h, w]))


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Return the central square of `size` × `size` pixels of images (n, c, h, w), as a view."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


def _interpolation(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """The matrices (n, size, side) that resize a part of a line of `side` points to `size` points.

    Args:
        start: First point of the part, (n,).
        length: Points of the part, (n,).
        side: Points of the line.
        size: Points of the result.

    Enlarging is linear interpolation. Reducing weighs the points by a triangle as wide as the step between two points
    of the result, on each side. Points outside the part get no weight.
    """
    place = torch.arange(side, device=start.device) + 0.5
    step = (length / size)[:, None]
    centre = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step
    weights = 1 - (place - centre[:, :, None]).abs_() / step.clamp(min=1)[:, :, None]
    inside = (place > start[:, None]) & (place < (start + length)[:, None])
    weights = weights.clamp_(min=0).mul_(inside[:, None])
    return weights.div_(weights.sum(2, keepdim=True))

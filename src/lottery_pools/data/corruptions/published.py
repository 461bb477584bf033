"""Readers of the published corrupted sets: the .npy files of CIFAR-10-C and CIFAR-100-C, the folders of ImageNet-C."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.data.corruptions.constants import check
from lottery_pools.errors import UserError

_IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


def read_npy(folder: Path, name: str, severity: int, n: int = 10_000, size: int = 32) -> tuple[Tensor, Tensor]:
    """Read one corruption at one severity from `NAME.npy` and `labels.npy`, as CIFAR-10-C and CIFAR-100-C have them.

    The files hold the images, (5 n, size, size, 3) uint8, and the labels of the five severities, one after the other.
    Only the severity that is asked for is read.

    Args:
        folder: The folder of the files.
        name: The corruption.
        severity: 1 to 5.
        n: Images of each severity.
        size: Height and width of the images, in pixels.

    Returns:
        Images (n, 3, size, size) uint8, and their labels (n,) int64.

    Raises:
        UserError: A file is missing or damaged, or does not hold as many images, or of this type or shape.
    """
    check(name, severity)
    images = _load(folder / f"{name}.npy", folder)
    _check_content(folder / f"{name}.npy", images, (5 * n, size, size, 3), np.uint8)
    labels = _load(folder / "labels.npy", folder)
    _check_content(folder / "labels.npy", labels, (5 * n,), np.integer)
    rows = slice((severity - 1) * n, severity * n)
    pixels = torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.from_numpy(labels[rows].astype(np.int64))


def read_image_folder(
    folder: Path, name: str, severity: int, size: int = 224, classes: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Read one corruption at one severity from `folder`/NAME/SEVERITY/CLASS/*.JPEG, as ImageNet-C has them.

    The images come in the alphabetical order of their classes and files. Of an image that has another size, the central
    square is resized.

    Args:
        folder: The folder that holds the corruptions.
        name: The corruption.
        severity: 1 to 5.
        size: Height and width of the results, in pixels.
        classes: The names of the classes; a label is an index into them. None: the names of the folders.

    Returns:
        Images (n, 3, size, size) uint8, and their labels (n,) int64.

    Raises:
        UserError: The folder is missing or has no images, a class is not among `classes`, or a file is not an image.
    """
    check(name, severity)
    root = folder / name / str(severity)
    if not root.is_dir():
        raise UserError(f"{root} does not exist: give the folder that holds NAME/SEVERITY/CLASS/*.JPEG")
    present = sorted(path.name for path in root.iterdir() if path.is_dir())
    classes = present if classes is None else list(classes)
    if unexpected := [label for label in present if label not in classes]:
        raise UserError(
            f"{root / unexpected[0]} is not one of the {len(classes)} classes: give the classes of this set"
        )
    files = [
        file for label in present for file in sorted((root / label).iterdir()) if file.suffix.lower() in _IMAGE_SUFFIXES
    ]
    if not files:
        raise UserError(f"{root} has no images CLASS/*.JPEG: check the folder")
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for image, file in zip(images, files, strict=True):
        image.copy_(_read_image(file, size))
    indices = {label: index for index, label in enumerate(classes)}
    return images, torch.tensor([indices[file.parent.name] for file in files])


def _read_image(file: Path, size: int) -> Tensor:
    """One image file's pixels, (3, size, size) uint8."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UserError("reading image files needs Pillow: pip install 'lottery-pools[data]'") from error
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{file} is not an image that can be read: replace it") from error
    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _load(path: Path, folder: Path) -> NDArray[np.generic]:
    """The array in a file, memory-mapped."""
    if not path.exists():
        present = ", ".join(sorted(file.stem for file in folder.glob("*.npy"))) or "none"
        raise UserError(f"{path} does not exist: give the folder of CIFAR-C's .npy files (found there: {present})")
    try:
        loaded: NDArray[np.generic] = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is not a complete .npy file ({error}): download it again") from error
    return loaded


def _check_content(
    path: Path, array: NDArray[np.generic], shape: tuple[int, ...], kind: type[np.uint8 | np.integer]
) -> None:
    """Raise UserError unless the array of a file has this shape and kind of numbers."""
    if array.shape != shape or not np.issubdtype(array.dtype, kind):
        expected = "uint8" if kind is np.uint8 else "integers"
        raise UserError(
            f"{path} holds {array.dtype} of shape {array.shape}: expected {expected} of shape {shape}, "
            "the five severities one after the other"
        )

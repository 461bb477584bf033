"""The published sets: the `.npy` files of CIFAR-10-C and CIFAR-100-C, the image folders of ImageNet-C."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.data.corruptions.constants import check
from lottery_pools.errors import UserError


def read_npy(folder: Path, name: str, severity: int, n: int = 10_000, size: int = 32) -> tuple[Tensor, Tensor]:
    """Images (n, 3, size, size) uint8 and labels (n,) int64 of one severity, from `NAME.npy` and `labels.npy`.

    The files hold 5 n images (5 n, size, size, 3) uint8 and labels, one severity after the other; only the one asked
    for is read. Raises UserError naming the file that is missing, or of another length, type or shape.
    """
    check(name, severity)
    images = _load(folder / f"{name}.npy", folder)
    _expect(folder / f"{name}.npy", images, (5 * n, size, size, 3), "uint8", images.dtype == np.uint8)
    labels = _load(folder / "labels.npy", folder)
    _expect(folder / "labels.npy", labels, (5 * n,), "integers", np.issubdtype(labels.dtype, np.integer))
    part = slice((severity - 1) * n, severity * n)
    pixels = torch.from_numpy(np.array(images[part])).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.from_numpy(labels[part].astype(np.int64))


def _load(path: Path, folder: Path) -> NDArray[np.generic]:
    if not path.exists():
        present = ", ".join(sorted(file.stem for file in folder.glob("*.npy"))) or "none"
        raise UserError(f"{path} does not exist: give the folder of CIFAR-C's .npy files (found there: {present})")
    try:
        loaded: NDArray[np.generic] = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is not a complete .npy file ({error}): fetch it again") from error
    return loaded


def _expect(path: Path, array: NDArray[np.generic], shape: tuple[int, ...], kind: str, right_kind: bool) -> None:
    if array.shape != shape or not right_kind:
        raise UserError(
            f"{path} holds {array.dtype} of shape {array.shape}: expected {kind} of shape {shape}, "
            "the five severities one after the other"
        )


def read_image_folder(
    folder: Path,
    name: str,
    severity: int,
    size: int = 224,
    first: int = 0,
    count: int | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[Tensor, Tensor]:
    """Images (n, 3, size, size) uint8 and labels (n,) int64 of `folder`/NAME/SEVERITY/CLASS/*.JPEG, as of ImageNet-C.

    Classes and files are in alphabetical order; a label is the place of its class among `classes`, by default those
    found. `first` and `count` read a part. An image of another size has its middle square scaled. Raises UserError
    for a missing folder, a class that is not among `classes`, no images, or a file that is no image.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UserError("reading image files needs Pillow: pip install 'lottery-pools[data]'") from error
    check(name, severity)
    root = folder / name / str(severity)
    if not root.is_dir():
        raise UserError(f"{root} does not exist: give the folder that holds NAME/SEVERITY/CLASS/*.JPEG")
    found = sorted(path.name for path in root.iterdir() if path.is_dir())
    known = list(classes) if classes is not None else found
    strange = [label for label in found if label not in known]
    if strange:
        raise UserError(f"{root / strange[0]} is not one of the {len(known)} classes: give the classes of this set")
    suffixes = {".jpeg", ".jpg", ".png"}
    files = [file for label in found for file in sorted((root / label).iterdir()) if file.suffix.lower() in suffixes]
    files = files[first : None if count is None else first + count]
    if not files:
        raise UserError(f"{root} has no images CLASS/*.JPEG from number {first} on: check the folder")
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for i, file in enumerate(files):
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise UserError(f"{file} is not an image that can be read: replace it") from error
        if image.size != (size, size):
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        images[i] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    places = {label: place for place, label in enumerate(known)}
    return images, torch.tensor([places[file.parent.name] for file in files])

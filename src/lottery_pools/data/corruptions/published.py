"""Readers of the published corrupted sets: the .npy files of CIFAR-10-C and CIFAR-100-C, the folders of ImageNet-C."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.data import image_files, npy, pixels
from lottery_pools.data.corruptions.constants import check
from lottery_pools.data.image_files import LeftOut
from lottery_pools.errors import UserError

_WORDNET_ID = re.compile(r"n[0-9]{8}")
WELL_KNOWN = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n02102040": "springer",
    "n02129165": "lion",
    "n02391049": "zebra",
    "n02979186": "cassette player",
    "n03000684": "chain",
    "n03028079": "church",
    "n03394916": "horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
    "n07749582": "lemon",
    "n07753592": "banana",
    "n15075141": "toilet",
}
"""Classes of ImageNet by WordNet id, with a word of each name: what tells that classes in words are in its order."""


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


def find_images(
    folder: Path, name: str, severity: int, classes: Sequence[str] | None = None
) -> tuple[list[Path], Tensor]:
    """Find one corruption at one severity in `folder`/NAME/SEVERITY/CLASS/*.JPEG, as ImageNet-C has them.

    The files come in the alphabetical order of their classes and names. `read_image` reads one.

    Args:
        folder: The folder that holds the corruptions.
        name: The corruption.
        severity: 1 to 5.
        classes: The names of the classes; a label is an index into them. None: the names of the folders.

    Returns:
        The files, and their labels (n,) int64.

    Raises:
        UserError: The folder is missing or has no images, or a class is not among `classes`.
    """
    check(name, severity)
    root = folder / name / str(severity)
    if not root.is_dir():
        raise UserError(f"{root} does not exist: give the folder that holds NAME/SEVERITY/CLASS/*.JPEG")
    folders = image_files.folders(root, LeftOut())
    files = {folder.name: image_files.images(folder, LeftOut()) for folder in folders}
    files = {label: paths for label, paths in files.items() if paths}
    if not files:
        raise UserError(f"{root} has no images CLASS/*.JPEG: check the folder")
    indices = _indices(list(files), root, classes)
    labels = [indices[label] for label, paths in files.items() for _ in paths]
    return list(itertools.chain(*files.values())), torch.tensor(labels)


def _indices(present: list[str], root: Path, classes: Sequence[str] | None) -> dict[str, int]:
    """The label of each class folder in `root`: the place of its name among the classes.

    The folders of ImageNet-C are called by WordNet ids, and other copies of ImageNet name the same classes in words. In
    alphabetical order the ids are the labels 0, 1, … of these words. This is relied on only if the words of well-known
    classes are where they should be.
    """
    if classes is None:
        return {label: index for index, label in enumerate(present)}
    indices = {label: index for index, label in enumerate(classes)}
    unexpected = [label for label in present if label not in indices]
    if not unexpected:
        return indices
    if all(_WORDNET_ID.fullmatch(label) for label in present) and len(unexpected) == len(present):
        known = {index: WELL_KNOWN[label] for index, label in enumerate(present) if label in WELL_KNOWN}
        in_words = len(present) == len(classes) and all(word in classes[index].lower() for index, word in known.items())
        if in_words and len(known) > 1:
            return {label: index for index, label in enumerate(present)}
        raise UserError(
            f"{root} has {len(present)} classes by WordNet id, such as {present[0]}, and the data {len(classes)} by "
            f"other names, such as {classes[0]!r}: give the data as an image folder with a folder for each WordNet id"
        )
    raise UserError(f"{root / unexpected[0]} is not one of the {len(classes)} classes: give the classes of this set")


def read_image(file: Path, size: int = 224) -> Tensor:
    """Return the pixels of one image file, (3, size, size) uint8; of another size, the central square is resized.

    Raises:
        UserError: The file is not an image.
    """
    pixels.check_installed()
    from PIL import Image

    try:
        image = pixels.opened(str(file))[0].convert("RGB")
    except pixels.UnreadableImageError as error:
        raise UserError(f"{file} is not an image that can be read ({error}): replace it") from error
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
        return npy.open_array(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a complete .npy file ({error}): download it again") from error


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

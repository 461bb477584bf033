"""Decoding image sets: from tables of encoded images to arrays of pixels and labels on disk, and reading these."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.config import schema
from lottery_pools.data.dataset import Source, Split
from lottery_pools.data.image_tables import TEST_SPLITS, train_and_test
from lottery_pools.errors import UserError, unknown

Pixels = NDArray[np.uint8]
_IMAGES_AT_ONCE = 1000


@dataclass(frozen=True)
class _EncodedSplit:
    """The encoded images of one split, and their classes."""

    name: str
    """`train` or `test`."""
    table: Any
    labels: Tensor
    """(n,) int64, -1 where the table has none."""


def decode(tables: Mapping[str, Any], data: schema.Data, folder: Path) -> None:
    """Write the pixels, labels and class names of an image set into a folder, from which `read` reads them.

    Args:
        tables: The table of each split (`image_tables`).
        data: The settings `[data]`: columns, and the side to which images are resized.
        folder: An empty folder.

    Raises:
        UserError: It is not clear which columns to use, an image cannot be read, or labels or sizes do not agree.
    """
    tables = {name: tables[name] for name in ("train", *TEST_SPLITS) if name in tables}
    features = train_and_test(tables, data.name)[0].features
    image_column, label_column = _columns(features, data)
    for name, table in tables.items():
        if absent := {image_column, label_column} - table.features.keys():
            raise UserError(
                f"{data.name} has no column {min(absent)} in its {name} split: give it the columns of train"
            )
    labels = {name: _labels(table, label_column) for name, table in tables.items()}
    # Sets for competitions hide the labels of their test split as -1 or null: another split is used instead.
    labelled = {name: (table, labels[name]) for name, table in tables.items() if (labels[name] >= 0).any()}
    train, test = train_and_test(labelled, data.name)
    splits = _EncodedSplit("train", *train), _EncodedSplit("test", *test)
    classes = _classes(splits, label_column, data.name)
    _store_images(splits, image_column, data, folder)
    for split in splits:
        np.save(folder / f"{split.name}.labels.npy", split.labels.numpy())
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def read(folder: Path) -> Source:
    """Read what `decode` wrote into a folder, the images memory-mapped and read-only."""

    def array(name: str) -> Tensor:
        with warnings.catch_warnings():
            # Nothing writes to the array. A private mapping, which could be written to, is refused by Linux if it is
            # larger than the memory.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="r"))

    train, test = (Split(array(f"{split}.images"), array(f"{split}.labels").clone()) for split in ("train", "test"))
    return Source(train, test, tuple(json.loads((folder / "classes.json").read_text(encoding="utf-8"))))


def _columns(features: Mapping[str, Any], data: schema.Data) -> tuple[str, str]:
    """The names of the image and the label column: as the settings say, otherwise the only ones of their type."""
    from datasets import ClassLabel, Image

    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    class_labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    integers = [name for name, feature in features.items() if "int" in str(getattr(feature, "dtype", ""))]
    label_column = _column("label", data.label_column, class_labels or integers, list(features), data.name)
    if label_column not in class_labels + integers:
        raise UserError(
            f"data.label_column is {label_column!r}, which holds no integers: choose another column of {data.name}"
        )
    return _column("image", data.image_column, images, list(features), data.name), label_column


def _column(kind: str, chosen: str | None, candidates: list[str], columns: list[str], data_name: str) -> str:
    """The name of the column that holds the images or the labels.

    Args:
        kind: "image" or "label".
        chosen: The name in the settings, if any.
        candidates: The columns of a fitting type.
        columns: All columns.
        data_name: Name of the data set, for messages.
    """
    if chosen is not None and chosen not in columns:
        raise unknown(f"column in {data_name}", chosen, columns)
    if chosen is None and len(candidates) != 1:
        raise UserError(
            f"{data_name} has {len(candidates) or 'no'} {kind} columns ({', '.join(candidates or columns)}): "
            f"name the one to use in data.{kind}_column"
        )
    return chosen or candidates[0]


def _labels(table: Any, column: str) -> Tensor:
    """The classes of a table, (n,) int64, -1 where there is none."""
    return torch.tensor([-1 if label is None else label for label in table[column][:]], dtype=torch.int64)


def _classes(splits: tuple[_EncodedSplit, _EncodedSplit], label_column: str, data_name: str) -> list[str]:
    """The names of the classes; raises UserError if the labels of training or test samples do not fit them."""
    train, test = splits
    declared = getattr(train.table.features[label_column], "names", None)
    names = declared or [str(number) for number in range(int(train.labels.max()) + 1)]
    for split in splits:
        invalid = split.labels[(split.labels < 0) | (split.labels >= len(names))]
        if len(invalid) > 0 or getattr(split.table.features[label_column], "names", None) not in (None, names):
            mistake = f"label {int(invalid[0])}" if len(invalid) > 0 else "other class names"
            raise UserError(
                f"{data_name} has {mistake} in its {split.name} split: give labels 0 to {len(names) - 1}, as in train"
            )
    in_train, in_test = (split.labels.bincount(minlength=len(names)).sign() for split in (train, test))
    if len(unpaired := (in_train - in_test).nonzero()) > 0:
        raise UserError(
            f"{data_name} has {int(in_train.sum())} classes in train, {int(in_test.sum())} in test: "
            f"class {names[int(unpaired[0])]!r} is in one of them only; give both the same"
        )
    return names


def _store_images(splits: Sequence[_EncodedSplit], column: str, data: schema.Data, folder: Path) -> None:
    """Write the images of all splits: with one channel if all of them are greyscale, otherwise with three."""

    def store(channels: int) -> bool:
        return all(
            _store(_path(folder, split), _pixels(split, column, data), len(split.table), channels, data.name)
            for split in splits
        )

    if not store(channels=1):
        store(channels=3)
    sizes = {np.load(_path(folder, split), mmap_mode="r").shape[2:] for split in splits}
    if len(sizes) > 1:
        raise _unequal(sizes, data.name)


def _path(folder: Path, split: _EncodedSplit) -> Path:
    """The file for the images of a split."""
    return folder / f"{split.name}.images.npy"


def _store(path: Path, batches: Iterable[list[Pixels]], n: int, channels: int, data_name: str) -> bool:
    """Write images as an .npy file, (n, channels, h, w) uint8, holding one batch of them in memory at a time.

    Returns:
        Whether the file is complete: with one channel, the first colour image ends the writing.
    """
    with path.open("wb") as file:
        shape: tuple[int, ...] = ()
        for images in batches:
            if max(image.shape[0] for image in images) > channels:
                return False
            sizes = {image.shape[1:] for image in images} | {shape[1:]} - {()}
            if len(sizes) > 1:
                raise _unequal(sizes, data_name)
            if not shape:
                shape = (channels, *images[0].shape[1:])
                header = {"descr": "|u1", "fortran_order": False, "shape": (n, *shape)}
                np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                file.write(np.broadcast_to(image, shape).tobytes())
    return True


def _pixels(split: _EncodedSplit, column: str, data: schema.Data) -> Iterator[list[Pixels]]:
    """Decode the images of a split, some at a time: each (c, h, w), with c = 1 if it is greyscale, otherwise 3."""
    from datasets import Image

    encoded = split.table.select_columns(column).cast_column(column, Image(decode=False))
    with ThreadPoolExecutor() as pool:
        for batch in encoded.iter(_IMAGES_AT_ONCE):
            try:
                images = list(pool.map(lambda cell: _decoded(cell, data.size), batch[column]))
            except (OSError, TypeError, ValueError) as error:
                raise UserError(
                    f"{data.name} has an image in {split.name} that cannot be read: {error}; replace or remove it"
                ) from error
            yield images


def _unequal(sizes: set[tuple[int, ...]], data_name: str) -> UserError:
    """The error for images of several sizes (h, w)."""
    examples = " and ".join(f"{h}×{w}" for h, w in sorted(sizes)[:2])
    return UserError(f"{data_name} has images of {examples} pixels: bring them to one size with data.size")


def _decoded(cell: Mapping[str, Any], size: int | None) -> Pixels:
    """Decode one image: (c, h, w) uint8. With a `size`, its central square is resized to that side.

    Reducing by a whole factor takes the mean of areas; any other change of size is bilinear with antialiasing.

    Args:
        cell: The content of the image file as `bytes`, or its `path`.
        size: Height and width of the result, in pixels; none: those of the image.
    """
    from PIL import Image

    with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]) as file:
        if file.mode[0] in "IF":
            raise ValueError(f"pixels of type {file.mode}, not 8 bits")
        image = file.convert("L" if file.mode in ("1", "L", "LA") else "RGB")
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        if side % size == 0:
            image = image.reduce(side // size, box)
        else:
            image = image.resize((size, size), Image.Resampling.BILINEAR, box)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))

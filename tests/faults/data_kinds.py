"""The kinds of files that hold data: label files, images, parquet files, arrays, cached corrupted images."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lottery_pools.config import schema
from lottery_pools.data import arrays, cache, images, label_files, pixels, stored_images
from lottery_pools.data.corruptions import published
from lottery_pools.errors import UserError
from tests.faults.changes import edit_cells, edit_json_file, edit_npy_header
from tests.faults.kind import Kind, bits


def picture(seed: int = 0, size: int = 8) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One image of noise, (size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def write_image(file_format: str) -> Callable[[Path], object]:
    """A function that writes an image in a format of Pillow's."""

    def write(path: Path) -> None:
        from PIL import Image

        Image.fromarray(picture(size=24)).save(path, file_format)

    return write


def read_image(path: Path) -> Any:
    """The pixels of an image, as decoding sees them."""
    image, remarks = pixels.opened(str(path))
    return image.mode, image.size, image.tobytes(), remarks


def write_labels(path: Path) -> None:
    """Write a label file of six images: by its ending, as .csv, .tsv, .jsonl or Tiny-ImageNet's annotations."""
    rows = [{"file_name": f"{i}.png", "label": ("cat", "dog")[i % 2], "split": "train"} for i in range(6)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".txt":
        path.write_text("".join(f"{row['file_name']}\t{row['label']}\t0\t0\t9\t9\n" for row in rows))
    else:
        between = "\t" if path.suffix == ".tsv" else ","
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        path.write_text("".join(between.join(line) + "\n" for line in lines))


def read_labels(path: Path) -> Any:
    """The entries of a label file, and which images it names."""
    entries = label_files.read(path, None)
    image_paths = [path.parent / f"{i}.png" for i in range(6)]
    return entries, label_files.assign(entries, image_paths, (path.parent,), path)


def write_many_labels(path: Path) -> None:
    """Write a label file of six images with two numbers each."""
    lines = ["file_name,tall,wide", *(f"{i}.png,{i % 2},{i / 4}" for i in range(6))]
    path.write_text("\n".join(lines) + "\n")


def read_many_labels(path: Path) -> Any:
    """Its entries."""
    return label_files.read(path, None, "regression")


def write_arrays(path: Path) -> None:
    """Write samples and labels as arrays, of which the labels are damaged later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_name("train_inputs.npy"), np.arange(24 * 5, dtype=np.float32).reshape(24, 5))
    np.save(path, np.arange(24) % 3)


def read_arrays(path: Path) -> Any:
    """The samples and labels."""
    source = arrays.load(schema.Data(str(path.parent)))
    return source.classes, bits({"images": source.train.images, "labels": source.train.labels})


def write_published(path: Path) -> None:
    """Write published corrupted images of a small set: five severities of ten."""
    np.save(path, np.arange(50 * 4 * 4 * 3, dtype=np.uint8).reshape(50, 4, 4, 3))


def read_published(path: Path) -> Any:
    """The array, as CIFAR-C's files are read."""
    array = published._load(path, path.parent)
    published._check_content(path, array, (50, 4, 4, 3), np.uint8)
    return array.tobytes()


def write_corrupted(path: Path) -> None:
    """Write corrupted images into a file of the cache."""
    stored_images.write(path, (6, 3, 4, 4), [torch.arange(6 * 48, dtype=torch.int64).to(torch.uint8).view(6, 3, 4, 4)])


def read_corrupted(path: Path) -> Any:
    """The cached corrupted images."""
    stored_images._stored_digest.cache_clear()  # two damaged files may have the same size, within a tick of the clock
    return bits({"images": stored_images.read(path, 6)})


def write_parquet(path: Path) -> None:
    """Write twelve images and labels as a parquet file."""
    import pyarrow as pa
    from PIL import Image
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = []
    for seed in range(12):
        Image.fromarray(picture(seed)).save(buffer := io.BytesIO(), "png")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    parquet.write_table(pa.table({"image": encoded, "label": [seed % 2 for seed in range(12)]}), path)


def read_parquet(path: Path) -> Any:
    """The images and labels of a folder of parquet files, decoded into a cache beside it."""
    shutil.rmtree(path.parent / "cache", ignore_errors=True)
    os.environ["LOTTERY_POOLS_CACHE"] = str(path.parent / "cache")
    source = images.load(schema.Data(str(path.parent), broken="refuse"))
    return source.classes, bits({"images": source.train.images, "labels": source.train.labels})


_UNREADABLE = (pixels.UnreadableImageError, UserError)


def _image_kind(name: str) -> Kind:
    """The kind of images in a format of Pillow's."""
    path = f"a.{name.lower()}"
    return Kind(f"image: {name}", write_image(name), read_image, False, path, refusals=_UNREADABLE, names_file="no")


DATA_KINDS = (
    *map(_image_kind, ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")),
    Kind("labels .csv", write_labels, read_labels, False, "labels.csv", (edit_cells,)),
    Kind("labels .tsv", write_labels, read_labels, False, "labels.tsv", (edit_cells,)),
    Kind("labels .jsonl", write_labels, read_labels, False, "labels.jsonl", (edit_json_file,)),
    Kind("labels .txt", write_labels, read_labels, False, "val_annotations.txt", (edit_cells,)),
    Kind("numbers .csv", write_many_labels, read_many_labels, False, "labels.csv", (edit_cells,)),
    Kind(
        "array of labels", write_arrays, read_arrays, False, "set/train_labels.npy", (edit_npy_header,),
        names_file="folder",
    ),
    Kind("published corruptions", write_published, read_published, False, "fog.npy", (edit_npy_header,)),
    Kind(
        "cache of corrupted images", write_corrupted, read_corrupted, True, "a.safetensors", (),
        refusals=(cache.DamagedCacheError, UserError), names_file="file",
    ),
    Kind("parquet", write_parquet, read_parquet, False, "set/train.parquet", names_file="folder"),
)  # fmt: skip
"""Kinds of files that hold data."""

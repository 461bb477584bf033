"""Image sets: from the hub, parquet files or folders to tensors, decoded once to files that are memory-mapped."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.config import schema
from lottery_pools.data.dataset import LARGE, Source, Split
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.folder import cache_root, digest

T = TypeVar("T")

_HUB = {"cifar10": ("uoft-cs/cifar10", "label"), "cifar100": ("uoft-cs/cifar100", "fine_label")}
_TEST = ("test", "validation", "val")  # the split that reports: the first of these
_CACHE_VERSION = 2


def load(data: schema.Data) -> Source:
    """An image set: from the cache where it holds these very files decoded this way, otherwise decoded and cached.

    Images stay in the cache, memory-mapped and not to be written to. With `data.resized_crop` their side is 8/7 of
    `data.size`, so that its middle 7/8 are of that size.
    """
    name, label = _HUB.get(data.name, (data.name, None))
    size = round(data.size * 8 / 7) if data.size is not None and data.resized_crop else data.size
    data = dataclasses.replace(data, size=size, resized_crop=False, label_column=data.label_column or label)
    path = Path(name).expanduser()
    local = data.name not in _HUB and path.is_dir()
    if local:
        files = _files(path)
        content = _content(path, [file for split in files.values() for file in split])
    else:
        if "/" not in name:
            raise unknown("data set", name, ("mnist1d", *_HUB))
        if name.count("/") > 1 or name.startswith((".", "/", "~")):
            raise UserError(f"data.name is {name}: there is no such folder; give one, or a Hugging Face hub id")
        tables = _open(name, f"there is no folder {data.name}, and the Hugging Face hub does not give {name}")
        content = {split: table._fingerprint for split, table in tables.items()}

    key = [_CACHE_VERSION, content, data.size, data.image_column, data.label_column]
    root = cache_root()
    cache = root / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    if not cache.exists():
        try:
            root.mkdir(parents=True, exist_ok=True)
            # `datasets` copies local files into Arrow files first; they go once the pixels are out of them.
            with tempfile.TemporaryDirectory(dir=root) as scratch:
                unfinished = Path(scratch) / "decoded"
                unfinished.mkdir()
                _decode(_open_files(files, Path(scratch), path) if local else tables, data, unfinished)
                unfinished.rename(cache)
        except OSError as error:
            if not cache.exists():  # else another process was faster
                reason = f"cannot write to the cache {root}: {error.strerror}"
                raise UserError(
                    f"{reason}; set LOTTERY_POOLS_CACHE to a folder that can be written and has the space"
                ) from error
    return _read(cache)


def _content(path: Path, files: list[Path]) -> dict[str, str]:
    """What tells the files apart from others: their digests or, where reading them takes long, size and time."""
    stats = [file.stat() for file in files]
    if sum(stat.st_size for stat in stats) > LARGE:
        marks = [f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats]
    else:
        with ThreadPoolExecutor() as pool:
            marks = list(pool.map(digest, files))
    return dict(zip((str(file.relative_to(path)) for file in files), marks, strict=True))


def _files(path: Path) -> dict[str, list[Path]]:
    """The training and the test files in a folder: parquet files, or below train/CLASS and test/CLASS, images."""

    def of(split: str) -> list[Path]:
        parquet = [*path.glob(f"{split}*.parquet"), *path.glob(f"data/{split}*.parquet")]
        return sorted(parquet or (file for file in path.glob(f"{split}/*/*") if file.is_file()))

    train, test = _pick({split: files for split in ("train", *_TEST) if (files := of(split))}, str(path))
    return {"train": train, "test": test}


def _pick(splits: Mapping[str, T], name: str) -> tuple[T, T]:
    """The split to train on and the one to report on."""
    test = next((split for split in _TEST if split in splits), None)
    if "train" not in splits or test is None:
        raise UserError(
            f"{name} has {'no test split (test, validation or val)' if 'train' in splits else 'no train split'}: "
            "give train*.parquet and test*.parquet, or images in train/CLASS and test/CLASS"
        )
    return splits["train"], splits[test]


def _open_files(files: Mapping[str, list[Path]], scratch: Path, path: Path) -> Mapping[str, Any]:
    """Tables of local files, by split."""
    images = files["train"][0].suffix != ".parquet"
    # Which file is in which split is said outright: `datasets`, left to guess from names, takes test/train/1.png
    # (CIFAR-100 has a class `train`) for a training image.
    patterns = {
        split: sorted(
            {f"{glob.escape(str(file.parents[1]))}/*/*" if images else glob.escape(str(file)) for file in some}
        )
        for split, some in files.items()
    }
    # It names the classes of an image folder over all splits, but takes those of parquet from the first file only.
    groups = [patterns] if images else [{split: some} for split, some in patterns.items()]
    tables: dict[str, Any] = {}
    for group in groups:
        tables |= _open(
            "imagefolder" if images else "parquet",
            f"cannot read the files in {path}",
            data_files=group,
            cache_dir=str(scratch),
        )
    return tables


def _open(name: str, failure: str, **arguments: Any) -> Mapping[str, Any]:
    """The tables of a data set, by split, from Hugging Face `datasets`; raises UserError starting with `failure`."""
    try:
        import datasets
        import PIL  # noqa: F401
    except ImportError as error:
        raise UserError(f"image data need {error.name}: pip install 'lottery-pools[data]'") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    for logger in ("huggingface_hub", "datasets"):  # each of their attempts: our error says how they ended
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        tables: Mapping[str, Any] = datasets.load_dataset(name, **arguments)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__ or error
        reason = str(cause).partition("\n")[0].rstrip(".")
        raise UserError(
            f"{failure} ({reason}): give as data.name a folder with train*.parquet and test*.parquet, "
            "or images in train/CLASS and test/CLASS"
        ) from error
    return tables


def _decode(tables: Mapping[str, Any], data: schema.Data, folder: Path) -> None:
    """Write pixels, labels and class names of a data set's training and test tables into `folder`, for `_read`."""
    tables = {split: tables[split] for split in ("train", *_TEST) if split in tables}
    features = _pick(tables, data.name)[0].features
    image, label = _columns(features, data)
    for split, table in tables.items():
        if absent := {image, label} - table.features.keys():
            raise UserError(
                f"{data.name} has no column {min(absent)} in its {split} split: give it the columns of train"
            )
    labels = {split: _labels(table, label) for split, table in tables.items()}
    # Hub sets for competitions hide the labels of their test split as -1 or null.
    known = {split: (table, labels[split]) for split, table in tables.items() if (labels[split] >= 0).any()}
    (train_table, train_labels), (test_table, test_labels) = _pick(known, data.name)

    names = getattr(features[label], "names", None) or [str(number) for number in range(int(train_labels.max()) + 1)]
    for split, table, some in (("train", train_table, train_labels), ("test", test_table, test_labels)):
        outside = some[(some < 0) | (some >= len(names))]
        if len(outside) > 0 or getattr(table.features[label], "names", None) not in (None, names):
            wrong = f"label {int(outside[0])}" if len(outside) > 0 else "other class names"
            raise UserError(
                f"{data.name} has {wrong} in its {split} split: give labels 0 to {len(names) - 1}, as in train"
            )
    in_train, in_test = (some.bincount(minlength=len(names)).sign() for some in (train_labels, test_labels))
    if len(odd := (in_train - in_test).nonzero()) > 0:
        raise UserError(
            f"{data.name} has {int(in_train.sum())} classes in train, {int(in_test.sum())} in test: "
            f"class {names[int(odd[0])]!r} is in one of them only; give both the same"
        )

    found = {"train": train_table, "test": test_table}
    # Greyscale until a colour image turns up: then all are stored anew, with three channels.
    if not all(_store(folder / f"{split}.images.npy", table, image, data, split, 1) for split, table in found.items()):
        for split, table in found.items():
            _store(folder / f"{split}.images.npy", table, image, data, split, 3)
    shapes = {split: np.load(folder / f"{split}.images.npy", mmap_mode="r").shape for split in found}
    if shapes["train"][2:] != shapes["test"][2:]:
        raise _unequal(data, {shape[2:] for shape in shapes.values()})
    for split, some in (("train", train_labels), ("test", test_labels)):
        np.save(folder / f"{split}.labels.npy", some.numpy())
    (folder / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    for file in folder.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())


def _columns(features: Mapping[str, Any], data: schema.Data) -> tuple[str, str]:
    """The names of the image and the label column: as given, otherwise the only ones of their type."""
    from datasets import ClassLabel, Image

    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    integers = [name for name, feature in features.items() if "int" in str(getattr(feature, "dtype", ""))]

    def one(kind: str, given: str | None, found: list[str], setting: str) -> str:
        if given is not None and given not in features:
            raise unknown(f"column in {data.name}", given, features)
        if given is None and len(found) != 1:
            raise UserError(
                f"{data.name} has {len(found) or 'no'} {kind} columns ({', '.join(found or features)}): "
                f"name the one to use in data.{setting}"
            )
        return given or found[0]

    label = one("label", data.label_column, classes or integers, "label_column")
    if label not in classes + integers:
        raise UserError(
            f"data.label_column is {label!r}, which holds no integers: choose another column of {data.name}"
        )
    return one("image", data.image_column, images, "image_column"), label


def _labels(table: Any, column: str) -> Tensor:
    """The classes (n,) int64 of a table, -1 where there is none."""
    return torch.tensor([-1 if label is None else label for label in table[column][:]], dtype=torch.int64)


def _store(path: Path, table: Any, column: str, data: schema.Data, split: str, channels: int) -> bool:
    """Write the images of a table as an .npy file, (n, channels, h, w) uint8, and return True.

    Returns False, leaving the file unfinished, at a colour image where one channel is asked for. No more than a batch
    is in memory at once.
    """
    with path.open("wb") as file:
        shape: tuple[int, ...] = ()
        for images in _pixels(table, column, data, split):
            if max(image.shape[0] for image in images) > channels:
                return False
            if len(sizes := {image.shape[1:] for image in images} | {shape[1:]} - {()}) > 1:
                raise _unequal(data, sizes)
            if not shape:
                shape = (channels, *images[0].shape[1:])
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(table), *shape)}
                np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                file.write(np.broadcast_to(image, shape).tobytes())
    return True


def _pixels(table: Any, column: str, data: schema.Data, split: str) -> Iterator[list[NDArray[np.uint8]]]:
    """The images of a table, some at a time, each (c, h, w) with c = 1 where it is greyscale, otherwise 3."""
    from datasets import Image

    with ThreadPoolExecutor() as pool:
        for batch in table.select_columns(column).cast_column(column, Image(decode=False)).iter(1000):
            try:
                images = list(pool.map(lambda cell: _pixel_array(cell, data.size), batch[column]))
            except (OSError, TypeError, ValueError) as error:
                raise UserError(
                    f"{data.name} has an image in {split} that cannot be read: {error}; mend or remove it"
                ) from error
            yield images


def _unequal(data: schema.Data, sizes: set[tuple[int, ...]]) -> UserError:
    some = " and ".join(f"{h}×{w}" for h, w in sorted(sizes)[:2])
    return UserError(f"{data.name} has images of {some} pixels: bring them to one size with data.size")


def _pixel_array(cell: Mapping[str, Any], size: int | None) -> NDArray[np.uint8]:
    """One image file's pixels, (c, h, w); with a `size`, those of its central square brought to that side.

    Shrinking by a whole factor averages over areas, any other change of size is bilinear, antialiased.
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


def _read(folder: Path) -> Source:
    """What `_decode` wrote, the images memory-mapped."""

    def array(name: str) -> Tensor:
        with warnings.catch_warnings():
            # That the array cannot be written to is meant. A private mapping that can is refused by Linux where it is
            # larger than memory.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="r"))

    train, test = (Split(array(f"{split}.images"), array(f"{split}.labels").clone()) for split in ("train", "test"))
    return Source(train, test, tuple(json.loads((folder / "classes.json").read_text(encoding="utf-8"))))

"""Small image sets on disk, for the tests of the data wing: parquet files and image folders of noise."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

datasets = pytest.importorskip("datasets", reason="the extra `data` is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra `data` is not installed")


def pixels(n: int, shape: tuple[int, ...] = (8, 8, 3), seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    Image.fromarray(image).save(buffer := io.BytesIO(), "png")
    return buffer.getvalue()


def parquet(path: Path, images: Iterable[NDArray[np.uint8]], **columns: tuple[list[Any], Any]) -> None:
    """A parquet file of `images` in the column img, and further columns of (values, feature)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"img": [{"bytes": png(image), "path": None} for image in images]}
    features = {"img": datasets.Image(), **{name: feature for name, (_, feature) in columns.items()}}
    values |= {name: column for name, (column, _) in columns.items()}
    datasets.Dataset.from_dict(values, datasets.Features(features)).to_parquet(str(path))


def classes(*names: str) -> Any:
    return datasets.ClassLabel(names=list(names))


CAT_DOG = ("cat", "dog")


def small(folder: Path, train: int = 20, test: int = 10) -> Path:
    """A folder of two parquet files, two classes in turn."""
    for seed, (split, n) in enumerate((("train", train), ("test", test))):
        labels = [i % 2 for i in range(n)]
        parquet(folder / f"{split}.parquet", pixels(n, seed=seed), label=(labels, classes(*CAT_DOG)))
    return folder


def image_folder(folder: Path, *names: str, shape: tuple[int, ...] = (8, 8, 3), n: int = 4) -> Path:
    for seed, split in enumerate(("train", "test")):
        for k, name in enumerate(names):
            (folder / split / name).mkdir(parents=True)
            for i, image in enumerate(pixels(n, shape, seed=10 * seed + k)):
                (folder / split / name / f"{i}.png").write_bytes(png(image))
    return folder


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def unequal_sizes(folder: Path, n: int = 12) -> Path:
    """Noise of 40 × 30 to 52 × 41 pixels in two class folders, train and val."""
    for seed, split in enumerate(("train", "val")):
        for k, name in enumerate(CAT_DOG):
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                shape = (40 + i, 30 + i % 5 + k * i % 7, 3)
                Image.fromarray(pixels(1, shape, seed=100 * seed + 20 * k + i)[0]).save(
                    folder / split / name / f"{i:02}.png"
                )
    return folder

"""Finding image sets, in a folder or on the Hugging Face hub, and opening them as tables of encoded images."""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lottery_pools.data.dataset import LARGE
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.folder import NO_SPACE, digest, failed_write

T = TypeVar("T")

TEST_SPLITS = ("test", "validation", "val")
"""The names that the test samples may have; if a set has several of these splits, the first is used."""
_LAYOUTS = "train*.parquet and test*.parquet, or images in train/CLASS and test/CLASS"


@dataclass(frozen=True)
class HubName:
    """Where a data set with a name of its own is on the hub."""

    id: str
    label_column: str


HUB = {
    "cifar10": HubName("uoft-cs/cifar10", "label"),
    "cifar100": HubName("uoft-cs/cifar100", "fine_label"),
}
"""The image sets that have a name of their own in the settings."""


@dataclass(frozen=True)
class LocalImages:
    """An image set in a folder: parquet files, or image files in train/CLASS and test/CLASS."""

    folder: Path
    files: Mapping[str, list[Path]]
    """The files of the splits `train` and `test`."""

    def content(self) -> dict[str, str]:
        """Return what identifies the content of each file: its digest, or if they are large, its size and its time."""
        files = [file for split in self.files.values() for file in split]
        stats = [file.stat() for file in files]
        if sum(stat.st_size for stat in stats) > LARGE:
            marks = [f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats]
        else:
            with ThreadPoolExecutor() as pool:
                marks = list(pool.map(digest, files))
        return dict(zip((str(file.relative_to(self.folder)) for file in files), marks, strict=True))

    def tables(self, scratch: Path) -> Mapping[str, Any]:
        """Return the table of each split.

        Args:
            scratch: A folder for the copies that `datasets` makes; it must exist as long as the tables are used.
        """
        is_images = self.files["train"][0].suffix != ".parquet"
        # `datasets` is told which files are in which split. If it has to guess from their names, it takes
        # test/train/1.png (CIFAR-100 has a class `train`) for a training image.
        patterns = {split: _patterns(files, is_images) for split, files in self.files.items()}
        # For images, `datasets` numbers the classes over all splits. For parquet files, it takes the names of the
        # classes from the first file only; each split is therefore opened by itself.
        groups = [patterns] if is_images else [{split: pattern} for split, pattern in patterns.items()]
        tables: dict[str, Any] = {}
        for group in groups:
            tables |= _open(
                "imagefolder" if is_images else "parquet",
                f"cannot read the files in {self.folder}",
                data_files=group,
                cache_dir=str(scratch),
            )
        return tables


@dataclass(frozen=True)
class HubImages:
    """An image set of the hub, already opened."""

    opened: Mapping[str, Any]
    """The table of each split."""

    def content(self) -> dict[str, str]:
        """Return what identifies the content of each table."""
        return {split: table._fingerprint for split, table in self.opened.items()}

    def tables(self, scratch: Path) -> Mapping[str, Any]:
        """Return the table of each split; `scratch` is not used."""
        return self.opened


def find(name: str) -> LocalImages | HubImages:
    """Find an image set.

    Args:
        name: A name in `HUB`, the path of a folder, or the id of a data set on the hub (owner/name).

    Raises:
        UserError: There is no such folder or data set, or the folder lacks training or test images.
    """
    path = Path(name).expanduser()
    if name not in HUB and path.is_dir():
        return LocalImages(path, _files(path))
    hub_id = HUB[name].id if name in HUB else name
    if "/" not in hub_id:
        raise unknown("data set", name, ("mnist1d", *HUB))
    if hub_id.count("/") > 1 or hub_id.startswith((".", "/", "~")):
        raise UserError(f"data.name is {name}: there is no such folder; give one, or a Hugging Face hub id")
    return HubImages(_open(hub_id, f"there is no folder {name}, and the Hugging Face hub does not give {hub_id}"))


def train_and_test(splits: Mapping[str, T], name: str) -> tuple[T, T]:
    """Return the training and the test split of the data set called `name`.

    Raises:
        UserError: One of them is missing.
    """
    test = next((split for split in TEST_SPLITS if split in splits), None)
    if "train" not in splits or test is None:
        missing = "no test split (test, validation or val)" if "train" in splits else "no train split"
        raise UserError(f"{name} has {missing}: give {_LAYOUTS}")
    return splits["train"], splits[test]


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files of the splits `train` and `test` in a folder: its parquet files, or if it has none, its images."""
    files: dict[str, list[Path]] = {}
    for split in ("train", *TEST_SPLITS):
        parquet = [*folder.glob(f"{split}*.parquet"), *folder.glob(f"data/{split}*.parquet")]
        if of_split := sorted(parquet or (file for file in folder.glob(f"{split}/*/*") if file.is_file())):
            files[split] = of_split
    train, test = train_and_test(files, str(folder))
    return {"train": train, "test": test}


def _patterns(files: list[Path], is_images: bool) -> list[str]:
    """The glob patterns that name these files to `datasets`: of image files, one for the folder of the split."""
    return sorted(
        {f"{glob.escape(str(file.parents[1]))}/*/*" if is_images else glob.escape(str(file)) for file in files}
    )


def _open(name: str, failure: str, **arguments: Any) -> Mapping[str, Any]:
    """Open a data set with Hugging Face `datasets`.

    Args:
        name: What `datasets.load_dataset` opens: a hub id, or a kind of local file.
        failure: What the message says first if that fails.
        arguments: Further arguments of `datasets.load_dataset`.

    Returns:
        The table of each split.
    """
    try:
        import datasets
        import PIL  # noqa: F401
    except ImportError as error:
        raise UserError(f"image data need {error.name}: pip install 'lottery-pools[data]'") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    for logger in ("huggingface_hub", "datasets"):  # they log each attempt; the error below says how it ended
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        tables: Mapping[str, Any] = datasets.load_dataset(name, **arguments)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            raise failed_write("the copy of the images that `datasets` makes", cause) from error
        reason = str(cause).partition("\n")[0].rstrip(".")
        raise UserError(f"{failure} ({reason}): give as data.name a folder with {_LAYOUTS}") from error
    return tables

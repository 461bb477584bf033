"""Finding image sets, in a folder or on the Hugging Face hub, and what identifies their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lottery_pools.config import schema
from lottery_pools.data import image_files, image_folders, image_tables
from lottery_pools.data.dataset import LARGE
from lottery_pools.data.encoded import EncodedSet, EncodedSplit, ImageFiles
from lottery_pools.data.image_files import LeftOut
from lottery_pools.data.splits import training
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.disk import digest


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


_FILES_AT_ONCE = 100
"""Files that a thread reads in one step: a step for each would take longer than reading them, if they are small."""


@dataclass(frozen=True)
class ImageFolder:
    """An image set whose images are files in a folder."""

    root: Path
    samples: EncodedSet

    @property
    def notes(self) -> tuple[str, ...]:
        """What in the folder is no sample."""
        return self.samples.notes

    def content(self) -> Any:
        """Return what identifies the samples: the content of each file, and its label."""
        splits = [split for split in (self.samples.train, self.samples.test) if split is not None]
        return [[split.name, self._files(split)] for split in splits]

    def _files(self, split: EncodedSplit) -> list[list[Any]]:
        assert isinstance(split.images, ImageFiles)
        files = split.images.files
        start = len(str(self.root))  # of many files, `relative_to` would take longer than reading them
        names = [str(file)[start:] for file in files]
        return [list(sample) for sample in zip(names, split.labels.values, _marks(files), strict=True)]

    def encoded(self, data: schema.Data, scratch: Path) -> EncodedSet:
        """Return the samples; the arguments are not used."""
        return replace(self.samples, notes=())


@dataclass(frozen=True)
class ParquetFiles:
    """An image set in parquet files in a folder."""

    root: Path
    files: Mapping[str, list[Path]]
    """The files of each split."""
    notes: tuple[str, ...] = ()

    def content(self) -> Any:
        """Return what identifies the samples: the content of each file."""
        return [
            [split, list(zip((str(file.relative_to(self.root)) for file in files), _marks(files), strict=True))]
            for split, files in self.files.items()
        ]

    def encoded(self, data: schema.Data, scratch: Path) -> EncodedSet:
        """Open the files: see `image_tables.open_parquet` and `image_tables.encoded`."""
        return image_tables.encoded(image_tables.open_parquet(self.files, self.root, scratch), data)


@dataclass(frozen=True)
class HubImages:
    """An image set of the hub, already opened."""

    tables: Mapping[str, Any]
    """The table of each split."""
    notes: tuple[str, ...] = ()

    def content(self) -> Any:
        """Return what identifies the samples: the fingerprint that `datasets` gives each table."""
        return {split: table._fingerprint for split, table in self.tables.items()}

    def encoded(self, data: schema.Data, scratch: Path) -> EncodedSet:
        """Return the samples: see `image_tables.encoded`."""
        return image_tables.encoded(image_tables.as_tables(self.tables), data)


def find(data: schema.Data) -> ImageFolder | ParquetFiles | HubImages:
    """Find an image set.

    Args:
        data: The settings `[data]`. `data.name` is a name in `HUB`, the path of a folder, or the id of a data set on
            the hub (owner/name).

    Raises:
        UserError: There is no such folder or data set, or the folder has no training samples, or it is not clear what
            in it they are.
    """
    try:
        path = Path(data.name).expanduser()
        is_folder = data.name not in HUB and path.is_dir()
    except (OSError, RuntimeError) as error:  # not permitted; or "~" without a home folder
        raise UserError(f"data.name is {data.name}, which cannot be read ({error}): give another folder") from error
    if is_folder:
        return _find_below(path, data)
    hub_id = HUB[data.name].id if data.name in HUB else data.name
    if "/" not in hub_id:
        raise unknown("data set", data.name, ("mnist1d", *HUB))
    if hub_id.count("/") > 1 or hub_id.startswith((".", "/", "~")):
        raise UserError(f"data.name is {data.name}: there is no such folder; give one, or a Hugging Face hub id")
    return HubImages(image_tables.open_hub(hub_id, data.name))


def _find_below(root: Path, data: schema.Data) -> ImageFolder | ParquetFiles:
    """Find the image set in a folder: parquet files that are called after splits; images; or other parquet files."""
    if files := image_tables.parquet_files(root):
        training(files, str(root))
        return ParquetFiles(root, files)
    unnamed = sorted(root.glob("*.parquet"))
    if unnamed and not image_files.folders(root, LeftOut()):
        note = f"no parquet file is called after a split: all are training samples ({unnamed[0].name}, …)"
        return ParquetFiles(root, {"train": unnamed}, (note,))
    return ImageFolder(root, image_folders.read(root, data.label_column, data.task))


def _marks(files: Sequence[Path]) -> list[str]:
    """What identifies the content of each file: its digest, or if they are large, its size and its time."""
    try:
        stats = [file.stat() for file in files]
        if sum(stat.st_size for stat in stats) > LARGE:
            return [f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats]
        parts = [files[start : start + _FILES_AT_ONCE] for start in range(0, len(files), _FILES_AT_ONCE)]
        with ThreadPoolExecutor() as threads:
            return [
                mark for marks in threads.map(lambda part: [digest(file) for file in part], parts) for mark in marks
            ]
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}; remove the cause") from error

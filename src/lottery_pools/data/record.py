"""What a run's folder remembers of its data: where they are, what identifies them, and what there was of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError
from lottery_pools.runs import strict_json
from lottery_pools.runs.disk import write

GENERATED = "mnist1d"
"""Data that follow from the settings, which are compared themselves: with `data.draw` each seed has its own."""


@dataclass(frozen=True)
class DataRecord:
    """The data of a run. Two data sets are the same if their digests are (`Dataset.digest`), and the names of their
    classes."""

    place: str
    """Where the data are: a folder, its whole path; or a name."""
    digest: str
    """Empty: not known, or the data are generated, and are not compared."""
    train: int | None = None
    """Number of training samples; none: not known. The numbers and classes serve to say what changed."""
    validation: int | None = None
    test: int | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> DataRecord:
        """The record of data that were loaded by the setting `data.name`."""
        train, validation, test = (len(split) for split in (dataset.train, dataset.validation, dataset.test))
        digest = "" if name == GENERATED else dataset.digest
        return cls(_whole(name), digest, train, validation, test, dataset.classes)

    def check(self, dataset: Dataset, folder: Path) -> None:
        """Raise UserError if the data are not those of the run in `folder`, and say what differs.

        The digest is of pixels and of the numbers of classes. The names of the classes are compared beside it, for a
        class that is called otherwise, or two that changed places, leave the digest as it was.
        """
        if not (self.digest and dataset.digest):
            return
        if dataset.digest != self.digest or (self.classes and self.classes != dataset.classes):
            raise UserError(
                f"the data in {self.place} are not those that {folder} was started with ({self._difference(dataset)}): "
                "restore them, name a folder that has them with --data.name, or begin a new run with another --out"
            )

    def _difference(self, dataset: Dataset) -> str:
        """The first thing that differs, in words."""
        if dataset.digest == self.digest and len(dataset.classes) == len(self.classes):
            number = next(n for n, name in enumerate(self.classes) if name != dataset.classes[n])
            return f"class {number} is called {dataset.classes[number]!r}, not {self.classes[number]!r}"
        if self.classes and (new := [name for name in dataset.classes if name not in self.classes]):
            return f"the class {new[0]!r} is new"
        if gone := [name for name in self.classes if name not in dataset.classes]:
            return f"the class {gone[0]!r} is missing"
        for words, before, split in (
            ("training", self.train, dataset.train),
            ("validation", self.validation, dataset.validation),
            ("test", self.test, dataset.test),
        ):
            if before is not None and before != len(split):
                return f"{len(split)} {words} samples, not {before}"
        return "as many samples, with other pixels or classes"


def read(path: Path) -> DataRecord | None:
    """The record in a file; None if there is none.

    Raises:
        UserError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        values = strict_json.parse(path.read_bytes())
        classes = tuple(map(str, values.pop("classes")))
        record = DataRecord(**values, classes=classes)
        counts = (record.train, record.validation, record.test)
        if not all(isinstance(value, str) for value in (record.place, record.digest)) or not all(
            value is None or type(value) is int for value in counts
        ):
            raise ValueError("a value is of another type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or delete it if the data are unchanged") from error
    return record


def save(record: DataRecord, path: Path) -> None:
    """Write a record to a file, unless it is there already."""
    text = json.dumps({**asdict(record), "classes": list(record.classes)}, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write(path, text)


def located(record: DataRecord | None, name: str, given: str | None, folder: Path) -> str:
    """Where the data of a run are now.

    Args:
        record: What the run remembers, if anything.
        name: The setting `data.name` that it was started with.
        given: Where the user says that they are, if anywhere.
        folder: The run's folder.

    Raises:
        UserError: They were in a folder that is not there any more.
    """
    if given is not None:
        return given
    if record is None:
        return name
    if Path(record.place).is_absolute() and not Path(record.place).is_dir():
        if Path(name).expanduser().is_dir():
            return name
        raise UserError(f"the data of {folder} are no longer in {record.place}: say where they are with --data.name")
    return record.place


def _whole(name: str) -> str:
    """The whole path of a folder; names stay."""
    try:
        path = Path(name).expanduser()
        return str(path.resolve()) if path.is_dir() else name
    except (OSError, RuntimeError):  # no name of a path
        return name

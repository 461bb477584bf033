"""Image sets before they are decoded: the encoded images and the labels of each split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lottery_pools.data.labels import Labels


class Images(Protocol):
    """The encoded images of a split, wherever they are."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def blocks(self, size: int) -> Iterator[list[bytes | str | None]]:
        """Yield `size` images at a time, in order: the contents of image files, or their paths; None if missing."""
        ...

    def place(self, index: int) -> str:
        """Where an image is, as messages name it."""
        ...

    def take(self, rows: Sequence[int]) -> Images:
        """Some of the images, by their numbers in ascending order."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """Images in files of their own."""

    files: Sequence[Path]

    def __len__(self) -> int:
        return len(self.files)

    def blocks(self, size: int) -> Iterator[list[bytes | str | None]]:
        for start in range(0, len(self.files), size):
            yield [str(file) for file in self.files[start : start + size]]

    def place(self, index: int) -> str:
        return str(self.files[index])

    def take(self, rows: Sequence[int]) -> ImageFiles:
        return ImageFiles([self.files[row] for row in rows])


@dataclass(frozen=True)
class ImageColumn:
    """Images in a column of a table of Hugging Face `datasets`."""

    table: Any
    """The table, with this column only, whose images are not decoded."""
    column: str
    rows: Sequence[int] | None = None
    """Which rows of the set these are; None: all."""

    def __len__(self) -> int:
        return len(self.table)

    def blocks(self, size: int) -> Iterator[list[bytes | str | None]]:
        for start in range(0, len(self.table), size):
            cells = self.table[start : start + size][self.column]
            yield [cell and (cell["bytes"] or cell["path"]) for cell in cells]

    def place(self, index: int) -> str:
        return f"row {index if self.rows is None else self.rows[index]} (the first is row 0)"

    def take(self, rows: Sequence[int]) -> ImageColumn:
        return ImageColumn(self.table.select(rows), self.column, rows)


Kind = Literal["images", "bytes", "labels", "values", "other"]
"""What a column holds: images, declared as such; bytes that may be images; classes with declared names; integers or
words; or something else."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    kind: Kind
    names: tuple[str, ...] | None = None
    """Of `labels`, the names of the classes."""


class Table(Protocol):
    """A table of images and labels, whichever software opened it."""

    def __len__(self) -> int:
        """The number of rows."""
        ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns by name."""
        ...

    def values(self, column: str) -> list[Any]:
        """All values of a column, None where there is none."""
        ...

    def images(self, column: str) -> Images:
        """The images of a column."""
        ...


@dataclass(frozen=True)
class EncodedSplit:
    """The samples of one split."""

    name: str
    """What the data set calls the split."""
    images: Images
    labels: Labels


@dataclass(frozen=True)
class EncodedSet:
    """The samples of an image set."""

    train: EncodedSplit
    test: EncodedSplit | None
    """None: test samples are to be taken out of the training samples."""
    notes: tuple[str, ...] = ()
    """What was left out, or done otherwise than one might expect."""

"""Parquet files as tables, by pyarrow alone: images are read as they are decoded, some at a time.

`datasets` would be imported first, and copy all files on one core: on eight cores that took longer than decoding.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_pools.data.encoded import Column
from lottery_pools.errors import UserError

_ROWS = 64
"""Rows that are read at once."""
_ANY_ROWS, _ANY_BYTES = 100_000, 64 << 20
"""So many rows, and bytes of them unpacked, may a parquet file of any size have."""
_MAX_RATIO = 64
"""A larger parquet file may have so many times its own size unpacked; images are compressed already."""


class _OtherTypeError(Exception):
    """A column has a type that is left to `datasets`."""


@dataclass(frozen=True)
class ArrowTable:
    """Parquet files of one split, one below the other."""

    paths: tuple[Path, ...]
    columns: Mapping[str, Column]
    rows: int

    def __len__(self) -> int:
        return self.rows

    def values(self, column: str) -> list[Any]:
        """All values of a column, None where there is none."""
        from pyarrow import parquet

        tables = [parquet.read_table(path, columns=[column], partitioning=None) for path in self.paths]
        return [value for table in tables for value in table[column].to_pylist()]

    def images(self, column: str) -> ArrowImages:
        """The images of a column."""
        return ArrowImages(self.paths, column, range(self.rows))


@dataclass(frozen=True)
class ArrowImages:
    """Images in a column of parquet files."""

    paths: tuple[Path, ...]
    column: str
    rows: Sequence[int]
    """Which rows of all files these are, ascending."""

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, size: int) -> Iterator[list[bytes | str | None]]:
        """Yield `size` images at a time: their contents, or the paths of their files; None if missing."""
        block: list[bytes | str | None] = []
        for image in itertools.chain.from_iterable(self._groups()):
            block.append(image)
            if len(block) == size:
                yield block
                block = []
        if block:
            yield block

    def place(self, index: int) -> str:
        """Where an image is, as messages name it."""
        return f"row {self.rows[index]} (the first is row 0)"

    def take(self, rows: Sequence[int]) -> ArrowImages:
        """Some of the images, by their numbers in ascending order."""
        return ArrowImages(self.paths, self.column, [self.rows[row] for row in rows])

    def _groups(self) -> Iterator[Iterator[bytes | str | None]]:
        """The images of each group of rows that has some."""
        from pyarrow import parquet

        first = 0
        for path in self.paths:
            with parquet.ParquetFile(path, memory_map=True) as file:
                for group in range(file.num_row_groups):
                    end = first + file.metadata.row_group(group).num_rows
                    rows = self.rows[bisect_left(self.rows, first) : bisect_left(self.rows, end)]
                    if len(rows):
                        yield self._images(path, file, group, [row - first for row in rows])
                    first = end

    def _images(self, path: Path, file: Any, group: int, rows: Sequence[int]) -> Iterator[bytes | str | None]:
        """The images in some rows of a group, of which a few are in memory at a time."""
        from pyarrow import ArrowException

        first = 0
        try:
            for batch in file.iter_batches(_ROWS, row_groups=[group], columns=[self.column]):
                chosen = rows[bisect_left(rows, first) : bisect_left(rows, first + len(batch))]
                cells = batch.column(0)
                yield from (_content(cells[row - first].as_py()) for row in chosen)
                first += len(batch)
        except (ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"cannot read {path} ({reason}): replace or remove it") from error


def describe(path: Path) -> Any:
    """Read what a parquet file says of its content, pyarrow's `FileMetaData`; None where that cannot be read.

    Raises:
        UserError: The file contradicts itself about its number of rows. Or the content would be far larger than the
            file: few bytes can stand for any number of equal rows.
    """
    try:
        from pyarrow import parquet

        description = parquet.read_metadata(path)
        groups = [description.row_group(group) for group in range(description.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        rows_of_groups = [group.num_rows for group in groups]
    except Exception:  # pyarrow is missing, or raises errors of many kinds; `datasets`, asked next, says what is wrong
        return None
    rows, size = description.num_rows, path.stat().st_size
    if rows != sum(rows_of_groups) or min(rows_of_groups, default=0) < 0:
        reason = f"it counts {rows} rows, its parts count {sum(rows_of_groups)}"
        raise UserError(f"cannot read {path} ({reason}): replace or remove it")
    if rows > max(size, _ANY_ROWS) or unpacked > _MAX_RATIO * size + _ANY_BYTES:
        raise UserError(
            f"{path} has {size:,} bytes for {rows:,} rows of {unpacked:,} bytes: that is no set of images, replace it"
        )
    return description


def read(descriptions: Mapping[Path, Any]) -> ArrowTable | None:
    """Open the parquet files of one split as a table.

    None if that cannot be done here, for they are damaged, or of types that only `datasets` knows, or of several.

    Args:
        descriptions: The files, and of each what `describe` returns.
    """
    if any(description is None for description in descriptions.values()):
        return None
    try:
        schemas = [description.schema.to_arrow_schema() for description in descriptions.values()]
        if any(not schema.equals(schemas[0]) for schema in schemas):
            return None
        rows = sum(description.num_rows for description in descriptions.values())
        return ArrowTable(tuple(descriptions), _columns(schemas[0]), rows)
    except Exception:  # pyarrow raises errors of many kinds; `datasets`, which is asked next, says what is wrong
        return None


def _content(cell: Any) -> bytes | str | None:
    """An image as a cell holds it: the content of its file, or its path."""
    if isinstance(cell, Mapping):
        return cell.get("bytes") or cell.get("path")
    return cell or None


def _columns(schema: Any) -> dict[str, Column]:
    """What the columns hold: as `datasets` declared them when it wrote the file, otherwise by their types."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    declared = (metadata.get("info") or {}).get("features") or {}
    return {field.name: _column(field.type, declared.get(field.name)) for field in schema}


def _column(held: Any, declared: Any) -> Column:
    """What one column holds, from its type and what is declared of it.

    Raises:
        _OtherTypeError: It needs `datasets`.
    """
    from pyarrow import types

    fields = [field.name for field in held] if types.is_struct(held) else []
    is_bytes = types.is_binary(held) or types.is_large_binary(held) or "bytes" in fields
    is_words = types.is_string(held) or types.is_large_string(held)
    kind = declared.get("_type") if isinstance(declared, Mapping) else None
    if types.is_dictionary(held) or (kind == "Image" and not is_bytes and not is_words):
        raise _OtherTypeError
    if kind == "ClassLabel":
        if not types.is_integer(held) or not isinstance(declared.get("names"), list):
            raise _OtherTypeError
        return Column("labels", tuple(declared["names"]))
    if kind == "Image":
        return Column("images")
    return Column("values" if types.is_integer(held) or is_words else "bytes" if is_bytes else "other")

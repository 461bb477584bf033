"""Files that name the classes of images: tables of file names and labels, as .csv, .tsv, .jsonl or annotations."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_pools.config.data import Task
from lottery_pools.data.labels import CELLS
from lottery_pools.errors import UserError, shown, unknown

_STEMS = ("labels", "metadata", "annotations")
_ENDINGS = (".csv", ".tsv", ".jsonl")
_FILE_COLUMNS = (
    "file_name",
    "filename",
    "file",
    "image",
    "image_name",
    "path",
    "image_path",
    "file_path",
    "image_id",
    "id",
)
"""The names that the column of the files may have; the first that a table has is used."""
_LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "wnid")
"""The names by which the column of the labels is known without `data.label_column`."""
_SPLIT_COLUMNS = ("split", "subset", "partition")
"""The names that a column of splits may have."""


@dataclass(frozen=True)
class Entry:
    """One line of a label file."""

    file: str
    """The name of an image, below the folder of the label file or of the whole set; its ending may be missing."""
    label: str
    split: str | None
    """The split that the line says, if the file has such a column."""
    columns: tuple[str, ...] = ()
    """The columns whose cells are in `label`, separated by `labels.CELLS`; empty: it is one class."""


def find(folder: Path, root: Path) -> Path | None:
    """Return the file that may name the classes of the images in a folder, or None if there is none.

    Args:
        folder: The folder of a split.
        root: The folder of the whole set, whose label files name the images of all splits.
    """
    names = [f"{stem}{ending}" for stem in _STEMS for ending in _ENDINGS]
    candidates = [folder / name for name in names]
    candidates += sorted(path for path in folder.glob("*_annotations.txt") if not path.name.startswith("."))
    if folder != root:
        candidates += [root / f"{folder.name}{ending}" for ending in _ENDINGS] + [root / name for name in names]
    return next((path for path in candidates if path.is_file()), None)


def read(path: Path, label_column: str | None, task: Task = "single-label") -> list[Entry]:
    """Read a label file.

    Args:
        path: A .csv or .tsv file with a line of column names; a .jsonl file with one JSON object a line; or the
            `val_annotations.txt` of Tiny-ImageNet: file and class, with tabs between them.
        label_column: The column of the labels; none: `label`, `class` or the like.
        task: Where it is another, there may be several columns, separated by commas; none: all whose cells are numbers.

    Raises:
        UserError: The file is damaged, or it is not clear which columns hold the files and the labels.
    """
    try:
        rows = list(_rows(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; remove the cause") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): mend or remove it") from error
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    file_column = _first(_FILE_COLUMNS, columns)
    if file_column is None:
        raise UserError(f"{path} has no column file_name (it has {_listed(columns) or 'none'}): add it")
    if task == "single-label":
        label_columns = [_label_column(path, columns, label_column)]
    else:
        label_columns = _number_columns(path, rows, [name for name in columns if name != file_column], label_column)
    split_column = _first(_SPLIT_COLUMNS, [name for name in columns if name not in label_columns])
    several = () if task == "single-label" else tuple(label_columns)
    entries = []
    for number, row in rows:
        file, label = row.get(file_column), _label(row, label_columns)
        if not isinstance(file, str | int) or label is None or "" in (file, label):
            raise UserError(f"{path} has no file name or no label in line {number}: add it, or remove the line")
        split = row.get(split_column) if split_column is not None else None
        entries.append(Entry(str(file), label, str(split) if split_column is not None else None, several))
    return entries


def assign(
    entries: Iterable[Entry], images: Sequence[Path], folders: Sequence[Path], path: Path
) -> Mapping[Path, Entry]:
    """Return the entry of each image that a label file names.

    Args:
        entries: The lines of the label file.
        images: The images that there are.
        folders: The folders below which the label file may name them.
        path: The label file, for messages.

    Raises:
        UserError: An image that is named is not there, or is named twice with different labels; or several images have
            the name.
    """
    by_path: dict[str, Path] = {}
    by_name: dict[str, set[Path]] = defaultdict(set)
    for image in images:
        by_path |= {image.relative_to(folder).as_posix(): image for folder in folders if image.is_relative_to(folder)}
        by_name[image.name].add(image)
        by_name[image.stem].add(image)
    chosen: dict[Path, Entry] = {}
    for entry in entries:
        name = entry.file.removeprefix("./")
        named = {by_path[name]} if name in by_path else by_name.get(name, set())
        if len(named) != 1:
            number = "no image" if not named else f"{len(named)} images"
            raise UserError(f"{path} names {shown(entry.file)[1:-1]}, and {number} of that name: correct the file")
        (image,) = named
        if chosen.setdefault(image, entry) != entry:
            raise UserError(f"{path} names {shown(entry.file)[1:-1]} twice, with different labels: correct the file")
    return chosen


def _first(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """The column that has the first of the names that any column has, in upper or lower case."""
    return next((column for name in names for column in columns if column.lower() == name), None)


def _label_column(path: Path, columns: list[str], wanted: str | None) -> str:
    """The column of the labels: as the settings say, otherwise the only one that is called so."""
    if wanted is not None:
        if wanted not in columns:
            raise unknown(f"column in {path}", wanted, columns)
        return wanted
    known = [name for name in columns if name.lower() in _LABEL_COLUMNS]
    if len(known) != 1:
        raise UserError(
            f"{path} has {len(known) or 'no'} columns of labels ({_listed(known or columns)}): "
            "name the one to use in data.label_column"
        )
    return known[0]


def _listed(columns: Sequence[str]) -> str:
    """The names of columns, as many as a message has room for."""
    return shown(", ".join(columns), 200)[1:-1]


def _number_columns(
    path: Path, rows: Sequence[tuple[int, Mapping[str, Any]]], columns: list[str], wanted: str | None
) -> list[str]:
    """The columns of several labels, or of numbers: as the settings say, otherwise all whose cells are numbers."""
    if wanted is not None:
        names = [name.strip() for name in wanted.split(",")]
        for name in names:
            if name not in columns:
                raise unknown(f"column in {path}", name, columns)
        return names
    names = [name for name in columns if all(_is_number(row.get(name)) for _, row in rows)]
    if not names:
        raise UserError(f"{path} has no column of numbers beside that of the files: add one for each label")
    return names


def _is_number(cell: object) -> bool:
    try:
        return isinstance(cell, str | int | float) and float(cell) == float(cell)
    except (ValueError, OverflowError):  # no number, or a whole one of hundreds of digits
        return False


def _label(row: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """The label of a line, or its labels with `labels.CELLS` between them; None where one is missing."""
    cells = [row.get(name) for name in columns]
    if len(cells) > 1 or any(isinstance(cell, float) for cell in cells):
        return CELLS.join(map(str, cells)) if all(isinstance(c, str | int | float) and c != "" for c in cells) else None
    return str(cells[0]) if isinstance(cells[0], str | int) else None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a label file, each with its number from 1: column → value."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".jsonl":
            for number, line in enumerate(file, 1):
                row = json.loads(line) if line.strip() else {}
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no JSON object")
                if row:
                    yield number, row
        elif path.suffix == ".txt":
            for number, line in enumerate(file, 1):
                if len(cells := line.rstrip("\r\n").split("\t")) > 1:
                    yield number, {"file_name": cells[0], "label": cells[1]}
        else:
            table = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            for row in table:
                if None in row:
                    raise ValueError(f"line {table.line_num} has more cells than there are columns")
                yield table.line_num, row

"""Image sets as tables: parquet files, and the Hugging Face hub, which Hugging Face `datasets` opens."""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lottery_pools.config import schema
from lottery_pools.data import arrow_tables
from lottery_pools.data.encoded import Column, EncodedSet, EncodedSplit, ImageColumn, Kind, Table
from lottery_pools.data.labels import Labels
from lottery_pools.data.splits import LAYOUTS, TEST, TRAIN, held_out, split_of, training, unlabelled, unused
from lottery_pools.errors import UserError, installing, unknown
from lottery_pools.runs.disk import NO_SPACE, failed_write

LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")
"""The names by which one of several columns of numbers or text is known to hold the labels."""
_NOT_SAMPLES = ("metadata", "labels", "annotations")
"""Names of parquet files that lie beside images."""


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Find the parquet files of each split in a folder: in itself, in folders in it, or in folders called by a split.

    Args:
        folder: The folder; hidden folders in it are left out.

    Returns:
        The files by split: empty if no parquet file is called after a split or is in a folder that is.

    Raises:
        UserError: Several folders in it hold such files: it is not clear which is meant.
    """
    below = [path for path in sorted(folder.glob("*/")) if path.is_dir() and not path.name.startswith(".")]
    bases = {base: _of_splits(base) for base in (folder, *(path for path in below if split_of(path.name) is None))}
    bases = {base: files for base, files in bases.items() if files}
    if folder in bases:
        return bases[folder]
    if len(bases) > 1:
        names = " and ".join(base.name for base in list(bases)[:2])
        raise UserError(f"{folder} has parquet files in {names}: give one of these folders as data.name")
    return next(iter(bases.values()), {})


def _of_splits(base: Path) -> dict[str, list[Path]]:
    """The parquet files by split: BASE/train*.parquet and BASE/train/*.parquet, and so for the other splits."""
    files: dict[str, list[Path]] = {}
    for file in sorted((*base.glob("*.parquet"), *base.glob("*/*.parquet"))):
        named_by = file.stem if file.parent == base else file.parent.name
        if (split := split_of(named_by)) is not None and file.is_file() and file.stem not in _NOT_SAMPLES:
            files.setdefault(split, []).append(file)
    return files


def open_parquet(files: Mapping[str, list[Path]], folder: Path, scratch: Path) -> Mapping[str, Table]:
    """Open parquet files as one table for each split.

    Args:
        files: The files of each split.
        folder: Where they are, for messages.
        scratch: A folder for the copies that `datasets` makes of files that only it can read; it must exist as long as
            the tables are used.

    Raises:
        UserError: A file is damaged, or the files of a split do not go together.
    """
    tables: dict[str, Table] = {}
    for split, paths in files.items():
        descriptions = {path: arrow_tables.describe(path) for path in paths}
        table = arrow_tables.read(descriptions)
        if table is not None:
            tables[split] = table
            continue
        damaged = next((path for path, description in descriptions.items() if description is None), paths[0])
        # Each split is opened by itself: of several splits, the names of the classes would be taken from the first.
        # `datasets` reads the names as patterns, and would guess splits from them if it were not told.
        patterns = {split: [glob.escape(str(path)) for path in paths]}
        failure = f"cannot read the files in {folder}: {damaged.name}"
        opened = _open("parquet", failure, "replace or remove it", data_files=patterns, cache_dir=str(scratch))
        tables |= as_tables(opened)
    return tables


def open_hub(hub_id: str, name: str) -> Mapping[str, Any]:
    """Open a data set of the hub as one table for each split.

    Args:
        hub_id: Its owner and name, with a slash between them.
        name: What the settings call it, for messages.

    Raises:
        UserError: The hub cannot be reached, or does not give it.
    """
    failure = f"there is no folder {name}, and the Hugging Face hub does not give {hub_id}"
    return _open(hub_id, failure, f"give as data.name a folder with {LAYOUTS}")


def encoded(tables: Mapping[str, Table], data: schema.Data) -> EncodedSet:
    """Return the images and labels of the training and the test samples.

    Args:
        tables: The table of each split.
        data: The settings `[data]`: which columns hold images and labels.

    Raises:
        UserError: A split or column is missing, or it is not clear which column to use.
    """
    if data.task != "single-label":
        raise UserError(
            f"{data.name} is a table with one column of labels, data.task is {data.task}: give images with a label "
            "file, or arrays (docs/howto/tasks.md)"
        )
    others = {split: len(table) for split, table in tables.items() if split not in TRAIN + TEST}
    notes = [unused(split, n) for split, n in others.items()]
    name, train = training(tables, data.name)
    image_column, label_column = _columns(train.columns, data)
    samples = {name: _split(name, train, (image_column, label_column), data.name)}
    candidates = held_out(tables)
    for split in candidates:
        absent = {image_column, label_column} - tables[split].columns.keys()
        if absent and len(candidates) == 1:
            raise UserError(
                f"{data.name} has no column {min(absent)} in its {split} split: give it the columns of {name}"
            )
        if not absent:
            samples[split] = _split(split, tables[split], (image_column, label_column), data.name)
    labelled = [split for split in held_out(samples) if samples[split].labels.present]
    notes += [unlabelled(split) for split in candidates if split not in labelled]
    notes += [unused(split, len(tables[split])) for split in labelled[1:]]
    return EncodedSet(samples[name], samples[labelled[0]] if labelled else None, tuple(notes))


def as_tables(opened: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of `datasets`, as they are read here."""
    return {split: DatasetsTable(table) for split, table in opened.items()}


@dataclass(frozen=True)
class DatasetsTable:
    """A table of Hugging Face `datasets`."""

    table: Any

    def __len__(self) -> int:
        return len(self.table)

    @property
    def columns(self) -> Mapping[str, Column]:
        return {name: _kind(feature) for name, feature in self.table.features.items()}

    def values(self, column: str) -> list[Any]:
        return list(self.table[column][:])

    def images(self, column: str) -> ImageColumn:
        from datasets import Image

        return ImageColumn(self.table.select_columns(column).cast_column(column, Image(decode=False)), column)


def _kind(feature: Any) -> Column:
    """What a column of `datasets` holds."""
    from datasets import ClassLabel, Image, Value

    if isinstance(feature, Image):
        return Column("images")
    if isinstance(feature, ClassLabel):
        return Column("labels", tuple(feature.names))
    if isinstance(feature, Mapping):
        return Column("bytes" if "bytes" in feature else "other")
    held = str(feature.dtype) if isinstance(feature, Value) else ""
    return Column("values" if "int" in held or "string" in held else "bytes" if "binary" in held else "other")


def _split(name: str, table: Table, columns: tuple[str, str], data_name: str) -> EncodedSplit:
    """The images and labels of one table; `columns` are theirs, `data_name` is for messages."""
    image_column, label_column = columns
    try:
        labels, images = table.values(label_column), table.images(image_column)
    except Exception as error:  # of Arrow, for columns that are damaged or hold something else
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"cannot read the columns {image_column} and {label_column} of the split {name} of {data_name} ({reason}): "
            "replace its files"
        ) from error
    return EncodedSplit(name, images, Labels(labels, table.columns[label_column].names))


def _columns(columns: Mapping[str, Column], data: schema.Data) -> tuple[str, str]:
    """The names of the image and the label column: as the settings say, otherwise those that can be meant."""
    held = {kind: [name for name, column in columns.items() if column.kind == kind] for kind in get_args(Kind)}
    possible = [name for name, column in columns.items() if column.kind in ("values", "labels")]
    called_so = [name for name in possible if name.lower() in LABEL_COLUMNS]
    label_column = _column(
        "label", data.label_column, held["labels"] or called_so or possible, list(columns), data.name
    )
    if label_column not in possible:
        raise UserError(
            f"data.label_column is {label_column!r}, which holds no integers or names: "
            f"choose another column of {data.name}"
        )
    return _column("image", data.image_column, held["images"] or held["bytes"], list(columns), data.name), label_column


def _column(kind: str, chosen: str | None, candidates: list[str], columns: list[str], data_name: str) -> str:
    """The name of the column that holds the images or the labels.

    Args:
        kind: "image" or "label".
        chosen: The name in the settings, if any.
        candidates: The columns that may be meant.
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


def _open(name: str, failure: str, advice: str, **arguments: Any) -> Mapping[str, Any]:
    """Open a data set with Hugging Face `datasets`.

    Args:
        name: What `datasets.load_dataset` opens: a hub id, or a kind of local file.
        failure: What the message says first if that fails.
        advice: What it says last.
        arguments: Further arguments of `datasets.load_dataset`.

    Returns:
        The table of each split.
    """
    try:
        import datasets
        import PIL  # noqa: F401
    except ImportError as error:
        raise UserError(f"image data need {error.name}: {installing('data')}") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    for logger in ("huggingface_hub", "datasets"):  # they log each attempt; the error below says how it ended
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        tables: Mapping[str, Any] = datasets.load_dataset(name, **arguments)
    except Exception as error:  # of Arrow, of the hub, or of Python, for files that are damaged
        cause = error if isinstance(error, OSError) else error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            raise failed_write("the copy of the images that `datasets` makes", cause) from error
        reason = (str(cause).partition("\n")[0] or type(cause).__name__).rstrip(".")
        raise UserError(f"{failure} ({reason}): {advice}") from error
    return tables

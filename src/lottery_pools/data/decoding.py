"""Decoding image sets: from encoded images to arrays of pixels and labels in a folder of the cache."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lottery_pools.config import schema
from lottery_pools.data import cache, labels, npy, pixels, workers
from lottery_pools.data.encoded import EncodedSet, EncodedSplit, ImageFiles, Images
from lottery_pools.data.workers import Block, Failure, Target
from lottery_pools.errors import UserError
from lottery_pools.runs import engine

Progress = Callable[[int, int], None]
"""Is told how many images are decoded, of how many."""
Rows = dict[str, Tensor]
"""Which samples of `train`, and of `test` if there is one, are meant: (n,) int64 each, ascending."""
_BLOCK = npy.ROWS_OF_A_BLOCK
"""Images that a process decodes in one step: those that are hashed together."""
_IMAGES_A_SECOND, _BYTES_A_SECOND = 10_000, 50e6
"""Images and bytes of encoded images that one core decodes in a second, about: small images take time each, large ones
by their bytes."""
_MOST_BROKEN = 0.1
"""Share of a split that may be unreadable and left out: more than that is not damage of some files."""
_SHOWN = 3
"""Images that a note names."""
LEFT_OUT = "that cannot be read left out"
"""How the note about unreadable images goes on after their number."""
BROKEN = "broken.txt"
"""The file beside decoded images that names all that could not be read, with the reason, a line each."""
_SECONDS_OF_ONE = 1.0
"""Seconds of work for which it does not pay to start processes."""


class _ColourFoundError(Exception):
    """There is a colour image where all were taken for greyscale."""


@dataclass(frozen=True)
class _Task:
    """How the images of a set are decoded."""

    data: schema.Data
    folder: Path
    total: int
    """Images of all splits."""
    progress: Progress | None
    remarks: Counter[str]
    """How many images each key of `pixels.REMARKS` is true of, so far."""
    broken: dict[str, list[Failure]]
    """The images of each split that cannot be read, so far."""


def decode(
    samples: EncodedSet, data: schema.Data, folder: Path, progress: Progress | None = None, rows: Rows | None = None
) -> None:
    """Write the pixels, labels and class names of an image set into a folder, from which `cache.read` reads them.

    Args:
        samples: The encoded images and their labels.
        data: The settings `[data]`: the side to which images are resized.
        folder: An empty folder.
        progress: Is told how many images are decoded.
        rows: Those that are decoded; None: all.

    Raises:
        UserError: An image cannot be read, or the labels or the sizes of the images do not agree.
    """
    pixels.check_installed()
    splits = [("train", samples.train), *([("test", samples.test)] if samples.test is not None else [])]
    classes = numbered(samples, data)
    if rows is not None:
        splits = [(name, _taken(split, rows[name])) for name, split in splits]
    task = _Task(data, folder, sum(len(split.images) for _, split in splits), progress, Counter(), {})
    shape = _first_shape(splits[0][1], data)
    try:
        digests = _store(splits, shape, task)
    except _ColourFoundError:
        task.remarks.clear()
        task.broken.clear()
        digests = _store(splits, (3, *shape[1:]), task)
    stored = {}
    for name, tensor in (("train", classes.train), ("test", classes.test)):
        if tensor is not None:
            chosen = None if rows is None else rows[name]
            labels_there = _without(tensor if chosen is None else tensor[chosen], task.broken[name])
            kept = None if chosen is None else _without(chosen, task.broken[name])
            stored[name] = cache.StoredSplit(digests[name], labels_there, kept)
    counts = [f"{task.remarks[key]} {text}" for key, text in pixels.REMARKS.items() if task.remarks[key]]
    unread = _name_broken(splits, task)
    cache.write_index(folder, stored, classes.names, (*samples.notes, *classes.notes, *counts, *unread))


def _taken(split: EncodedSplit, rows: Tensor) -> EncodedSplit:
    """Some images of a split; its labels, which are looked up elsewhere, stay."""
    return replace(split, images=split.images.take(rows.tolist()))


def _without(values: Tensor, broken: list[Failure]) -> Tensor:
    """Values (n, …), one a sample, without those of images that cannot be read."""
    kept = torch.ones(len(values), dtype=torch.bool)
    kept[[failure.index for failure in broken]] = False
    return values[kept]


def _name_broken(splits: list[tuple[str, EncodedSplit]], task: _Task) -> list[str]:
    """Write the list of the images that cannot be read, and return a note that counts them and names the first."""
    named = [
        f"{split.images.place(failure.index)} of {split.name}: {failure.reason}".replace("\n", "\\n")
        for name, split in splits
        for failure in task.broken[name]
    ]
    if not named:
        return []
    (task.folder / BROKEN).write_text("".join(f"{line}\n" for line in named), encoding="utf-8")
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    count = f"{len(named)} image{'' if len(named) == 1 else 's'}"
    return [f"{count} {LEFT_OUT}: {'; '.join(named[:_SHOWN])}{more}"]


def numbered(samples: EncodedSet, data: schema.Data) -> labels.Classes:
    """Return the classes of all samples, or their several labels or numbers.

    Raises:
        UserError: The labels do not agree.
    """
    train, test = samples.train.labels, samples.test.labels if samples.test is not None else None
    if data.task == "single-label":
        return labels.numbered(train, test, data.name)
    if test is not None and test.columns != train.columns:
        raise UserError(
            f"{data.name} has the labels {', '.join(train.columns)} in train and {', '.join(test.columns)} in test: "
            "give both the same, or name them in data.label_column"
        )
    splits = {"train": train} if test is None else {"train": train, "test": test}
    values = {split: labels.parsed(of_split, data.name) for split, of_split in splits.items()}
    return labels.numeric(values, train.columns, data.task, data.name)


def _store(splits: list[tuple[str, EncodedSplit]], shape: tuple[int, int, int], task: _Task) -> dict[str, str]:
    """Write the images of all splits in the same shape (c, h, w), and return their digests.

    Raises:
        _ColourFoundError: They were to have one channel, and one of them is a colour image.
    """
    cache.check_space(task.folder, task.total * math.prod(shape))
    digests, done = {}, 0
    for name, split in splits:
        digests[name] = _store_split(name, split, shape, task, done)
        done += len(split.images)
    return digests


def _store_split(name: str, split: EncodedSplit, shape: tuple[int, int, int], task: _Task, done: int) -> str:
    """Write the images of one split, and return their digest. `done` images of other splits are decoded already."""
    path = task.folder / f"{name}.images.npy"
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(split.images), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + len(split.images) * math.prod(shape))
    target = Target(path, start, shape, task.data.size, _leaves_out(split, task.data))
    digests = []
    broken = task.broken.setdefault(name, [])
    for outcome in workers.outcomes(target, _blocks(split.images), _processes(split.images)):
        if outcome.write_error is not None:
            raise OSError(*outcome.write_error)
        if outcome.failure is not None:
            raise _failed(outcome.failure, split, shape, task)
        broken += outcome.skipped
        if len(broken) > _MOST_BROKEN * len(split.images):
            raise _unreadable(task.data.name, split, broken[0].index, broken[0].reason, f", as {len(broken)} others")
        digests.append(outcome.digest)
        task.remarks.update(outcome.remarks)
        done += outcome.count
        if task.progress is not None:
            task.progress(done, task.total)
    if broken:
        npy.drop_rows(path, [failure.index for failure in broken])
        return npy.digest(npy.open_array(path))
    return npy.digest_of_blocks(digests)


def _leaves_out(split: EncodedSplit, data: schema.Data) -> bool:
    """Whether images of a split that cannot be read are left out: of a table, only if that is asked for."""
    return data.broken == "leave-out-rows" or (data.broken == "leave-out" and isinstance(split.images, ImageFiles))


def _blocks(images: Images) -> Iterator[Block]:
    """The images of a split, some at a time."""
    for number, encoded in enumerate(images.blocks(_BLOCK)):
        yield Block(number * _BLOCK, encoded)


def _processes(images: Images) -> int:
    """How many processes decode the images of a split: as many as there are cores, if there is work for them."""
    first = next(images.blocks(_BLOCK))
    sizes = [len(image) if isinstance(image, bytes) else _size(image) for image in first]
    seconds = len(images) * (1 / _IMAGES_A_SECOND + sum(sizes) / len(sizes) / _BYTES_A_SECOND)
    return min(engine.cores(), -(-len(images) // _BLOCK)) if seconds > _SECONDS_OF_ONE and sys.executable else 1


def _size(path: str | None) -> int:
    """The size of a file in bytes; 0 if there is none."""
    try:
        return Path(path).stat().st_size if path is not None else 0
    except OSError:
        return 0  # `pixels.decode` says why it cannot be read


def _first_shape(split: EncodedSplit, data: schema.Data) -> tuple[int, int, int]:
    """The shape (c, h, w) of the first image of a split that can be read, which the others are expected to have."""
    reason = ""
    for image in itertools.islice(split.images.blocks(1), 1 + int(_MOST_BROKEN * len(split.images))):
        try:
            return pixels.decode(image[0], data.size).shape
        except pixels.UnreadableImageError as error:
            reason = reason or str(error)
            if not _leaves_out(split, data):
                break
    raise _unreadable(data.name, split, 0, reason)


def _failed(failure: Failure, split: EncodedSplit, shape: tuple[int, int, int], task: _Task) -> Exception:
    """The exception for an image that cannot be decoded, or does not have the shape of the others."""
    if failure.reason:
        return _unreadable(task.data.name, split, failure.index, failure.reason)
    if failure.shape[1:] == shape[1:]:
        return _ColourFoundError()
    (h1, w1), (h2, w2) = sorted((shape[1:], failure.shape[1:]))
    return UserError(
        f"{task.data.name} has images of {h1}×{w1} and {h2}×{w2} pixels: bring them to one size with data.size "
        f"({split.images.place(failure.index)} in {split.name} is the first that differs)"
    )


def _unreadable(data_name: str, split: EncodedSplit, index: int, reason: str, others: str = "") -> UserError:
    """The error for an image that cannot be decoded, and words for others like it."""
    place = split.images.place(index).replace("\n", "\\n")
    leaving = "" if isinstance(split.images, ImageFiles) else ", or leave it out with --data.broken leave-out-rows"
    return UserError(
        f"{data_name} has an image in {split.name} that cannot be read{others}: {reason}; replace or remove {place}"
        f"{'' if others else leaving}"
    )

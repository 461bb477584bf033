"""Decoding only the images that the settings draw, where these are few of many (`data.decode`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from lottery_pools.config import schema
from lottery_pools.data import images
from lottery_pools.data.dataset import LARGE, Dataset, Source, Split
from lottery_pools.data.decoding import Progress, Rows
from lottery_pools.data.labels import Classes

Divide = Callable[[schema.Data, Source], Dataset]
"""Divides a whole set into training, validation and test samples as the settings say."""


def load(data: schema.Data, divide: Divide, large: int = LARGE, progress: Progress | None = None) -> Dataset:
    """Draw samples as of the whole set, and decode only these.

    The draws are made with the numbers of the images in place of the images. Those that cannot be read are left out
    afterwards, so there may be fewer than the settings ask for.

    Args:
        data: The settings `[data]`.
        divide: Draws the samples.
        large: Bytes of images beyond which a split stays in the cache, memory-mapped.
        progress: Is told how many images are decoded.

    Returns:
        The samples; `mean` and `std` are those of the numbers.
    """
    drawn: list[Dataset] = []

    def choose(classes: Classes) -> Rows:
        train, test = _numbers(classes.train), None if classes.test is None else _numbers(classes.test)
        of_any_scale = dataclasses.replace(data, mean=(), std=())
        drawn.append(divide(of_any_scale, Source(train, test, classes.names, "")))
        chosen = drawn[0]
        parts = [chosen.train, chosen.epochs, chosen.validation]
        if test is None:
            return {"train": _union([*parts, chosen.test])}
        return {"train": _union(parts), "test": _union([chosen.test])}

    source, rows = images.load_some(data, choose, progress)
    numbers = drawn[0]
    of_test = (source.train, rows["train"]) if source.test is None else (source.test, rows["test"])
    validation = _decoded(numbers.validation, source.train, rows["train"], large)
    same = numbers.epochs is numbers.validation
    return dataclasses.replace(
        numbers,
        train=_decoded(numbers.train, source.train, rows["train"], large),
        epochs=validation if same else _decoded(numbers.epochs, source.train, rows["train"], large),
        validation=validation,
        test=_decoded(numbers.test, *of_test, large),
        digest=source.digest,
        notes=(*numbers.notes, *source.notes),
    )


def _numbers(labels: Tensor) -> Split:
    """A split whose samples are their numbers, (n, 1, 1, 1) int64."""
    return Split(torch.arange(len(labels)).view(-1, 1, 1, 1), labels)


def _union(splits: list[Split]) -> Tensor:
    """The numbers of all samples of several splits, ascending, each once."""
    union: Tensor = torch.cat([split.images.flatten() for split in splits]).unique()  # type: ignore[no-untyped-call]
    return union


def _decoded(numbers: Split, decoded: Split, rows: Tensor, large: int) -> Split:
    """The images of some numbers, in their order; `rows` are the numbers of those that were decoded."""
    wanted = numbers.images.flatten()
    places = torch.searchsorted(rows, wanted).clamp(max=len(rows) - 1)
    return decoded.take(places[rows[places] == wanted], large)

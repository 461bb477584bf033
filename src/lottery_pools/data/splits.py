"""The names under which data sets publish their splits, and which of them are training and test samples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from lottery_pools.errors import UserError

T = TypeVar("T")

TRAIN = ("train", "training")
"""The names that training samples may have."""
TEST = ("test", "testing", "validation", "valid", "val", "eval", "evaluation", "dev")
"""The names that test samples may have. If a set has several of these splits, the first whose labels are known is
used: sets for competitions hide those of `test`."""
LAYOUTS = "train*.parquet and test*.parquet, or images in train/CLASS and test/CLASS"
"""What a folder of images may look like, for messages."""


def split_of(name: str) -> str | None:
    """Return the split that a folder, or a file without its ending, is called after: one of `TRAIN` or `TEST`.

    Examples:
        >>> split_of("Train"), split_of("val-00000-of-00002"), split_of("trains")
        ('train', 'val', None)
    """
    word = re.match(r"[A-Za-z]*", name)
    first_word = word.group().lower() if word else ""
    return first_word if first_word in TRAIN + TEST else None


def training(splits: Mapping[str, T], name: str) -> tuple[str, T]:
    """Return the training split of the data set called `name`, and what that split is called.

    Raises:
        UserError: There is none, or more than one.
    """
    present = [split for split in TRAIN if split in splits]
    if len(present) != 1:
        listed = " and ".join(present) or "no train split"
        raise UserError(f"{name} has {listed}: give {LAYOUTS}")
    return present[0], splits[present[0]]


def held_out(splits: Iterable[str]) -> list[str]:
    """Return those of the names that test samples may have, the first choice first."""
    return [split for split in TEST if split in splits]


def unused(split: str, n: int) -> str:
    """Return the note on a split that is not needed."""
    return f"the split {split} ({n} samples) is not used: validation samples are drawn from the training samples"


def unlabelled(split: str) -> str:
    """Return the note on a split whose labels are hidden."""
    return f"the split {split} is not used: it has no labels"

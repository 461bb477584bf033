"""Labels as they are published, and what they become: classes 0, 1, …, or several labels or numbers a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.config.data import Task
from lottery_pools.errors import UserError

CELLS = "\x1f"
"""Stands between the cells of one sample (the unit separator of ASCII)."""
_SHOWN = 3
"""Labels that messages list."""


@dataclass(frozen=True)
class Labels:
    """The labels of one split, in the order of its samples."""

    values: Sequence[int | str | None]
    """A number, or the name of a class; None, or a number below 0, where the label is missing. With `columns`, the
    cells of these, separated by `CELLS`."""
    declared: tuple[str, ...] | None = None
    """The name of each class, if the data set lists them: a value is then an index into them."""
    columns: tuple[str, ...] = ()
    """The names of several labels, or of numbers; empty: each sample has one class."""

    @property
    def present(self) -> set[int | str]:
        """The labels that samples have. Sets for competitions have none in their test split."""
        return {value for value in self.values if value is not None and not _is_missing(value)}


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, and those of its samples; or its labels or numbers, and which its samples have."""

    names: tuple[str, ...]
    train: Tensor
    """The class of each training sample, an index into `names`, (n,) int64; or (n, names) float32."""
    test: Tensor | None
    """The class of each test sample; none: there are no test samples."""
    notes: tuple[str, ...]
    """What was changed."""


def numbered(train: Labels, test: Labels | None, data_name: str) -> Classes:
    """Number the classes that have samples from 0: names in their order if they are declared, otherwise sorted.

    Numbers that start at 1 or leave gaps become 0, 1, … in their order, and the names of the classes keep them.

    Args:
        train: The labels of the training samples.
        test: The labels of the test samples, if there are any.
        data_name: What messages call the data set.

    Raises:
        UserError: A sample has no label, or one that is not in the other split; or there are fewer than two classes.
    """
    if not train.values:
        raise UserError(f"{data_name} has no training samples: give some")
    splits = {"train": train} if test is None else {"train": train, "test": test}
    allowed: set[int | str] = set(range(len(train.declared))) if train.declared else train.present
    for split, labels in splits.items():
        _check(labels, split, allowed, train.declared, data_name)
    used = sorted(train.present, key=lambda value: (isinstance(value, str), value))
    if test is not None:
        _check_same_classes(used, test.present, train.declared, data_name)
    if len(used) < 2:
        raise UserError(
            f"{data_name} has one class only, {_name(used[0], train.declared)!r}: give two or more "
            "(images in train/CLASS/…, or another data.label_column)"
        )
    if train.declared is None and len(used) == len(train.values) > 2 * _SHOWN:
        raise UserError(
            f"{data_name} has {len(used)} training samples and as many classes ({_listed(used)}): these are no "
            "classes; name the column that holds them in data.label_column"
        )
    index = {value: number for number, value in enumerate(used)}
    numbers = [
        torch.tensor([index[value] for value in labels.values if value is not None]) for labels in splits.values()
    ]
    names = tuple(_name(value, train.declared) for value in used)
    return Classes(names, numbers[0], numbers[1] if test is not None else None, _notes(used, train.declared))


def parsed(labels: Labels, data_name: str) -> Tensor:
    """The cells of labels with `columns` as numbers, (n, columns) float32; raises UserError where one is no number."""
    rows = []
    for row, value in enumerate(labels.values):
        cells = str(value).split(CELLS)
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            raise UserError(
                f"{data_name} has labels {', '.join(cells)} (sample {row}, from 0), which are no numbers: name the "
                "columns of labels in data.label_column, separated by commas"
            ) from None
    return torch.tensor(rows, dtype=torch.float32)


def numeric(splits: Mapping[str, Tensor], names: tuple[str, ...], task: Task, data_name: str) -> Classes:
    """Labels that are there or not, or numbers, checked.

    Args:
        splits: `train`, and `test` if there are test samples: (n, names) float32.
        names: What the labels or numbers are called.
        task: `multi-label` or `regression`.
        data_name: What messages call the data set.

    Raises:
        UserError: One is not 0 or 1, not finite, or a number is the same in all samples of a split.
    """
    for split, values in splits.items():
        if task == "multi-label":
            wrong = (values != 0) & (values != 1)
            advice = "give 0 or 1 for each label, or set data.task to regression"
        else:
            wrong = ~values.isfinite()
            advice = "give finite numbers"
        if wrong.any():
            row, column = wrong.nonzero()[0].tolist()
            raise UserError(
                f"{data_name} has {names[column]} = {values[row, column]:g} in its {split} split: {advice} "
                f"(sample {row}, from 0)"
            )
        if task == "regression" and (constant := (values == values[:1]).all(0)).any():
            name = names[int(constant.nonzero()[0])]
            raise UserError(f"{data_name} has the same {name} in all samples of {split}: leave it out")
    return Classes(names, splits["train"], splits.get("test"), ())


def _is_missing(value: int | str | None) -> bool:
    """Whether a value is no label."""
    return value is None or value == "" or (isinstance(value, int) and value < 0)


def _check(
    labels: Labels, split: str, allowed: set[int | str], declared: tuple[str, ...] | None, data_name: str
) -> None:
    """Raise UserError if a sample of a split has no label, or none of those that are allowed."""
    advice = f"give labels {_listed(sorted(allowed, key=str))}, as in train"
    if all(isinstance(value, int) for value in allowed):
        numbers = sorted(value for value in allowed if isinstance(value, int))
        if numbers == list(range(len(numbers))):
            advice = f"give labels 0 to {len(numbers) - 1}, as in train"
    if labels.declared not in (None, declared):
        raise UserError(f"{data_name} has other class names in its {split} split: {advice}")
    for row, value in enumerate(labels.values):
        if _is_missing(value) or value not in allowed:
            shown = -1 if value is None else repr(value) if isinstance(value, str) else value
            raise UserError(f"{data_name} has label {shown} in its {split} split: {advice} (sample {row}, from 0)")


def _check_same_classes(
    in_train: list[int | str], in_test: set[int | str], declared: tuple[str, ...] | None, data_name: str
) -> None:
    """Raise UserError if a class has samples in one of the splits only."""
    if unpaired := sorted(set(in_train) ^ in_test, key=str):
        raise UserError(
            f"{data_name} has {len(in_train)} classes in train, {len(in_test)} in test: "
            f"class {_name(unpaired[0], declared)!r} is in one of them only; give both the same"
        )


def _name(value: int | str, declared: tuple[str, ...] | None) -> str:
    """The name of the class of a label."""
    return declared[value] if declared and isinstance(value, int) else str(value)


def _listed(values: Sequence[int | str]) -> str:
    """The first of some labels, for a message."""
    return ", ".join(map(str, values[:_SHOWN])) + (", …" if len(values) > _SHOWN else "")


def _notes(used: list[int | str], declared: tuple[str, ...] | None) -> tuple[str, ...]:
    """What is said if labels are numbered anew."""
    if used == list(range(len(used))) and (not declared or len(used) == len(declared)):
        return ()
    if declared:
        absent = [name for number, name in enumerate(declared) if number not in used]
        return (f"{len(absent)} of its {len(declared)} classes have no samples and are left out ({_listed(absent)})",)
    if isinstance(used[0], str):
        return ()
    return (f"its labels {_listed(used)} are numbered 0 to {len(used) - 1}; the classes keep the numbers as names",)

"""Samples and labels in .npy files: `train_inputs.npy` and `train_labels.npy`, for data that are no image files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.config import schema
from lottery_pools.data import labels, npy
from lottery_pools.data.dataset import Source, Split
from lottery_pools.data.labels import Labels
from lottery_pools.errors import UserError

_INPUTS, _LABELS, _NAMES = "inputs", "labels", "label_names.txt"


def is_array_folder(name: str) -> bool:
    """Whether `data.name` is a folder with the file `train_inputs.npy`."""
    try:
        return (Path(name).expanduser() / f"train_{_INPUTS}.npy").is_file()
    except (OSError, RuntimeError):
        return False


def load(data: schema.Data) -> Source:
    """Load the arrays of a folder into memory.

    It has `train_inputs.npy` and `train_labels.npy`, and may have `test_inputs.npy` and `test_labels.npy`. Inputs are
    (n, features), (n, channels, length) or (n, channels, height, width); uint8 stays, other numbers become float32.
    Labels are by `data.task`: classes (n,), whole numbers; labels that are there or not (n, labels), 0 or 1; numbers
    (n,) or (n, numbers). `label_names.txt` may name labels or numbers, one a line.

    Args:
        data: The settings `[data]`.

    Raises:
        UserError: A file is missing or damaged, or holds what is not described above.
    """
    root = Path(data.name).expanduser()
    if data.size is not None or data.image_column or data.label_column:
        raise UserError(
            f"data.size and columns are for images, {root} holds arrays: leave them out (`--data.size none`, where the "
            "preset has a size)"
        )
    arrays = {"train": _split(root, "train")}
    if (root / f"test_{_INPUTS}.npy").exists() or (root / f"test_{_LABELS}.npy").exists():
        arrays["test"] = _split(root, "test")
    inputs = {split: _inputs(root, split, pair[0]) for split, pair in arrays.items()}
    if "test" in inputs and inputs["test"].shape[1:] != inputs["train"].shape[1:]:
        raise UserError(
            f"{root} has training samples {tuple(inputs['train'].shape[1:])} and test samples "
            f"{tuple(inputs['test'].shape[1:])}: give both one shape"
        )
    values = {split: pair[1] for split, pair in arrays.items()}
    classes = _numbered(values, str(root)) if data.task == "single-label" else _numeric(values, root, data.task)
    test = Split(inputs["test"], classes.test) if "test" in inputs and classes.test is not None else None
    digests = [npy.digest(array) for pair in arrays.values() for array in pair]
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
    return Source(Split(inputs["train"], classes.train), test, classes.names, digest, classes.notes)


def _split(root: Path, split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The inputs and labels of a split, as they are in the files."""
    pair = []
    for kind in (_INPUTS, _LABELS):
        path = root / f"{split}_{kind}.npy"
        try:
            pair.append(npy.open_array(path))
        except FileNotFoundError as error:
            raise UserError(f"{root} has no {path.name}: add it") from error
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}; remove the cause") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): write it again") from error
    inputs, of_samples = pair
    if inputs.ndim == 0 or of_samples.ndim == 0 or len(inputs) != len(of_samples) or not len(inputs):
        raise UserError(
            f"{root} has {split} inputs {inputs.shape} and labels {of_samples.shape}: give as many of both, one or more"
        )
    return inputs, of_samples


def _inputs(root: Path, split: str, array: NDArray[Any]) -> Tensor:
    """The inputs of a split, (n, channels, …)."""
    if not 2 <= array.ndim <= 4:
        raise UserError(
            f"{root} has {split} inputs {array.shape}: give (n, features), (n, channels, length) or "
            "(n, channels, height, width)"
        )
    samples = torch.from_numpy(np.array(array if array.dtype == np.uint8 else array.astype(np.float32), order="C"))
    if not samples.float().isfinite().all():
        raise UserError(f"{root} has {split} inputs that are NaN or infinite: remove or replace them")
    return samples[:, None] if samples.ndim == 2 else samples


def _numbered(values: dict[str, NDArray[Any]], name: str) -> labels.Classes:
    """Classes, whole numbers, numbered from 0."""
    for split, array in values.items():
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise UserError(
                f"{name} has {split} labels {array.dtype} {array.shape}: give whole numbers (n,), or set data.task"
            )
    test = Labels(values["test"].tolist()) if "test" in values else None
    return labels.numbered(Labels(values["train"].tolist()), test, name)


def _numeric(values: dict[str, NDArray[Any]], root: Path, task: schema.Task) -> labels.Classes:
    """Labels that are there or not, or numbers."""
    columns = {split: array[:, None] if array.ndim == 1 else array for split, array in values.items()}
    for split, array in columns.items():
        if array.ndim != 2 or array.shape[1:] != columns["train"].shape[1:]:
            raise UserError(f"{root} has {split} labels {array.shape}: give as many for each sample, (n, labels)")
    names = tuple(str(number) for number in range(columns["train"].shape[1]))
    if (path := root / _NAMES).exists():
        names = tuple(path.read_text(encoding="utf-8-sig").split("\n"))
        names = tuple(name.strip() for name in names if name.strip())
        if len(names) != columns["train"].shape[1]:
            raise UserError(f"{path} has {len(names)} names, the labels have {columns['train'].shape[1]} columns")
    tensors = {split: torch.from_numpy(array.astype(np.float32)) for split, array in columns.items()}
    return labels.numeric(tensors, names, task, str(root))

"""The cache: arrays and their index in a folder, written whole or not at all, and checked when they are read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.data import npy
from lottery_pools.data.dataset import LARGE, Source, Split
from lottery_pools.errors import UserError

_INDEX = "index.json"


class DamagedCacheError(ValueError):
    """A file of the cache that is not what was written; the message says which, and why."""


@dataclass(frozen=True)
class StoredSplit:
    """The files of one split in a folder of the cache, and their digests (`npy.digest`)."""

    images: str
    """The digest of the pixels, (n, c, h, w) uint8, in SPLIT.images.npy."""
    labels: Tensor
    """Classes, (n,) int64, or labels or numbers, (n, labels) float32; they are in SPLIT.labels.npy."""
    rows: Tensor | None = None
    """Which samples of the set these are, (n,) int64, to be written into SPLIT.rows.npy; None: all that can be read."""


def write_index(folder: Path, splits: dict[str, StoredSplit], classes: Sequence[str], notes: Sequence[str]) -> None:
    """Complete a folder of the cache whose images are written: with labels, the index, and their digests.

    Args:
        folder: It has SPLIT.images.npy for each split.
        splits: `train`, and `test` if there are test samples.
        classes: The names of the classes.
        notes: What `Dataset.notes` says about the images.
    """
    index: dict[str, Any] = {"classes": list(classes), "notes": list(notes), "arrays": {}}
    for name, split in splits.items():
        shape = npy.open_array(folder / f"{name}.images.npy").shape
        index["arrays"][f"{name}.images"] = {"shape": shape, "type": "uint8", "digest": split.images}
        for kind, values in (("labels", split.labels), ("rows", split.rows)):
            if values is not None:
                array = values.numpy()
                np.save(folder / f"{name}.{kind}.npy", array)
                entry = {"shape": array.shape, "type": str(array.dtype), "digest": npy.digest(array)}
                index["arrays"][f"{name}.{kind}"] = entry
    index["digest"] = _sha256(index["arrays"])[:16]
    index["check"] = _sha256(index)
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def read(folder: Path, large: int = LARGE) -> Source:
    """Read a folder of the cache, the images memory-mapped and read-only.

    Every array is compared with its digest, once in a process; one of more than `large` bytes is not, and a note says
    so.

    Raises:
        DamagedCacheError: A file is missing, or is not what was written.
        UserError: A file cannot be read.
    """
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        check = index.pop("check")
        if check != _sha256(index):
            raise DamagedCacheError(f"{_INDEX} is not what was written")
        arrays = {name: _array(folder / f"{name}.npy", entry, large) for name, entry in index["arrays"].items()}
    except FileNotFoundError as error:
        raise DamagedCacheError(f"{Path(error.filename).name} is missing") from error
    except OSError as error:
        raise UserError(f"cannot read the cache {folder}: {error.strerror or error}; remove the cause") from error
    except DamagedCacheError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCacheError(f"{_INDEX} is not what was written") from error
    unchecked = [name for name, array in arrays.items() if array.nbytes > large]
    notes = [f"{folder / name}.npy was not compared with its digest: it is large" for name in unchecked]
    train, test = (
        Split(_tensor(arrays[f"{split}.images"]), _tensor(arrays[f"{split}.labels"]).clone())
        if f"{split}.images" in arrays
        else None
        for split in ("train", "test")
    )
    assert train is not None
    return Source(train, test, tuple(index["classes"]), index["digest"], (*index["notes"], *notes))


def rows(folder: Path) -> dict[str, Tensor]:
    """Which samples of the set a folder has that `read` has checked, (n,) int64 by split; empty: all."""
    paths = {split: folder / f"{split}.rows.npy" for split in ("train", "test")}
    return {split: _tensor(npy.open_array(path)).clone() for split, path in paths.items() if path.exists()}


def remove(folder: Path) -> None:
    """Remove a folder of the cache, in one step for other processes.

    Raises:
        UserError: It cannot be removed.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.damaged")
    try:
        folder.rename(aside)
        shutil.rmtree(aside)
    except FileNotFoundError:
        return  # another process did it
    except OSError as error:
        raise UserError(f"cannot remove the damaged cache {folder}: {error.strerror or error}; remove it") from error


def check_space(folder: Path, needed: int) -> None:
    """Raise OSError if the disk of a folder has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"the images need {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free")


def _array(path: Path, entry: dict[str, Any], large: int) -> NDArray[Any]:
    """The array in a file, compared with the index."""
    try:
        array = npy.open_array(path)
    except ValueError as error:
        raise DamagedCacheError(f"{path.name} is damaged: {error}") from error
    if array.shape != tuple(entry["shape"]) or array.dtype != entry["type"]:
        raise DamagedCacheError(f"{path.name} holds {array.dtype} of shape {array.shape}, not what was written")
    stat = path.stat()
    state = stat.st_ino, stat.st_size, stat.st_mtime_ns
    if array.nbytes <= large and _digest(path, *state) != entry["digest"]:
        raise DamagedCacheError(f"{path.name} is not what was written")
    return array


@cache
def _digest(path: Path, *_: int) -> str:
    """The digest of a file's array, computed once in a process for each state of the file."""
    return npy.digest(npy.open_array(path))


def _tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of the same memory."""
    with warnings.catch_warnings():
        # Nothing writes to the array. A private mapping, which could be written to, is refused by Linux if it is
        # larger than the memory.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def _sha256(value: Any) -> str:
    """The SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

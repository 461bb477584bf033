"""Reading .npy files that may be damaged, and digests of arrays.

Nothing is allocated for a header's word alone: an array is only opened if the file is exactly as large as its header
says.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ROWS_OF_A_BLOCK = 64
"""Rows that are hashed together by `digest`. Every digest changes with this number."""


def open_array(path: Path) -> NDArray[Any]:
    """Memory-map the array of a .npy file, read-only.

    Args:
        path: The file.

    Raises:
        ValueError: The file is no .npy file of numbers, or is shorter or longer than its header says.
        OSError: The file cannot be read.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "three.npy", np.arange(3))
        ...     open_array(Path(folder) / "three.npy").tolist()
        [0, 1, 2]
    """
    with path.open("rb") as file:
        shape, is_fortran, dtype = _header(file)
        start = file.tell()
    size = path.stat().st_size
    expected = start + math.prod(shape) * dtype.itemsize
    if dtype.kind not in "biuf" or any(length < 0 for length in shape):
        raise ValueError(f"it holds {dtype} of shape {shape}, which are no numbers")
    if size != expected:
        raise ValueError(f"it has {size} bytes, its header says {expected}")
    if size == start:  # nothing can be mapped
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=start, shape=shape, order="F" if is_fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of a .npy file: shape, whether the first index runs fastest, type of the numbers."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of headers in former notations
            version = np.lib.format.read_magic(file)
            shape, is_fortran, dtype = readers[version](file)
            return tuple(int(length) for length in shape), bool(is_fortran), np.dtype(dtype)
    except OSError:
        raise
    except Exception as error:  # NumPy evaluates the header as a Python literal: damage raises errors of many kinds
        raise ValueError("its header is damaged") from error


def drop_rows(path: Path, dropped: Sequence[int]) -> None:
    """Remove rows from the array in a .npy file of version 1.0, in place, little of it in memory at a time.

    Args:
        path: The file; its array is in C order.
        dropped: The rows to remove, ascending, at least one.
    """
    with path.open("rb") as file:
        shape, _, dtype = _header(file)
        start = file.tell()
    kept = np.delete(np.arange(shape[0]), dropped)
    array = np.memmap(path, dtype, mode="r+", offset=start, shape=shape)
    for first in range(dropped[0], len(kept), ROWS_OF_A_BLOCK):
        rows = kept[first : first + ROWS_OF_A_BLOCK]
        array[first : first + len(rows)] = array[rows]  # rows come from further down, and are copied first
    array.flush()
    header = str({"descr": dtype.str, "fortran_order": False, "shape": (len(kept), *shape[1:])}).encode()
    with path.open("r+b") as file:
        file.seek(10)  # after the magic bytes, the version, and the length of the header, which stays
        file.write(header.ljust(start - 11) + b"\n")
        file.truncate(start + len(kept) * math.prod(shape[1:]) * dtype.itemsize)


def digest(array: NDArray[Any]) -> str:
    """Return what identifies the values of an array: 64 hexadecimal digits.

    It is the SHA-256 of the SHA-256 of every `ROWS_OF_A_BLOCK` rows, which are computed on all cores.

    Args:
        array: The values (n, …), whose rows lie one after the other.
    """
    starts = range(0, len(array), ROWS_OF_A_BLOCK)
    with ThreadPoolExecutor() as threads:
        blocks = threads.map(
            lambda start: hashlib.sha256(np.ascontiguousarray(array[start : start + ROWS_OF_A_BLOCK]).data).digest(),
            starts,
        )
        return digest_of_blocks(blocks)


def digest_of_blocks(blocks: Iterable[bytes]) -> str:
    """Return the digest of an array from the SHA-256 of each of its blocks, in order (see `digest`)."""
    return hashlib.sha256(b"".join(blocks)).hexdigest()

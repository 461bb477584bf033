""".npy files that may be damaged, and digests of arrays."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lottery_pools.data import npy


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3), np.int64),
        np.array(7),
    ],
)
def test_an_array_is_read_as_it_was_saved(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", array)
    read = npy.open_array(tmp_path / "array.npy")
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)


def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    for shape in ((1 << 62, 1 << 62), (1 << 40,), (5,), (3,), (-4,)):
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.write(bytes(4))
        with pytest.raises(ValueError, match=r"bytes, its header says|no numbers"):
            npy.open_array(path)


def test_objects_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(ValueError, match="which are no numbers"):
        npy.open_array(tmp_path / "array.npy")


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=5),
    st.integers(0, 200),
    st.binary(max_size=20),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_arrays_of_the_right_size_or_refused(
    tmp_path: Path, changes: list[tuple[int, int]], kept: int, more: bytes
) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(9, dtype=np.int64))
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content[:kept] + more)
    with contextlib.suppress(ValueError):
        assert npy.open_array(path).nbytes <= len(content) + len(more)


def test_the_digest_is_that_of_blocks_in_order() -> None:
    array = np.arange(300, dtype=np.uint8).reshape(150, 2)
    blocks = [hashlib.sha256(array[start : start + 64].tobytes()).digest() for start in (0, 64, 128)]
    assert npy.digest(array) == npy.digest_of_blocks(blocks) == hashlib.sha256(b"".join(blocks)).hexdigest()
    changed = array.copy()
    changed[149, 1] ^= 1
    assert npy.digest(changed) != npy.digest(array)
    assert npy.digest(array[::-1]) != npy.digest(array)

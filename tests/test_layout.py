"""Sizes from files: whole numbers from 0, and no more of them than a tensor can have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lottery_pools.runs import strict_json
from lottery_pools.tickets.layout import DTYPES, Entry, entries_of, numel, read_header, sizes


def test_a_file_that_safetensors_wrote(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "é": torch.tensor(True)}, tmp_path / "file")
    with (tmp_path / "file").open("rb") as file:
        header, size = read_header(file)
    assert size == (tmp_path / "file").stat().st_size == len(header) + 25
    assert entries_of(strict_json.parse(header[8:]), 25) == {
        "a": Entry(torch.float32, (2, 3), 0, 24),
        "é": Entry(torch.bool, (), 24, 25),
    }


@pytest.mark.parametrize("content", [b"", b"1234567", b"\1" + bytes(7), b"\xff" * 8])
def test_a_file_that_is_too_short(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file, pytest.raises(ValueError, match=r"too short|its header needs"):
        read_header(file)


def test_types_are_named_as_safetensors_names_them(tmp_path: Path) -> None:
    save_file({name: torch.zeros(1, dtype=torch.uint8).expand(8).clone().view(dtype) for name, dtype in DTYPES.items()},
              tmp_path / "file")  # fmt: skip
    with (tmp_path / "file").open("rb") as file:
        header, size = read_header(file)
    assert {
        name: entry.dtype for name, entry in entries_of(strict_json.parse(header[8:]), size - len(header)).items()
    } == DTYPES


def test_sizes_and_how_many_numbers_they_make() -> None:
    assert sizes([3, 0]) == (3, 0)
    assert [numel(shape) for shape in ((), (3, 4), (5, 0))] == [1, 12, 0]
    for value in (None, 3, "3", [-1], [1.0], [True], [2**48], [1] * 65, [[1]]):
        with pytest.raises(ValueError, match=r"no list of sizes|no size"):
            sizes(value)
    with pytest.raises(ValueError, match="larger than any tensor"):
        numel((2**24, 2**24, 0))

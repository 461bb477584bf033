"""Files of rows: what is written is read back, and a kill in mid-write costs one row at most."""

from __future__ import annotations

import errno
import json
import lzma
import os
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools.errors import UserError
from lottery_pools.runs import results
from tests.test_rows import ROW

ROWS = [ROW, replace(ROW, level=3, loss=0.1 + 0.2), replace(ROW, seed=4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_round_trip(path: Path) -> None:
    assert results.read(path) == []
    results.append(path, ROWS[:1])
    results.append(path, iter(ROWS[1:]))
    assert results.read(path) == ROWS


def test_a_torn_last_line_is_no_row_and_mend_cuts_it(path: Path) -> None:
    results.append(path, ROWS)
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in (start + 1, start + 40, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert results.read(path) == ROWS[:2]
        results.mend(path)
        assert path.read_bytes() == whole[:start]
        results.append(path, ROWS[2:])
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EROFS, "Read-only file system; choose another folder"),
        (errno.EIO, "Input/output error; remove the cause"),
    ],
)
def test_a_write_that_fails_leaves_no_half_of_it(
    number: int, message: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.append(path, ROWS[:1])
    whole = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(UserError, match=rf"cannot write .*results\.jsonl: {message}"):
            results.append(path, ROWS[1:])
    assert path.read_bytes() == whole
    results.append(path, ROWS[1:])
    assert results.read(path) == ROWS


def test_damaged_published_files_are_named(tmp_path: Path) -> None:
    packed = lzma.compress(results.to_lines(ROWS).encode())
    for content in (packed[:-20], b"nonsense"):
        (tmp_path / "results.jsonl.xz").write_bytes(content)
        with pytest.raises(UserError, match=r"results\.jsonl\.xz is truncated or damaged"):
            results.read(tmp_path / "results.jsonl.xz")
    for lines in (None, "{", "[1]", '{"steps": []}', '{"seed": 1}'):
        if lines is not None:
            (tmp_path / "pools.jsonl").write_text(lines + "\n")
        with pytest.raises(UserError, match=r"pools\.jsonl is missing or damaged") as caught:
            results.read_pools(tmp_path / "pools.jsonl")
        assert "\n" not in str(caught.value)


def test_mend_leaves_whole_and_absent_files_and_empties_a_torn_first_line(path: Path) -> None:
    results.mend(path)
    assert not path.exists()
    results.append(path, ROWS)
    whole = path.read_bytes()
    results.mend(path)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:9])
    results.mend(path)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("broken", [b'{"run": ', b"[1, 2]", b'{"run": "r"}', b"", b"\xff\x00"])
def test_a_broken_line_is_refused_with_its_number(path: Path, broken: bytes) -> None:
    results.append(path, ROWS[:1])
    with path.open("ab") as file:
        file.write(broken + b"\n")
    results.append(path, ROWS[1:])
    with pytest.raises(UserError, match=r"results\.jsonl, line 2 is not a result row") as caught:
        results.read(path)
    assert "\n" not in str(caught.value)


def test_keys_of_a_later_version_are_passed_over(path: Path) -> None:
    results.append(path, [ROW])
    path.write_text(json.dumps({**json.loads(path.read_text()), "flops": 7}) + "\n")
    assert results.read(path) == [ROW]


def test_bins_are_read_back_and_rows_without_them_look_as_ever(path: Path) -> None:
    row = replace(ROW, bins=((0, 0, 0.0), (3, 2, 0.7067)))
    results.append(path, [row, ROW])
    assert results.read(path) == [row, ROW]
    first, second = map(json.loads, path.read_text().splitlines())
    assert first.pop("bins") == [[0, 0, 0.0], [3, 2, 0.7067]]
    assert first == second

"""Files of rows: what is written is read back, and a kill in mid-write costs one row at most."""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools.errors import UserError
from lottery_pools.runs import results
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import PoolRow
from tests.test_row_checks import METRIC
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


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="needs O_NOFOLLOW")
def test_rows_are_not_written_through_a_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("half a line")
    (tmp_path / "results.jsonl").symlink_to(mine)
    rows = tmp_path / "results.jsonl"
    with pytest.raises(UserError, match=r"cannot write .*results\.jsonl: "):
        results.append(rows, ROWS)
    with pytest.raises(UserError, match=r"cannot write .*results\.jsonl: "):
        results.mend(rows)
    (tmp_path / "log.jsonl").symlink_to(mine)
    with pytest.raises(UserError, match=r"cannot write .*log\.jsonl: "):
        RunFolder(tmp_path).event(stage="training")
    assert mine.read_text() == "half a line"


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
    results.append(path, [row])
    results.append(path.with_name("without.jsonl"), [ROW])
    assert results.read(path) + results.read(path.with_name("without.jsonl")) == [row, ROW]
    first, second = (json.loads(file.read_text()) for file in (path, path.with_name("without.jsonl")))
    assert first.pop("check") != second.pop("check")
    assert first.pop("bins") == [[0, 0, 0.0], [3, 2, 0.7067]]
    assert first == second


def test_the_part_of_the_test_samples_is_a_part_of_what_was_measured(path: Path) -> None:
    rows = [replace(ROW, part=part, nonzero=0.5) for part in ("look", "final")]
    results.append(path, rows)
    assert results.read(path) == rows
    assert b'"part"' not in results.to_lines([ROW]).encode()


def test_a_line_ends_with_a_digest_of_itself(path: Path) -> None:
    results.append(path, [ROW])
    line = path.read_text()
    without = results.to_lines([ROW])
    digest = hashlib.sha256(without.rstrip("\n").encode()).hexdigest()[:16]
    assert line == without.replace("}\n", f', "check": "{digest}"}}\n')
    path.write_text(without)
    assert results.read(path) == [ROW]  # as earlier versions wrote it


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_one_flipped_bit_anywhere_is_noticed_or_changes_nothing(path: Path, step: int) -> None:
    """Every seventh bit, so that each place within a byte has its turn, or every one."""
    results.append(path, ROWS)
    whole = path.read_bytes()
    refused, bits = 0, range(0, 8 * len(whole), step)
    for bit in bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            rows = results.read(path)
        except UserError as error:
            refused += str(path) in str(error) and "\n" not in str(error)
        else:
            assert rows == ROWS
    assert refused > len(bits) - 300 / step  # but for the word "check" itself


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"correct": 5}, r"it says 5 correct of 10 and an accuracy of 0\.4"),
        ({"accuracy": 0.41}, r"it says 4 correct of 10 and an accuracy of 0\.41"),
        ({"n": 3, "accuracy": 4 / 3}, "it says 4 correct of 3"),
        ({"hits": "AAA="}, "its hits are not 4 of 10 samples"),
        ({"hits": "8A=="}, "its hits are not 4 of 10 samples"),
        ({"hits": "8AE="}, "its hits are not 4 of 10 samples"),
        ({"hits": "!"}, "base64|padding"),
        ({"hits": None}, "its hits is None, no text"),
        ({"n": -10, "correct": -4}, "its n is -10, no whole number from 0"),
        ({"n": 10.0}, r"its n is 10\.0, no whole number from 0"),
        ({"level": True}, "its level is True, no whole number"),
        ({"flops": "7"}, "its flops is '7', no whole number"),
        ({"loss": "high"}, "its loss is 'high', no finite number"),
        ({"density": 1.5}, r"its density is 1\.5, not between 0 and 1"),
        ({"ece": -0.1}, r"its ece is -0\.1, not between 0 and 1"),
        ({"nonzero": 1.5}, r"its nonzero is 1\.5, not between 0 and 1"),
        ({"run": 3}, "its run is 3, no text"),
        ({"bins": [[3, 4, 0.5]]}, "a bin has 4 correct of 3 samples"),
        ({"bins": [[3, 2, 7]]}, "a bin has the confidence 7"),
        ({"bins": [3]}, "int"),
        ({"check": "0" * 16, "later": 1}, "its digest `check` is not at its end"),
        ({"check": "0" * 16}, "it is not what its digest `check` was made of"),
    ],
)
def test_rows_that_contradict_themselves(path: Path, changes: dict[str, object], reason: str) -> None:
    values = {**json.loads(results.to_lines([ROW])), **changes}
    path.write_text(results.to_lines([replace(ROW, level=9)]) + json.dumps(values) + "\n")
    with pytest.raises(UserError, match=rf"results\.jsonl, line 2 is not a result row: .*({reason})") as error:
        results.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "9" * 5000, "[" * 9000, '1, "loss": 2'])
def test_numbers_that_are_none(path: Path, text: str) -> None:
    path.write_text(results.to_lines([ROW]).replace('"loss": 1.25', f'"loss": {text}'))
    with pytest.raises(UserError, match=r"line 1 is not a result row") as error:
        results.read(path)
    assert len(str(error.value)) < 400


def test_a_measurement_that_is_there_twice(path: Path) -> None:
    results.append(path, ROWS)
    results.append(path, [replace(ROW, loss=3.0)])
    with pytest.raises(UserError, match=r"line 4 is not a result row: it measures what line 1 does"):
        results.read(path)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_row_that_could_not_be_read_again_is_not_written(path: Path, loss: float) -> None:
    results.append(path, ROWS[:1])
    with pytest.raises(UserError, match=rf"^cannot write the row of average at level 2: its loss is {loss}, no finite"):
        results.append(path, [ROWS[1], replace(ROW, loss=loss)])
    assert results.read(path) == ROWS[:1]


def test_a_file_that_holds_far_more_than_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """610 kB once became more than 15 GB."""
    path = tmp_path / "results.jsonl.xz"
    path.write_bytes(lzma.compress(b"\n" * 100_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"results\.jsonl\.xz holds more than 1,048,576 bytes, too many for a file of"):
        results.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    path.write_bytes(lzma.compress(results.to_lines(ROWS).encode()))
    assert results.read(path) == ROWS
    monkeypatch.setattr(results, "MAX_BYTES", 100)
    with pytest.raises(UserError, match=r"holds more than 100 bytes"):
        results.read(path)


def test_an_xz_file_of_several_parts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl.xz"
    path.write_bytes(b"".join(lzma.compress(results.to_lines([row]).encode()) for row in ROWS))
    assert results.read(path) == ROWS


@pytest.mark.parametrize(
    "changes",
    [{"seed": -1}, {"steps": [[1, "x"]]}, {"steps": [[1.5, 0.5]]}, {"steps": 3}, {"density": 2}],
)
def test_pools_of_wrong_types(tmp_path: Path, changes: dict[str, object]) -> None:
    pool = PoolRow(0, "average", 1, 0.8, ((2, 0.5),), 7)
    (tmp_path / "pools.jsonl").write_text(results.to_lines([pool]))
    assert results.read_pools(tmp_path / "pools.jsonl") == [pool]
    of_earlier_version = {**json.loads(results.to_lines([pool])), "optimism": 0.01}
    (tmp_path / "pools.jsonl").write_text(json.dumps(of_earlier_version) + "\n")
    assert results.read_pools(tmp_path / "pools.jsonl") == [pool]
    (tmp_path / "pools.jsonl").write_text(json.dumps({**json.loads(results.to_lines([pool])), **changes}) + "\n")
    with pytest.raises(UserError, match=r"pools\.jsonl is missing or damaged") as error:
        results.read_pools(tmp_path / "pools.jsonl")
    assert "\n" not in str(error.value)


def test_rows_of_another_metric_are_read_as_such_only(path: Path) -> None:
    rows = [METRIC, replace(METRIC, level=2)]
    results.append(path, rows)
    assert results.read_metrics(path) == rows
    with pytest.raises(UserError, match="line 1 is not a result row"):
        results.read(path)
    results.append(path, ROWS)
    with pytest.raises(UserError, match="line 3 is not a result row"):
        results.read_metrics(path)


def test_a_row_that_lost_its_digest_is_refused(path: Path) -> None:
    """Rows of old versions have none: these come first, and know nothing of the tensors they were measured on."""
    old, new = ROW, replace(ROW, level=ROW.level + 1)
    path.write_text(results.to_lines([old]))
    results.append(path, [new])
    assert results.read(path) == [old, new]
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(UserError, match="line 2 is not a result row: it lacks the digest"):
        results.read(path)
    path.write_text(results.to_lines([replace(new, tensors="0" * 16)]))
    with pytest.raises(UserError, match="line 1 is not a result row: it lacks the digest"):
        results.read(path)

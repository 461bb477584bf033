"""Damaged files of every kind are refused with one line, or read with the content that they had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults import kinds, mutations
from tests.faults.changes import ANY, Random
from tests.faults.kind import Kind
from tests.faults.kinds import KINDS
from tests.faults.mutations import Counts

NAMES = [kind.name for kind in KINDS]


def check(counts: Counts, kind: Kind) -> None:
    assert counts.failures == []
    assert counts.wrongly_accepted == counts.tracebacks == 0
    assert counts.seconds < mutations.MOST_SECONDS
    assert counts.megabytes < mutations.MOST_MEGABYTES
    assert counts.tried == counts.unchanged + counts.refused + counts.shortened + counts.unsigned
    assert kind.may_be_cut or not counts.shortened


@pytest.fixture(scope="module", params=KINDS, ids=NAMES)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Kind, Path, bytes, Any]:
    """A kind of file, the path of one, its content, and what it holds."""
    kind: Kind = request.param
    path = tmp_path_factory.mktemp("damaged") / kind.file_name
    path.parent.mkdir(exist_ok=True)
    kind.write(path)
    return kind, path, path.read_bytes(), kind.read(path)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_damage_is_noticed(original: tuple[Kind, Path, bytes, Any], seed: int) -> None:
    kind, path, content, expected = original
    changed, is_signed, _ = mutations.damaged(kind, content, Random(seed))
    counts = Counts()
    mutations.attempt(kind, path, changed, expected, is_signed, counts)
    check(counts, kind)


def tried(folder: Path, kind: Kind, files: int) -> Counts:
    counts = Counts()
    mutations.run(folder, kind, range(files), counts)
    return counts


def test_a_reader_that_trusts_its_file_is_found_out(tmp_path: Path) -> None:
    """The harness can fail: a reader that takes everything accepts what it should not, or raises what it should not."""
    trusting = Kind("trusting", kinds.write_ticket, Path.read_bytes)
    assert tried(tmp_path, trusting, 50).wrongly_accepted > 20
    careless = Kind("careless", kinds.write_published_pools, lambda path: path.read_bytes().decode("ascii"))
    assert tried(tmp_path, careless, 50).tracebacks > 0


def test_a_harness_that_goes_on_counts_the_same(tmp_path: Path) -> None:
    whole, parts = tried(tmp_path, KINDS[3], 30), Counts()
    for numbers in (range(12), range(12, 30)):
        mutations.run(tmp_path, KINDS[3], numbers, parts)
    assert (whole.tried, whole.refused, whole.unsigned) == (parts.tried, parts.refused, parts.unsigned)


def test_every_change_can_be_made(tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        path = tmp_path / str(number) / kind.file_name
        path.parent.mkdir(parents=True)
        kind.write(path)
        for change in (*ANY, *kind.changes):
            assert any(change(path.read_bytes(), Random(n)) != path.read_bytes() for n in range(9)), change.__name__


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_thousands_of_damaged_files(tmp_path: Path, kind: Kind) -> None:
    check(tried(tmp_path, kind, 2000), kind)

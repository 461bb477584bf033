"""Decoding on several processes: the same file and the same answers as on one."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lottery_pools.data import workers
from lottery_pools.data.workers import Block, Failure, Outcome, Target, decode_block, outcomes
from lottery_pools.errors import UserError
from tests.image_sets import pixels, png

IMAGES = [png(image) for image in pixels(50)]
GREY = png(pixels(1, (8, 8))[0])


def target(folder: Path, n: int = len(IMAGES)) -> Target:
    path = folder / "images"
    path.write_bytes(bytes(5 + n * 8 * 8 * 3))
    return Target(path, 5, (3, 8, 8), None)


def blocks(images: list[bytes | str | None], size: int = 4) -> Iterator[Block]:
    for start in range(0, len(images), size):
        yield Block(start, images[start : start + size])


@pytest.mark.parametrize("processes", [1, 3])
def test_images_lie_in_the_file_in_their_order(tmp_path: Path, processes: int) -> None:
    all_outcomes = list(outcomes(target(tmp_path), blocks([*IMAGES]), processes))
    written = (tmp_path / "images").read_bytes()[5:]
    assert written == pixels(50).transpose(0, 3, 1, 2).tobytes()
    assert [outcome.count for outcome in all_outcomes] == [4] * 12 + [2]
    size = 4 * 8 * 8 * 3
    digests = [hashlib.sha256(written[start : start + size]).digest() for start in range(0, len(written), size)]
    assert [outcome.digest for outcome in all_outcomes] == digests


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_image_that_fails_is_reported_in_order(tmp_path: Path, processes: int) -> None:
    images: list[bytes | str | None] = [*IMAGES]
    images[41], images[22] = None, b"no image"
    failed = [outcome for outcome in outcomes(target(tmp_path), blocks(images), processes) if outcome.failure]
    assert [outcome.failure.index for outcome in failed if outcome.failure] == [22, 41]
    assert failed[0].failure == Failure(22, "cannot identify image file")


def test_few_blocks_are_read_ahead(tmp_path: Path) -> None:
    taken = []

    def counted() -> Iterator[Block]:
        for block in blocks([*IMAGES]):
            taken.append(block.first)
            yield block

    answers = outcomes(target(tmp_path), counted(), 2)
    next(answers)
    assert len(taken) <= 3
    answers.close()


def test_greyscale_fills_three_channels_and_other_shapes_fail(tmp_path: Path) -> None:
    place = target(tmp_path, 2)
    assert decode_block(place, Block(1, [GREY])).count == 1
    plane = pixels(1, (8, 8))[0].tobytes()
    assert place.path.read_bytes()[5 + 192 :] == 3 * plane
    wide = png(pixels(1, (8, 9, 3))[0])
    assert decode_block(place, Block(0, [wide])).failure == Failure(0, shape=(3, 8, 9))
    one_channel = Target(place.path, 5, (1, 8, 8), None)
    assert decode_block(one_channel, Block(0, [GREY, IMAGES[0]])).failure == Failure(1, shape=(3, 8, 8))


def test_a_file_that_cannot_be_written_is_told_from_a_damaged_image(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    outcome = decode_block(Target(Path("/dev/full"), 0, (3, 8, 8), None), Block(0, [IMAGES[0]]))
    assert outcome == Outcome(write_error=(errno.ENOSPC, "No space left on device"))


def test_a_process_that_dies_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "COMMAND", ("-c", "import sys; sys.stdin.buffer.read(1)"))
    with pytest.raises(UserError, match=r"ended while it was at images 0 to 3: it was killed") as caught:
        list(outcomes(target(tmp_path), blocks([*IMAGES]), 2))
    assert "\n" not in str(caught.value)

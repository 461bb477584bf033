"""The cache: what is read is what was written, or it is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lottery_pools.config.schema import Data
from lottery_pools.data import cache, decoding, npy
from lottery_pools.data.cache import DamagedCacheError, StoredSplit
from lottery_pools.data.sources import load
from lottery_pools.errors import UserError
from tests.image_sets import pixels, small


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(path))
    return path


def stored(folder: Path) -> Path:
    folder.mkdir()
    splits = {}
    for seed, name in enumerate(("train", "test")):
        images = pixels(5, (3, 4, 4), seed)
        np.save(folder / f"{name}.images.npy", images)
        splits[name] = StoredSplit(npy.digest(images), torch.arange(5) % 2)
    cache.write_index(folder, splits, ["cat", "dög"], ["a note"])
    return folder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    source = cache.read(stored(tmp_path / "set"))
    assert source.test is not None
    assert np.array_equal(source.test.stored.numpy(), pixels(5, (3, 4, 4), 1))
    assert source.train.labels.tolist() == [0, 1, 0, 1, 0]
    assert source.classes == ("cat", "dög")
    assert source.notes == ("a note",)
    assert len(source.digest) == 16


def flipped(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGE: list[Callable[[Path], object]] = [
    lambda folder: flipped(folder / "train.images.npy", -1),
    lambda folder: flipped(folder / "train.images.npy", 200),
    lambda folder: flipped(folder / "test.labels.npy", -8),
    lambda folder: flipped(folder / "test.images.npy", 60),
    lambda folder: flipped(folder / "index.json", 14),
    lambda folder: (folder / "index.json").write_bytes(b""),
    lambda folder: (folder / "index.json").write_bytes(b"[]"),
    lambda folder: (folder / "index.json").unlink(),
    lambda folder: (folder / "train.labels.npy").unlink(),
    lambda folder: os.truncate(folder / "train.images.npy", 250),
    lambda folder: np.save(folder / "train.images.npy", np.zeros((5, 3, 4, 5), np.uint8)),
    lambda folder: np.save(folder / "train.labels.npy", np.zeros(5)),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    folder = stored(tmp_path / "set")
    cache.read(folder)
    damage(folder)
    with pytest.raises(DamagedCacheError):
        cache.read(folder)


@given(st.sampled_from(["index.json", "train.images.npy", "test.labels.npy"]), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_is_read(tmp_path: Path, name: str, data: st.DataObject) -> None:
    folder = tmp_path / "set" if (tmp_path / "set").exists() else stored(tmp_path / "set")
    right = (folder / name).read_bytes()
    place = data.draw(st.integers(0, len(right) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != right[place]))
    (folder / name).write_bytes(right[:place] + bytes([value]) + right[place + 1 :])
    try:
        source = cache.read(folder)
    except DamagedCacheError:
        pass
    else:  # a byte that means nothing, such as a space of a header
        assert np.array_equal(source.train.stored.numpy(), pixels(5, (3, 4, 4), 0))
        assert source.classes == ("cat", "dög")
    finally:
        (folder / name).write_bytes(right)


def test_a_damaged_cache_is_made_again_and_that_is_said(tmp_path: Path, cache_folder: Path) -> None:
    data = Data(name=str(small(tmp_path / "set")), validation=6)
    first = load(data)
    images = first.test.images.clone()  # its own are the file, memory-mapped, which is about to be damaged
    (folder,) = cache_folder.iterdir()
    flipped(folder / "test.images.npy", -1)
    remade = load(data)
    assert torch.equal(remade.test.images, images)
    assert remade.digest == first.digest
    (note,) = remade.notes
    assert note == f"the cache {folder} was damaged, and is made again (test.images.npy is not what was written)"
    assert load(data).notes == ()
    assert list(cache_folder.iterdir()) == [folder]


def test_each_file_is_compared_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stored(tmp_path / "set")
    cache.read(folder)
    monkeypatch.setattr(npy, "digest", None)
    cache.read(folder)


def test_large_arrays_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    folder = stored(tmp_path / "set")
    flipped(folder / "test.images.npy", -1)
    source = cache.read(folder, large=100)
    assert source.notes == (
        "a note",
        f"{folder}/train.images.npy was not compared with its digest: it is large",
        f"{folder}/test.images.npy was not compared with its digest: it is large",
    )
    flipped(folder / "test.labels.npy", -8)
    with pytest.raises(DamagedCacheError, match=r"test\.labels\.npy is not what was written"):
        cache.read(folder, large=100)


def test_a_cache_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stored(tmp_path / "set")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match=f"cannot remove the damaged cache {folder}: Permission denied; remove it"):
        cache.remove(folder)


def test_a_disk_that_cannot_hold_the_images_is_noticed_before_they_are_decoded(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(name=str(small(tmp_path / "set")), validation=6)
    monkeypatch.setattr(decoding, "_first_shape", lambda *_: (3, 1 << 17, 1 << 17))
    with pytest.raises(
        UserError, match=r"cannot write to the cache .*: the images need 1.55e\+03 GB, .* free some space"
    ):
        load(data)
    assert list(cache_folder.iterdir()) == []


def test_digests_follow_the_pixels_and_the_labels(tmp_path: Path) -> None:
    folder = small(tmp_path / "set")
    first = load(Data(name=str(folder), validation=6))
    subset = load(Data(name=str(folder), validation=4, train=5, test=4, seed=3))
    assert subset.digest == first.digest
    assert load(Data(name=str(folder), validation=6, size=4)).digest != first.digest
    assert load(Data(name=str(small(folder, train=22)), validation=6)).digest != first.digest

"""The cache of decoded images: when it is read, and when it is written anew."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
import torch

from lottery_pools.config.schema import Data
from lottery_pools.data import decoding
from lottery_pools.data.dataset import Dataset
from lottery_pools.data.sources import load
from lottery_pools.errors import UserError
from tests.image_sets import pixels, png, small


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(path))
    return path


def test_the_second_load_reads_the_cache_and_follows_the_content(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small(tmp_path / "set")
    settings = Data(name=str(folder), validation=6)
    first = load(settings)
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "datasets", None)
        second = load(settings)
        (folder.parent / "moved").mkdir()
        moved = load(Data(name=str(folder.rename(folder.parent / "moved" / "set")), validation=6))
    for data in (second, moved):
        assert torch.equal(first.train.images, data.train.images)
        assert first.classes == data.classes
    changed = load(Data(name=str(small(folder, train=22)), validation=6))
    assert len(changed.train) == 16
    load(Data(name=str(folder), validation=6, size=4))
    assert len(list(cache.iterdir())) == 3


def test_several_labels_a_sample_are_cached_apart_from_classes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number, image in enumerate(pixels(12)):
        (folder / f"{number}.png").write_bytes(png(image))
    lines = [f"{number}.png,{number % 2},{number / 4}" for number in range(12)]
    (folder / "labels.csv").write_text("\n".join(["file_name,odd,size", *lines]))
    settings = Data(name=str(folder), validation=4, test=3, task="regression")
    first = load(settings)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode", None)
        second = load(settings)
    for data in (first, second):
        assert data.classes == ("odd", "size")
        assert data.train.labels.dtype == torch.float32
        assert data.train.labels.shape == (5, 2)
    assert torch.equal(first.train.labels, second.train.labels)
    both = torch.cat([first.train.labels, first.validation.labels, first.test.labels])
    assert sorted(both[:, 1].tolist()) == [number / 4 for number in range(12)]
    only = load(Data(name=str(folder), validation=4, test=3, task="multi-label", label_column="odd"))
    assert only.classes == ("odd",)
    classes = load(Data(name=str(folder), validation=4, test=3, label_column="odd"))
    assert classes.train.labels.dtype == torch.int64
    assert len(list(cache.iterdir())) == 3


def test_a_table_has_one_label_a_sample(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a table with one column of labels, data\.task is regression"):
        load(Data(name=str(small(tmp_path / "set")), validation=6, task="regression"))


def test_a_cache_that_cannot_be_written(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"cannot write to the cache .*; set LOTTERY_POOLS_CACHE"):
        load(Data(name=str(small(tmp_path / "set")), validation=6))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "set LOTTERY_POOLS_CACHE to another folder"),
        (errno.EIO, "remove the cause"),
    ],
)
def test_the_advice_on_a_cache_that_cannot_be_written_fits_the_reason(
    number: int, advice: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(decoding, "decode", fail)
    with pytest.raises(UserError, match=f"cannot write to the cache {cache}: {os.strerror(number)}; {advice}"):
        load(Data(name=str(small(tmp_path / "set")), validation=6))
    assert list(cache.iterdir()) == []


@pytest.mark.slow
def test_the_whole_of_cifar100_and_its_cache(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Data(name=str(real_data / "cifar100"))

    def check(data: Dataset) -> None:
        assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5000, 10_000)
        assert data.validation.labels.bincount().tolist() == [50] * 100
        assert (data.mean / 255 - torch.tensor([0.507, 0.487, 0.441])).abs().max() < 0.002

    check(load(settings))
    monkeypatch.setattr(decoding, "decode", None)  # the second time the cache answers
    check(load(settings))

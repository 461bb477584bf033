"""Finding image sets: which files belong to which split, what identifies their content, and what is missing."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet as parquet_files

from lottery_pools.config.schema import Data
from lottery_pools.data import arrow_tables, decoding, finding, image_tables
from lottery_pools.data.sources import load
from lottery_pools.errors import UserError
from tests.image_sets import CAT_DOG, classes, datasets, image_folder, parquet, pixels, png, small


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(path))
    return path


def test_sharded_parquet_in_a_data_folder_and_a_val_split(tmp_path: Path) -> None:
    for shard in range(2):
        path = tmp_path / "set" / "data" / f"train-0000{shard}-of-00002.parquet"
        parquet(path, pixels(4, seed=shard), label=([0, 1, 0, 1], classes(*CAT_DOG)))
    parquet(tmp_path / "set" / "data" / "val.parquet", pixels(2, seed=9), label=([0, 1], classes(*CAT_DOG)))
    data = load(Data(name=str(tmp_path / "set"), validation=2))
    assert (len(data.train), len(data.test)) == (6, 2)


def test_class_folders_named_like_splits_do_not_leak_test_images(tmp_path: Path) -> None:
    data = load(Data(name=str(image_folder(tmp_path / "set [1]", "bus", "test", "train")), validation=3))
    assert data.classes == ("bus", "test", "train")
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 3, 12)
    original = torch.from_numpy(np.concatenate([pixels(4, seed=10 + k) for k in range(3)])).permute(0, 3, 1, 2)
    assert torch.equal(data.test.images, original)


def test_files_that_take_long_to_read_are_told_apart_by_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "LARGE", 100)
    monkeypatch.setattr(finding, "digest", None)
    folder = image_folder(tmp_path / "set", *CAT_DOG)
    settings = Data(name=str(folder), validation=2)
    first = load(settings)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode", None)
        load(settings)
    (folder / "test" / "cat" / "0.png").write_bytes(png(pixels(1, seed=99)[0]))
    assert not torch.equal(load(settings).test.images[0], first.test.images[0])


def test_files_are_read_alike_by_pyarrow_and_from_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "set"
    for shard in range(2):
        images = pixels(4, seed=shard)
        parquet(folder / f"train-{shard}.parquet", images, label=([0, 1, 0, 1], classes(*CAT_DOG)))
    files = image_tables.parquet_files(folder)
    tables = [image_tables.open_parquet(files, folder, tmp_path / "scratch")["train"]]
    assert not (tmp_path / "scratch").exists()
    monkeypatch.setattr(arrow_tables, "read", lambda descriptions: None)
    tables.append(image_tables.open_parquet(files, folder, tmp_path / "scratch")["train"])
    assert [type(table).__name__ for table in tables] == ["ArrowTable", "DatasetsTable"]
    assert tables[0].columns == tables[1].columns
    samples = [image_tables.encoded({"train": table}, Data(name=str(folder))).train for table in tables]
    assert samples[0].labels == samples[1].labels
    assert list(samples[0].images.blocks(3)) == list(samples[1].images.blocks(3))
    assert len(samples[0].images) == len(samples[1].images) == 8


def test_damage_within_a_file_is_named(tmp_path: Path) -> None:
    path = small(tmp_path / "set") / "train.parquet"
    content = bytearray(path.read_bytes())
    content[20:400] = bytes(380)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train.parquet .*: replace or remove it|cannot read the columns"):
        load(Data(name=str(tmp_path / "set"), validation=6))


def test_a_parquet_file_that_contradicts_itself_about_its_rows_is_refused(tmp_path: Path) -> None:
    """A bit of the description was flipped: the file says that it has another number of rows than its parts have."""
    path = small(tmp_path / "set") / "train.parquet"
    content = path.read_bytes()
    whole = arrow_tables.describe(path)
    contradictions = 0
    for place in range(len(content) - whole.serialized_size - 8, len(content) - 8):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            said = parquet_files.read_metadata(path)
            parts = sum(said.row_group(group).num_rows for group in range(said.num_row_groups))
        except Exception:
            continue
        if said.num_rows != parts:
            contradictions += 1
            with pytest.raises(UserError, match=f"it counts {said.num_rows} rows, its parts count {parts}"):
                load(Data(name=str(tmp_path / "set"), validation=6))
    assert contradictions >= 2  # of the whole, and of its only part


def test_names_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown data set 'cifar1000': did you mean 'cifar100'"):
        load(Data(name="cifar1000"))
    with pytest.raises(UserError, match=r"data.name is \./cifar: there is no such folder"):
        load(Data(name="./cifar"))

    def unreachable(name: str) -> None:
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        UserError, match=r"hub does not give uoft-cs/cifar10 .*Couldn't reach .*give as data.name a folder"
    ):
        load(Data(name="cifar10"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"image data need datasets: pip install 'lottery-pools\[data\]'"):
        load(Data(name="cifar10"))


def test_a_disk_that_is_full_is_not_taken_for_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str, **_: Any) -> None:
        raise datasets.exceptions.DatasetGenerationError from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(datasets, "load_dataset", full)
    monkeypatch.setattr(arrow_tables, "read", lambda descriptions: None)  # else nothing is copied
    with pytest.raises(UserError, match=r"cannot write the copy of the images .*: No space left on device; free some"):
        load(Data(name=str(small(tmp_path / "set")), validation=6))


def truncated(folder: Path) -> Path:
    path = small(folder) / "train.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (empty, {}, "has no train split: give"),
        (truncated, {}, "cannot read the files in .*set"),
    ],
)
def test_files_that_are_missing_or_damaged_are_named_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(Data(**{"name": str(make(tmp_path / "set")), "validation": 6, **settings}))
    assert "\n" not in str(caught.value)

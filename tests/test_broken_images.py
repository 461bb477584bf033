"""A generated folder of ImageNet's layout: photographs of every kind, and files that cannot be read."""

from __future__ import annotations

import functools
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lottery_pools.cli import commands
from lottery_pools.config.schema import Data
from lottery_pools.data import npy, sources
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError
from lottery_pools.tickets import files
from tests.image_sets import datasets, pixels

CLASSES = 60


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train/nXXXXXXXX/….JPEG` and `val/…`: several sizes, one in four CMYK, grey or turned by EXIF; some damaged."""
    root = tmp_path_factory.mktemp("imagenet")
    for split, each in (("train", 4), ("val", 1)):
        for number in range(CLASSES):
            folder = root / split / f"n{number:08}"
            folder.mkdir(parents=True)
            for copy in range(each):
                (folder / f"{folder.name}_{copy}.JPEG").write_bytes(photograph(number, copy))
    for number, content in enumerate((b"", b"not an image", photograph(0, 0)[:200])):
        (root / "train" / f"n{number:08}" / f"n{number:08}_{number}.JPEG").write_bytes(content)
    (root / "val" / "n00000007" / "n00000007_1.JPEG").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    return root


@pytest.fixture
def thousand_classes(tmp_path: Path) -> Path:
    """The same layout with as many classes as ImageNet has; of every hundredth, one of two training images is empty."""
    root = tmp_path / "imagenet"
    for split, each in (("train", 2), ("val", 1)):
        for number in range(1000):
            folder = root / split / f"n{number:08}"
            folder.mkdir(parents=True)
            for copy in range(each):
                empty = split == "train" and copy == 0 and number % 100 == 0
                (folder / f"{folder.name}_{copy}.JPEG").write_bytes(b"" if empty else photograph(number % 64, copy))
    return root


@functools.cache
def photograph(number: int, copy: int) -> bytes:
    """A JPEG of its own size, brighter from class to class; of its four kinds one is plain colour."""
    height, width = 30 + number % 7, 40 + 5 * copy
    image = Image.fromarray(pixels(1, (height, width, 3), seed=number)[0] // 8 + np.uint8(3 * number))
    options: dict[str, Any] = {}
    match (number + copy) % 4:
        case 1:
            image = image.convert("CMYK")
        case 2:
            image = image.convert("L")
        case 3:
            exif = Image.Exif()
            exif[0x0112] = 6  # turned by a quarter
            options["exif"] = exif
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def table(folder: Path, broken: dict[str, Any] | None) -> Path:
    """Parquet files of 40 and 20 images, in which row 17 of train cannot be read."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    folder.mkdir()
    for split, n in (("train", 40), ("test", 20)):
        cells: list[Any] = [{"bytes": photograph(i, 0), "path": None} for i in range(n)]
        if split == "train":
            cells[17] = broken
        columns = {"image": cells, "label": [i % 2 for i in range(n)]}
        datasets.Dataset.from_dict(columns, features).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("broken", [None, {"bytes": photograph(9, 0)[:150], "path": None}], ids=["null", "cut short"])
def test_a_row_of_a_table_is_refused_by_its_number_or_left_out_if_asked(
    tmp_path: Path, broken: dict[str, Any] | None
) -> None:
    data = Data(name=str(table(tmp_path / "set", broken)), size=16, validation=5)
    with pytest.raises(UserError, match=r"remove row 17 .*, or leave it out with --data\.broken leave-out-rows$"):
        sources.load(data)
    dataset = sources.load(replace(data, broken="leave-out-rows"))
    assert len(dataset.train) + len(dataset.validation) == 39
    labels = torch.cat((dataset.train.labels, dataset.validation.labels))
    assert int((labels == 1).sum()) == 19
    (note,) = (note for note in dataset.notes if "left out" in note)
    assert note.startswith("1 image that cannot be read left out: row 17 ")
    with pytest.raises(UserError, match="remove row 17 "):  # what was decoded so is not taken for the others' wish
        sources.load(data)


@pytest.fixture(autouse=True)
def image_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path_factory.getbasetemp() / "imagenet-cache"))


def loaded(root: Path) -> Dataset:
    return sources.load(Data(name=str(root), size=56, resized_crop=True, validation=30))


def test_what_cannot_be_read_is_counted_named_and_left_out(imagenet: Path) -> None:
    data = loaded(imagenet)
    assert len(data.train) + len(data.validation) == 4 * CLASSES - 3
    assert (len(data.test), len(data.classes), data.input_shape) == (CLASSES, CLASSES, (3, 56, 56))
    counted, listed = data.notes[-1].split(" (all are listed in ")
    assert counted.startswith("4 images that cannot be read left out: ")
    assert f"{imagenet}/train/n00000000/n00000000_0.JPEG of train: " in counted
    assert counted.endswith(" and 1 more")
    lines = Path(listed.removesuffix(")")).read_text().splitlines()
    assert [line.split(" of ")[0].rpartition("/")[2] for line in lines] == [
        "n00000000_0.JPEG", "n00000001_1.JPEG", "n00000002_2.JPEG", "n00000007_1.JPEG",
    ]  # fmt: skip
    assert loaded(imagenet).notes == data.notes, "read from the cache"


def test_every_image_keeps_its_class(imagenet: Path) -> None:
    data = loaded(imagenet)
    for split in (data.train, data.validation, data.test):
        # Class n has values from 3 n to 3 n + 31. JPEG and CMYK move them a little.
        number = (split.images.double().mean((1, 2, 3)) - 15.5) / 3
        assert (number - split.labels).abs().max() < 4
        assert split.labels.bincount(minlength=CLASSES).min() >= (0 if split is data.validation else 1)


def test_the_first_is_refused_if_asked_for(imagenet: Path) -> None:
    data = Data(name=str(imagenet), size=56, resized_crop=True, validation=30, broken="refuse")
    with pytest.raises(UserError, match=r"has an image in train that cannot be read: .*; replace or remove .*_0.JPEG"):
        sources.load(data)


def test_a_set_that_is_mostly_damaged_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(6):
            (tmp_path / name / f"{number}.jpeg").write_bytes(
                photograph(number, 0) if number > 1 else b"\xff\xd8\xff damaged"
            )
    with pytest.raises(UserError, match=r"has an image in train that cannot be read.*: .*; replace or remove"):
        sources.load(Data(name=str(tmp_path), size=16, validation=2))


@pytest.mark.parametrize("dropped", [[0], [3, 4, 150], [199], [*range(0, 200, 3)]])
def test_rows_are_dropped_in_place(tmp_path: Path, dropped: list[int]) -> None:
    array = torch.arange(200 * 6).reshape(200, 2, 3).numpy()
    np.save(tmp_path / "rows.npy", array)
    npy.drop_rows(tmp_path / "rows.npy", dropped)
    assert np.array_equal(npy.open_array(tmp_path / "rows.npy"), np.delete(array, dropped, axis=0))
    assert np.array_equal(np.load(tmp_path / "rows.npy"), np.delete(array, dropped, axis=0))


def test_the_imagenet_preset_runs_on_a_thousand_classes(
    thousand_classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--limit 8 --data.size 56 --model.arguments.width 4 --pruning.levels 1 --pooling.methods average"
    words += " --evaluation.corruptions fog --evaluation.severities 3 --workers 1 --threads 1 --quiet --json"
    with pytest.warns(match="^1 image that cannot be read left out"):  # of ten, the one among those drawn
        commands.dispatch(
            [
                "run",
                "--preset",
                "imagenet-resnet18",
                "--data.name",
                str(thousand_classes),
                "--out",
                str(tmp_path / "run"),
                *words.split(),
            ]
        )
    outcome = json.loads(capsys.readouterr().out)
    assert {"average", "ensemble"} < {gain["method"] for gain in outcome["gains"]}
    ticket = files.read_metadata(tmp_path / "run/pools/average/level_01.safetensors")
    assert ticket["origin"]["model"]["classes"] == 1000

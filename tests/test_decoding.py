"""Decoding image sets: pixels, sizes, columns and labels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lottery_pools.config.schema import Data
from lottery_pools.data import decoding
from lottery_pools.data.sources import load
from lottery_pools.errors import UserError
from tests.image_sets import CAT_DOG, Image, classes, datasets, image_folder, parquet, pixels, png, rows, small


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(path))
    return path


def test_greyscale_stays_one_channel_and_joins_colour_as_three(tmp_path: Path) -> None:
    grey = image_folder(tmp_path / "grey", *CAT_DOG, shape=(8, 8))
    data = load(Data(name=str(grey), validation=2))
    assert data.input_shape == (1, 8, 8)
    (grey / "train" / "dog" / "3.png").write_bytes(png(pixels(1)[0]))
    mixed = load(Data(name=str(grey), validation=2))
    assert mixed.input_shape == (3, 8, 8)
    assert torch.equal(mixed.test.images, data.test.images.expand(-1, 3, -1, -1))
    assert torch.from_numpy(pixels(1)[0]).permute(2, 0, 1).numpy().tobytes() in (
        rows(mixed.train.images) | rows(mixed.validation.images)
    )


def test_shrinking_by_a_whole_factor_averages_areas(tmp_path: Path) -> None:
    data = load(Data(name=str(small(tmp_path / "set")), validation=2, size=4))
    blocks = pixels(10, seed=1).reshape(10, 4, 2, 4, 2, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    assert np.abs(data.test.images.numpy() - blocks).max() <= 0.5


def test_other_sizes_are_bilinear_on_the_central_square(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 240, 20, dtype=np.uint8)[:, None], (1, 20))  # 12 × 20, brighter downwards
    for split in ("train", "test"):
        image_count = 4
        labels = [i % 2 for i in range(image_count)]
        parquet(tmp_path / f"{split}.parquet", [ramp] * image_count, label=(labels, classes(*CAT_DOG)))
    data = load(Data(name=str(tmp_path), validation=2, size=8))
    assert data.input_shape == (1, 8, 8)
    image = data.test.images[0, 0].float()
    assert (image == image[:, :1]).all()
    torch.testing.assert_close(image[1:-1, 0], (torch.arange(8) * 30.0 + 5)[1:-1], atol=1.0, rtol=0)


def test_columns_can_be_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        parquet(
            tmp_path / f"{split}.parquet",
            pixels(6),
            fine=([0, 1, 2] * 2, classes("a", "b", "c")),
            coarse=([0, 1, 0] * 2, classes(*CAT_DOG)),
        )
    assert load(Data(name=str(tmp_path), validation=2, label_column="coarse")).classes == CAT_DOG
    with pytest.raises(
        UserError, match=r"has 2 label columns \(fine, coarse\): name the one to use in data.label_column"
    ):
        load(Data(name=str(tmp_path), validation=2))
    with pytest.raises(UserError, match=r"unknown column in .*: did you mean 'coarse'"):
        load(Data(name=str(tmp_path), validation=2, label_column="corse"))
    with pytest.raises(UserError, match=r"data.label_column is 'img', which holds no integers"):
        load(Data(name=str(tmp_path), validation=2, label_column="img"))


def test_integers_serve_as_labels(tmp_path: Path) -> None:
    for split in ("train", "test"):
        parquet(tmp_path / f"{split}.parquet", pixels(6), digit=([0, 1, 2] * 2, datasets.Value("int32")))
    assert load(Data(name=str(tmp_path), validation=3)).classes == ("0", "1", "2")


def test_hub_sets_skip_a_test_split_whose_labels_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def table(labels: list[int], seed: int) -> Any:
        values = {
            "img": [{"bytes": png(image), "path": None} for image in pixels(len(labels), seed=seed)],
            "label": labels,
        }
        features = datasets.Features({"img": datasets.Image(), "label": classes(*CAT_DOG)})
        return datasets.Dataset.from_dict(values, features)

    tables = {"train": table([0, 1] * 4, 0), "validation": table([0, 1], 1), "test": table([-1, -1, -1], 2)}
    tables["unsupervised"] = tables["train"].remove_columns("label")
    monkeypatch.setattr(datasets, "load_dataset", lambda name: tables)
    data = load(Data(name="someone/something", validation=2))
    assert data.test.labels.tolist() == [0, 1]
    monkeypatch.setattr(decoding, "decode", None)  # the second time the cache answers
    assert torch.equal(load(Data(name="someone/something", validation=2)).train.images, data.train.images)


def test_real_cifar100_rows_have_the_pixels_that_pillow_reads(real_data: Path, tmp_path: Path) -> None:
    from pyarrow import parquet as pq

    table = pq.read_table(real_data / "cifar100" / "test.parquet").slice(0, 2000)
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    data = load(Data(name=str(tmp_path), validation=500))
    assert data.input_shape == (3, 32, 32)
    assert (len(data.classes), data.classes[0], data.classes[-1]) == (100, "apple", "worm")
    assert data.test.labels.tolist() == table["fine_label"].to_pylist()
    for i in (0, 999, 1000, 1999):
        image = np.asarray(Image.open(io.BytesIO(table["img"][i].as_py()["bytes"])).convert("RGB"))
        assert (data.test.images[i].permute(1, 2, 0).numpy() == image).all()


def broken(
    folder: Path, train: list[int | None], test: list[int | None], train_names: Any = CAT_DOG, test_names: Any = CAT_DOG
) -> Path:
    for split, labels, names in (("train", train, train_names), ("test", test, test_names)):
        feature = classes(*names) if names else datasets.Value("int64")
        parquet(folder / f"{split}.parquet", pixels(len(labels)), label=(labels, feature))
    return folder


def not_an_image(folder: Path) -> Path:
    (image_folder(folder, *CAT_DOG) / "test" / "cat" / "0.png").write_bytes(b"no image")
    return folder


def unequal(folder: Path) -> Path:
    (image_folder(folder, *CAT_DOG) / "train" / "dog" / "1.png").write_bytes(png(pixels(1, (9, 8, 3))[0]))
    return folder


def unequal_test(folder: Path) -> Path:
    for i, split in enumerate(("train", "test")):
        parquet(folder / f"{split}.parquet", pixels(4, (8 + i, 8, 3)), label=([0, 1] * 2, classes(*CAT_DOG)))
    return folder


def other_column(folder: Path) -> Path:
    parquet(small(folder) / "test.parquet", pixels(4), digit=([0, 1] * 2, classes(*CAT_DOG)))
    return folder


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (other_column, {}, "has no column label in its test split"),
        (not_an_image, {"broken": "refuse"}, "has an image in test that cannot be read: cannot identify image file"),
        (unequal, {}, "has images of 8×8 and 9×8 pixels: bring them to one size with data.size"),
        (unequal_test, {}, "has images of 8×8 and 9×8 pixels: bring them to one size with data.size"),
        (lambda f: broken(f, [0, 1] * 4, [0, 1], CAT_DOG, ("cat", "cow")), {}, "other class names in its test split"),
        (lambda f: broken(f, [0, 1] * 4, [0, 2], None, None), {}, "label 2 in its test split: give labels 0 to 1"),
        (lambda f: broken(f, [0, -1] * 4, [0, 0], None, None), {}, "label -1 in its train split: give labels 0 to 0"),
        (lambda f: broken(f, [0, None] * 4, [0, 0]), {}, "label -1 in its train split: give labels 0 to 1"),
        (lambda f: broken(f, [0, 1] * 4, [0, 0]), {}, "2 classes in train, 1 in test: class 'dog' is in one of them"),
        (lambda f: broken(f, [0, 1] * 4, [-1, -1], None, None), {}, "has no test split"),
    ],
)
def test_a_mistake_in_the_images_is_one_line_that_says_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(Data(**{"name": str(make(tmp_path / "set")), "validation": 6, **settings}))
    assert "\n" not in str(caught.value)

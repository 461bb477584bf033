"""Image folders: which files are samples, and of which class, whatever the folders look like."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from lottery_pools.data import image_folders
from lottery_pools.data.encoded import EncodedSet, EncodedSplit, ImageFiles
from lottery_pools.data.labels import CELLS
from lottery_pools.errors import UserError
from tests.image_sets import png

Samples = dict[str, int | str | None]


def make(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(np.full((2, 2), number % 256, np.uint8)))
    return root


def folders(root: Path, split: str, classes: str = "ab", n: int = 2) -> Path:
    return make(root, *(f"{split}/{name}/{number}.png" for name in classes for number in range(n)))


def samples(root: Path, split: EncodedSplit | None) -> Samples:
    assert split is not None
    assert isinstance(split.images, ImageFiles)
    names = (str(file.relative_to(root)) for file in split.images.files)
    return dict(zip(names, split.labels.values, strict=True))


def read(root: Path, label_column: str | None = None) -> tuple[Samples, Samples | None, tuple[str, ...]]:
    encoded: EncodedSet = image_folders.read(root, label_column)
    test = samples(root, encoded.test) if encoded.test is not None else None
    return samples(root, encoded.train), test, encoded.notes


def test_folders_of_classes_below_folders_of_splits(tmp_path: Path) -> None:
    train, test, notes = read(folders(folders(tmp_path, "train"), "test"))
    assert train == {"train/a/0.png": "a", "train/a/1.png": "a", "train/b/0.png": "b", "train/b/1.png": "b"}
    assert test == {name.replace("train", "test"): label for name, label in train.items()}
    assert notes == ()


@pytest.mark.parametrize(
    ("train", "test"),
    [("training", "testing"), ("Train", "VAL"), ("train", "valid"), ("train", "eval"), ("train2017", "val2017")],
)
def test_splits_have_many_names(tmp_path: Path, train: str, test: str) -> None:
    training, held_out, notes = read(folders(folders(tmp_path, train), test))
    assert len(training) == 4
    assert held_out is not None
    assert set(held_out) == {f"{test}/{name}/{number}.png" for name in "ab" for number in range(2)}
    assert notes == ()


def test_of_several_test_splits_the_first_is_used_and_the_other_named(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        folders(tmp_path, split)
    _, test, notes = read(tmp_path)
    assert test is not None
    assert all(name.startswith("test/") for name in test)
    assert notes == ("the split val (4 samples) is not used: validation samples are drawn from the training samples",)


def test_a_test_split_whose_labels_are_hidden_makes_way(tmp_path: Path) -> None:
    folders(folders(tmp_path, "train"), "val")
    make(tmp_path, "test/images/0.png", "test/images/1.png")
    _, test, notes = read(tmp_path)
    assert test is not None
    assert all(name.startswith("val/") for name in test)
    assert notes == ("the split test is not used: it has no labels",)


def test_without_a_test_split_there_is_none(tmp_path: Path) -> None:
    assert read(folders(tmp_path, "train"))[1] is None
    train, test, _ = read(make(tmp_path / "flat", "a/0.png", "b/0.png", "b/1.png"))
    assert train == {"a/0.png": "a", "b/0.png": "b", "b/1.png": "b"}
    assert test is None


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    train, test, notes = read(make(tmp_path, "bus/0.png", "train/0.png", "car/0.png"))
    assert train == {"bus/0.png": "bus", "car/0.png": "car", "train/0.png": "train"}
    assert (test, notes) == (None, ())


@pytest.mark.parametrize("name", ["__background__", "_", "[a]", "a*?", "a b", "ends.", "été", "-x", "train", "$(x)"])
def test_odd_names_of_classes_are_names(tmp_path: Path, name: str) -> None:
    for split in ("train", "test"):
        make(tmp_path, f"{split}/{name}/0.png", f"{split}/cat/0.png")
    train, _, notes = read(tmp_path)
    assert train == {f"train/{name}/0.png": name, "train/cat/0.png": "cat"}
    assert notes == ()


def test_what_lies_deeper_belongs_to_the_class_above_and_that_is_said(tmp_path: Path) -> None:
    make(folders(tmp_path, "train"), "train/a/pug/0.png", "train/b/manx/x/0.png")
    train, _, notes = read(tmp_path)
    assert train["train/a/pug/0.png"] == "a"
    assert train["train/b/manx/x/0.png"] == "b"
    assert notes == ("images in folders below a class are of that class (a/pug, b/manx)",)


def test_everything_left_out_is_counted_and_named(tmp_path: Path) -> None:
    make(folders(tmp_path, "train"), "train/loose.png", "train/.thumbs/0.png", "extra/0.png")
    (tmp_path / "train" / "a" / "metadata.csv").write_text("file_name,age\n0.png,1\n1.png,2\n")
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "train" / "labels.csv").write_text("file_name,label\n")
    train, _, notes = read(tmp_path)
    assert sorted(train) == ["train/a/0.png", "train/a/1.png", "train/b/0.png", "train/b/1.png"]
    assert sorted(notes) == [
        "left out: 1 files that are no images (train/a/metadata.csv)",
        "left out: 1 folders with images of no split (extra)",
        "left out: 1 folders without images (train/empty)",
        "left out: 1 hidden files or folders (train/.thumbs)",
        "left out: 1 images outside class folders (train/loose.png)",
        "train/labels.csv is not read: the class of an image is its folder",
    ]


def write_labels(path: Path, rows: Mapping[str, object], **columns: Mapping[str, object]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "label", *columns])
        table.writerows([name, label, *(values[name] for values in columns.values())] for name, label in rows.items())


def test_a_label_file_names_the_classes_of_a_flat_set(tmp_path: Path) -> None:
    for split in ("train", "val"):
        make(tmp_path, *(f"{split}/images/{number}.png" for number in range(4)))
        write_labels(tmp_path / split / "labels.csv", {f"{number}.png": "ab"[number % 2] for number in range(3)})
    train, test, notes = read(tmp_path)
    assert train == {"train/images/0.png": "a", "train/images/1.png": "b", "train/images/2.png": "a"}
    assert test == {name.replace("train", "val"): label for name, label in train.items()}
    assert notes == (
        "the classes of train are read from train/labels.csv",
        "left out: 1 images that labels.csv does not name (train/images/3.png)",
        "the classes of val are read from val/labels.csv",
        "left out: 1 images that labels.csv does not name (val/images/3.png)",
    )


def test_one_label_file_may_name_the_images_of_all_splits(tmp_path: Path) -> None:
    make(tmp_path, *(f"{split}/{number}.png" for split in ("train", "test") for number in range(2)))
    rows = {f"{split}/{number}.png": 10 - number for split in ("train", "test") for number in range(2)}
    write_labels(tmp_path / "labels.csv", rows)
    train, test, _ = read(tmp_path)
    assert train == {"train/0.png": 10, "train/1.png": 9}  # numbers, so that 9 comes before 10
    assert test == {"test/0.png": 10, "test/1.png": 9}


def test_a_label_file_may_say_the_split(tmp_path: Path) -> None:
    make(tmp_path, *(f"images/{number}.png" for number in range(4)))
    splits = ("train", "Training-0", "test", "val")
    rows = {f"{number}.png": "ab"[number % 2] for number in range(4)}
    write_labels(tmp_path / "labels.csv", rows, split=dict(zip(rows, ("train", "train", "test", "val"), strict=True)))
    train, test, notes = read(tmp_path)
    assert train == {"images/0.png": "a", "images/1.png": "b"}
    assert test == {"images/2.png": "a"}
    assert any("the split val (1 samples) is not used" in note for note in notes)
    write_labels(tmp_path / "labels.csv", rows, split=dict(zip(rows, splits, strict=True)))
    with pytest.raises(UserError, match="has train and training"):
        read(tmp_path)
    write_labels(tmp_path / "labels.csv", rows, split=dict.fromkeys(rows, "fold 3"))
    with pytest.raises(UserError, match=r"images/0\.png is in the split 'fold 3': call it train or test"):
        read(tmp_path)


def test_tiny_imagenet_is_read_as_it_is_published(tmp_path: Path) -> None:
    for wnid in ("n02", "n01"):
        make(tmp_path, *(f"train/{wnid}/images/{wnid}_{number}.JPEG" for number in range(2)))
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    make(tmp_path, *(f"{split}/images/{split}_{number}.JPEG" for split in ("val", "test") for number in range(2)))
    lines = "val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t5\t6\t7\t8\n"
    (tmp_path / "val" / "val_annotations.txt").write_text(lines)
    train, test, notes = read(tmp_path)
    assert train["train/n02/images/n02_1.JPEG"] == "n02"
    assert len(train) == 4
    assert test == {"val/images/val_0.JPEG": "n02", "val/images/val_1.JPEG": "n01"}
    assert "the split test is not used: it has no labels" in notes


def test_a_column_that_is_asked_for_comes_before_folders(tmp_path: Path) -> None:
    folders(tmp_path, "train")
    rows = {f"{name}/{number}.png": name for name in "ab" for number in range(2)}
    ages = {name: number for number, name in enumerate(rows)}
    write_labels(tmp_path / "train" / "metadata.csv", rows, age=ages)
    assert list(read(tmp_path)[0].values()) == ["a", "a", "b", "b"]
    assert list(read(tmp_path, "label")[0].values()) == ["a", "a", "b", "b"]
    assert list(read(tmp_path, "age")[0].values()) == [0, 1, 2, 3]
    (tmp_path / "train" / "metadata.csv").unlink()
    with pytest.raises(UserError, match=r"data.label_column is 'age', and .*train has no labels.csv"):
        read(tmp_path, "age")


def flat(root: Path) -> Path:
    return make(root, "train/cat.0.png", "train/dog.0.png", "test/cat.1.png")


def one_class(root: Path) -> Path:
    return make(root, "train/images/cat/0.png", "train/images/dog/0.png", "test/images/cat/0.png")


def swapped(root: Path) -> Path:
    return make(root, *(f"{split}/{name}/0.png" for split in ("trainset", "testset") for name in ("cat", "dog")))


def masks(root: Path) -> Path:
    return make(root, *(f"train/{name}/{kind}/0.png" for name in "ab" for kind in ("images", "masks")))


def two(root: Path) -> Path:
    return folders(folders(root, "train"), "training")


def control(root: Path) -> Path:
    return make(root, "train/a\nb/0.png", "train/c/0.png")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda root: root, "has no train split: give train"),
        (lambda root: folders(root, "test"), "has no train split: give train"),
        (flat, r"train has 2 images in no class folders: put them into train/CLASS/…, or write .*labels.csv"),
        (one_class, "train has one class folder only, images: .* they lie one level too deep"),
        (swapped, "has the folders testset and trainset, which both hold cat and dog: it is not clear"),
        (masks, "has the folders a and b, which both hold images and masks: it is not clear"),
        (two, "has train and training: give"),
        (control, r"has a class folder 'a\\nb', whose name cannot be printed: rename it"),
    ],
)
def test_what_cannot_be_told_is_asked(tmp_path: Path, build: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(build(tmp_path))
    assert "\n" not in str(caught.value)


def test_images_with_several_labels_each(tmp_path: Path) -> None:
    make(tmp_path, *(f"{split}/{number}.png" for split in ("train", "test") for number in range(2)))
    for split in ("train", "test"):
        (tmp_path / split / "labels.csv").write_text("file_name,sun,sea\n0.png,1,0\n1.png,1,1\n")
    encoded = image_folders.read(tmp_path, None, "multi-label")
    assert encoded.train.labels.columns == ("sun", "sea")
    assert encoded.test is not None
    assert [str(value).split(CELLS) for value in encoded.test.labels.values] == [["1", "0"], ["1", "1"]]
    assert "the labels of train are read from train/labels.csv" in encoded.notes


def test_folders_do_not_say_several_labels(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has no label file, and folders say one label an image, where data\.task is mul"
    ):
        image_folders.read(folders(tmp_path, "train"), None, "multi-label")

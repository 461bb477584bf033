from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lottery_pools.config.schema import Data, Task
from lottery_pools.data import arrays, sources
from lottery_pools.errors import UserError

RANDOM = np.random.default_rng(0)
SIGNALS = RANDOM.normal(size=(30, 7))
PRESENT = (RANDOM.normal(size=(30, 3)) > 0).astype(np.uint8)
NUMBERS = RANDOM.normal(size=(30, 2))


def folder(path: Path, **files: NDArray[Any]) -> Path:
    path.mkdir(exist_ok=True)
    for name, array in files.items():
        np.save(path / f"{name}.npy", array)
    return path


def load(path: Path, task: Task = "single-label", **settings: Any) -> Any:
    return sources.load(Data(str(path), task=task, validation=5, **settings))


def test_numbers_are_read(tmp_path: Path) -> None:
    folder(tmp_path, train_inputs=SIGNALS, train_labels=NUMBERS, test_inputs=SIGNALS[:4], test_labels=NUMBERS[:4])
    (tmp_path / "label_names.txt").write_text("length\n\nwidth\n")
    data = load(tmp_path, "regression")
    assert (data.task, data.classes, data.input_shape) == ("regression", ("length", "width"), (1, 7))
    assert (len(data.train), len(data.validation), len(data.test)) == (25, 5, 4)
    assert data.train.labels.dtype == torch.float32
    assert np.allclose(data.test.images[:, 0], SIGNALS[:4])
    assert np.allclose(data.test.labels, NUMBERS[:4])
    rest = np.sort(np.concatenate([data.train.labels, data.validation.labels])[:, 0])
    assert np.allclose(rest, np.sort(NUMBERS[:, 0]))


def test_a_single_number_a_sample_may_be_flat(tmp_path: Path) -> None:
    data = load(folder(tmp_path, train_inputs=SIGNALS, train_labels=NUMBERS[:, 0]), "regression")
    assert data.classes == ("0",)
    assert data.train.labels.shape == (19, 1)
    assert len(data.test) == 6
    assert any("no test split" in note for note in data.notes)


def test_labels_that_are_there_or_not_are_read(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 255, (30, 3, 8, 8), dtype=np.uint8)
    data = load(folder(tmp_path, train_inputs=images, train_labels=PRESENT), "multi-label")
    assert data.train.stored.dtype == torch.uint8
    assert data.input_shape == (3, 8, 8)
    assert set(data.train.labels.flatten().tolist()) == {0.0, 1.0}


def test_classes_are_read(tmp_path: Path) -> None:
    data = load(folder(tmp_path, train_inputs=SIGNALS[:, None], train_labels=np.arange(30) % 3 + 1))
    assert data.classes == ("1", "2", "3")
    assert data.train.labels.dtype == torch.int64
    assert any("numbered 0 to 2" in note for note in data.notes)


def test_the_digest_tells_other_samples_and_labels(tmp_path: Path) -> None:
    digests = {
        load(folder(tmp_path, train_inputs=inputs, train_labels=labels), "regression").digest
        for inputs, labels in [(SIGNALS, NUMBERS), (SIGNALS + 1, NUMBERS), (SIGNALS, NUMBERS + 1), (SIGNALS, NUMBERS)]
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("task", "files", "message"),
    [
        ("regression", {"train_labels": None}, "has no train_labels.npy: add it"),
        ("regression", {"test_inputs": SIGNALS}, "has no test_labels.npy: add it"),
        ("regression", {"train_labels": NUMBERS[:5]}, r"has train inputs \(30, 7\) and labels \(5, 2\): give as many"),
        ("regression", {"train_inputs": SIGNALS[:, 0]}, r"has train inputs \(30,\): give \(n, features\)"),
        ("regression", {"train_inputs": SIGNALS * np.inf}, "has train inputs that are NaN or infinite"),
        ("regression", {"train_labels": NUMBERS * np.nan}, "has 0 = nan in its train split: give finite numbers"),
        ("regression", {"train_labels": NUMBERS * [1, 0]}, "has the same 1 in all samples of train: leave it out"),
        ("regression", {"test_inputs": SIGNALS, "test_labels": NUMBERS[:, :1]}, r"has test labels \(30, 1\): give as"),
        ("regression", {"test_inputs": SIGNALS[:, :3], "test_labels": NUMBERS}, "give both one shape"),
        ("multi-label", {}, "give 0 or 1 for each label, or set data.task to regression"),
        ("single-label", {}, r"has train labels float64 \(30, 2\): give whole numbers \(n,\), or set data.task"),
        ("regression", {"train_inputs": np.array(["a"] * 30)}, "is damaged"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, task: Task, files: dict[str, Any], message: str) -> None:
    files = {"train_inputs": SIGNALS, "train_labels": NUMBERS, **files}
    folder(tmp_path, **{name: array for name, array in files.items() if array is not None})
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, task)
    assert "\n" not in str(error.value)


def test_names_must_be_as_many_as_the_labels(tmp_path: Path) -> None:
    folder(tmp_path, train_inputs=SIGNALS, train_labels=NUMBERS)
    (tmp_path / "label_names.txt").write_text("one\n")
    with pytest.raises(UserError, match="has 1 names, the labels have 2 columns"):
        load(tmp_path, "regression")


def test_settings_for_images_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, train_inputs=SIGNALS, train_labels=NUMBERS)
    with pytest.raises(UserError, match=r"are for images, .* holds arrays: leave them out"):
        load(tmp_path, "regression", size=8)


def test_other_folders_hold_no_arrays(tmp_path: Path) -> None:
    assert not arrays.is_array_folder(str(tmp_path))
    assert not arrays.is_array_folder("mnist1d")
    assert not arrays.is_array_folder("~nobody/at/all")

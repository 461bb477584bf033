"""The preset `images` fits a folder of pictures of any size and number, in every layout, without a further setting."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lottery_pools.config import toml
from lottery_pools.config.schema import Config
from lottery_pools.data import sources
from lottery_pools.tickets import checks

images = pytest.importorskip("tests.image_sets")
CLASSES = ("ant", "bee", "cow")


def pictures(n: int) -> list[bytes]:
    """Pictures of many sizes."""
    draws = np.random.default_rng(0)
    sizes = draws.integers(5, 90, (n, 2))
    return [images.png(images.pixels(1, (height, width, 3), seed)[0]) for seed, (height, width) in enumerate(sizes)]


def class_folders(root: Path, content: list[bytes]) -> None:
    for number, picture in enumerate(content):
        path = root / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)


def with_splits(root: Path, content: list[bytes]) -> None:
    class_folders(root / "training", content[: len(content) // 2])
    class_folders(root / "val", content[len(content) // 2 :])


def csv(root: Path, content: list[bytes]) -> None:
    root.mkdir()
    rows = ["file_name,label"]
    for number, picture in enumerate(content):
        (root / f"{number}.png").write_bytes(picture)
        rows.append(f"{number}.png,{CLASSES[number % 3]}")
    (root / "labels.csv").write_text("\n".join(rows))


def jsonl(root: Path, content: list[bytes]) -> None:
    root.mkdir()
    rows = []
    for number, picture in enumerate(content):
        (root / f"{number}.png").write_bytes(picture)
        rows.append(json.dumps({"file_name": f"{number}.png", "label": CLASSES[number % 3]}))
    (root / "metadata.jsonl").write_text("\n".join(rows))


def preset(root: Path) -> Config:
    config = toml.preset("images")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, name=str(root)))


@pytest.mark.parametrize("layout", [class_folders, with_splits, csv, jsonl])
@pytest.mark.parametrize("n", [18, 90])
def test_every_layout_and_number_of_pictures_fits(
    layout: Callable[[Path, list[bytes]], None], n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path / "cache"))
    layout(tmp_path / "photos", pictures(n))
    config = preset(tmp_path / "photos")
    dataset = sources.load(config.data)
    assert dataset.input_shape == (3, 64, 64)
    assert dataset.classes == CLASSES
    test = n // 2 if layout is with_splits else round(0.2 * n)
    validation = round(0.15 * (n - test))
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [
        *(n - test - validation, validation, test)
    ]
    said = [note for note in dataset.notes if "has no test split" in note]
    assert len(said) == (layout is not with_splits)
    checks.check_settings(config, dataset)


def test_a_share_of_validation_samples_is_at_least_one_sample() -> None:
    demo = toml.preset("demo").data
    dataset = sources.load(dataclasses.replace(demo, train=20, validation=0.01, test=10))
    assert (len(dataset.train), len(dataset.validation)) == (20, 1)

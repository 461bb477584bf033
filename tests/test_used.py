"""Only the images that are drawn are decoded, and they are those that would be drawn of the whole set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lottery_pools.config import toml, variants
from lottery_pools.config.schema import Data, Evaluation, Model, Pruning
from lottery_pools.data import record, workers
from lottery_pools.data.dataset import Dataset
from lottery_pools.data.sources import load
from lottery_pools.experiment import stages
from lottery_pools.runs.engine import Machine
from tests.image_sets import CAT_DOG, classes, parquet, pixels, png


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(path))
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each block has that is decoded."""
    sizes: list[int] = []
    usual = workers.decode_block

    def decode_block(target: Any, block: Any) -> Any:
        sizes.append(len(block.images))
        return usual(target, block)

    monkeypatch.setattr(workers, "decode_block", decode_block)
    return sizes


def same(one: Dataset, other: Dataset) -> bool:
    """Whether two data sets have the same samples, in the same order, and the same scale."""
    splits = [(one.train, other.train), (one.epochs, other.epochs), (one.validation, other.validation)]
    return (
        one.classes == other.classes
        and torch.equal(one.mean, other.mean)
        and torch.equal(one.std, other.std)
        and all(
            torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
            for a, b in [*splits, (one.test, other.test)]
        )
    )


def shards(folder: Path, with_test: bool) -> Path:
    for shard in range(3):
        path = folder / f"train-{shard}.parquet"
        parquet(path, pixels(100, seed=shard), label=([0, 1] * 50, classes(*CAT_DOG)))
    if with_test:
        parquet(folder / "test.parquet", pixels(40, seed=9), label=([0, 1] * 20, classes(*CAT_DOG)))
    return folder


@pytest.mark.parametrize("with_test", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epoch_share": 0.5},
        {"carve": "last"},
        {"train_on_validation": True},
        {"mean": (0.5,), "std": (0.2,)},
        {"train": None, "validation": 0.5},
    ],
)
def test_parquet_files(tmp_path: Path, decoded: list[int], changes: dict[str, Any], with_test: bool) -> None:
    folder = shards(tmp_path / "set", with_test)
    few = Data(**{"name": str(folder), "train": 12, "validation": 8, "test": 6, "seed": 3, **changes})
    whole = load(few)
    decoded.clear()
    used = load(replace(few, decode="used"))
    assert same(used, whole)
    drawn = len(used.train) if few.train_on_validation else len(used.train) + len(used.validation)
    drawn += len(used.epochs) if few.epoch_share else 0
    assert sum(decoded) == drawn + len(used.test)
    assert (used.epochs is used.validation) == (whole.epochs is whole.validation)
    assert used.epoch_samples == whole.epoch_samples
    decoded.clear()
    cached = load(replace(few, decode="used"))
    assert not decoded, "read from the cache"
    assert same(cached, whole)
    assert cached.digest == used.digest != whole.digest


def test_a_drawn_image_that_cannot_be_read_is_left_out(tmp_path: Path, decoded: list[int]) -> None:
    for split, count in (("train", 60), ("test", 20)):
        for k in range(count):
            path = tmp_path / "set" / split / CAT_DOG[k % 2] / f"{k:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(np.full((8, 8, 3), k, np.uint8)))
    settings = Data(name=str(tmp_path / "set"), train=12, validation=8, test=6, decode="used")
    whole = load(settings)
    assert sum(decoded) == 26
    greys = whole.train.images[:, 0, 0, 0].tolist()
    (tmp_path / "set" / "train" / CAT_DOG[greys[3] % 2] / f"{greys[3]:02d}.png").write_bytes(b"no image")
    rest = load(settings)
    assert rest.train.images[:, 0, 0, 0].tolist() == greys[:3] + greys[4:]
    assert rest.train.labels.tolist() == [grey % 2 for grey in greys[:3] + greys[4:]]
    assert torch.equal(rest.validation.images, whole.validation.images)
    assert any(f"{greys[3]:02d}.png of train" in note for note in rest.notes)


def test_a_limit_decodes_what_it_takes() -> None:
    assert variants.limited(toml.preset("cifar100-smoke"), 10).data.decode == "used"
    assert variants.limited(toml.preset("demo"), 10).data.decode == "all"


def test_seeds_that_decode_their_own_images_go_on(tmp_path: Path) -> None:
    """With `--limit` and `data.draw = "per-seed"` each seed has images of its own, and its folder remembers them."""
    place = shards(tmp_path / "set", with_test=True)
    preset = replace(toml.preset("demo"), model=Model("resnet20", {"width": 2, "blocks": 1}), seeds=(0, 1))
    data = Data(str(place), draw="per-seed", validation=20)
    methods = replace(preset.pooling, methods=("average",))
    config = replace(preset, data=data, pruning=Pruning(rate=0.5, levels=1), pooling=methods)
    config = variants.limited(replace(config, evaluation=Evaluation(corruptions=("contrast",), severities=(3,))), 12)
    out, machine = tmp_path / "run", Machine("cpu", workers=1, threads=1)
    stages.tickets(config, out, machine)
    stages.evaluate(config, out, machine)
    records = [record.read(out / name / "data.json") for name in ("", "seed_0", "seed_1")]
    assert records[0] == records[1]
    assert records[1] != records[2]
    before = (out / "seed_1/results.jsonl").read_bytes()
    place.rename(tmp_path / "moved")
    moved = replace(config, data=replace(config.data, name=str(tmp_path / "moved")))
    stages.evaluate(moved, out, machine)
    stages.evaluate(toml.of_folder(out / "seed_1"), out / "seed_1", machine)
    assert (out / "seed_1/results.jsonl").read_bytes() == before

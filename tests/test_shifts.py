"""Corrupted and shifted test samples: the same for every network; generated, corrupted, or read from files."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save as serialize
from torch import Tensor

from lottery_pools.config.schema import Data, Evaluation
from lottery_pools.data import corruptions, npy, shifts, sources
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.errors import UserError

SIGNALS = Data("mnist1d", train=60, validation=40, test=300)
IMAGES = Data("some-folder")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def images(n: int = 40, size: int = 32) -> Dataset:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=draws).to(torch.uint8)
    split = Split(pixels, torch.arange(n) % 4)
    return Dataset(split, split, split, split, tuple("abcd"), torch.zeros(3), torch.ones(3), 0, False)


def test_groups_are_spelled_out_in_order() -> None:
    assert shifts.names(IMAGES, ("fog", "common")) == ("fog", *(n for n in corruptions.names() if n != "fog"))
    assert shifts.names(IMAGES, ("all",)) == corruptions.names(extra=True)
    assert shifts.names(SIGNALS, ("all",)) == tuple(shifts.SIGNAL_SHIFTS)
    assert shifts.names(SIGNALS, ()) == ()


@pytest.mark.parametrize(("data", "name", "near"), [(IMAGES, "fogg", "fog"), (SIGNALS, "shears", "shear")])
def test_an_unknown_corruption_offers_the_nearest(data: Data, name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{near}'"):
        shifts.names(data, (name,))


@pytest.mark.parametrize("name", shifts.SIGNAL_SHIFTS)
def test_signals_shift_more_with_severity_and_keep_their_labels(name: str) -> None:
    dataset = sources.load(SIGNALS)
    moved = []
    for severity in (1, 3, 5):
        split = shifts.shifted(dataset, SIGNALS, Evaluation(), name, severity)
        assert torch.equal(split.labels, dataset.test.labels)
        assert split.images.shape == dataset.test.images.shape
        moved.append((split.images - dataset.test.images).abs().mean().item())
    assert 0 < moved[0] < moved[1] < moved[2] or name == "stretch"
    assert min(moved) > 0


def test_a_share_of_the_samples_is_stratified_and_of_the_same_ones() -> None:
    dataset, eight = images(), Evaluation(corrupted=8)
    contrast = shifts.shifted(dataset, IMAGES, eight, "contrast", 1)
    brightness = shifts.shifted(dataset, IMAGES, eight, "brightness", 5)
    assert contrast.labels.bincount().tolist() == [2, 2, 2, 2]
    assert torch.equal(contrast.labels, brightness.labels)
    assert len(shifts.shifted(dataset, IMAGES, Evaluation(corrupted=99), "contrast", 1)) == 40


def test_corrupted_images_are_made_once_and_kept(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = images()
    first = shifts.shifted(dataset, IMAGES, Evaluation(), "gaussian_noise", 3)
    path = shifts.cached(dataset, IMAGES, Evaluation(), "gaussian_noise", 3)
    assert path is not None
    assert path.is_relative_to(cache_folder)
    monkeypatch.setattr(corruptions, "corrupt", None)
    kept = shifts.shifted(dataset, IMAGES, Evaluation(), "gaussian_noise", 3)
    assert torch.equal(first.images, kept.images)
    assert not torch.equal(first.images, dataset.test.images)
    variants = [(IMAGES, Evaluation(), "gaussian_noise", 4), (IMAGES, Evaluation(corrupted=8), "gaussian_noise", 3)]
    variants.append((Data("some-folder", seed=1), Evaluation(), "gaussian_noise", 3))
    assert len({path, *(shifts.cached(dataset, *variant) for variant in variants)}) == 4


def test_the_same_images_with_other_labels_or_seen_otherwise_are_corrupted_anew() -> None:
    """Labels choose which images are corrupted, and the view what is seen of them."""
    dataset, eight = images(), Evaluation(corrupted=8)
    shifts.shifted(dataset, IMAGES, eight, "contrast", 1)
    coarse = Split(dataset.test.stored, torch.arange(40) // 20)
    for changed in (replace(dataset, test=coarse), replace(dataset, resized_crop=28)):
        corrupted = shifts.shifted(changed, IMAGES, eight, "contrast", 1)
        chosen = shifts._chosen(changed.test.labels, IMAGES, eight)
        expected = corruptions.corrupt(changed.view(changed.test.batch(chosen)), "contrast", 1, 0, constants="auto")
        assert torch.equal(corrupted.images, expected)
        assert torch.equal(corrupted.labels, changed.test.labels[chosen])


def test_a_cache_that_cannot_be_written_says_how_to_move_it(cache_folder: Path) -> None:
    cache_folder.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"cannot write .*\.safetensors: .*; set LOTTERY_POOLS_CACHE to another folder"):
        shifts.shifted(images(), IMAGES, Evaluation(), "contrast", 1)


def published(folder: Path, n: int = 10_000, classes: int = 4) -> Path:
    folder.mkdir()
    labels = np.tile(np.arange(n) % classes, 5)
    np.save(folder / "labels.npy", labels)
    pixels = np.zeros((5 * n, 32, 32, 3), np.uint8)
    pixels[:] = np.repeat(np.arange(1, 6), n)[:, None, None, None]
    np.save(folder / "fog.npy", pixels)
    return folder


def test_a_published_set_is_read_instead(tmp_path: Path) -> None:
    folder = published(tmp_path / "CIFAR-4-C")
    split = shifts.shifted(images(), IMAGES, Evaluation(corrupted=20, corrupted_from=str(folder)), "fog", 2)
    assert bool((split.images == 2).all())
    assert split.labels.bincount().tolist() == [5, 5, 5, 5]


def test_a_published_set_that_does_not_belong_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path / "CIFAR-10-C", classes=10)
    with pytest.raises(UserError, match="has label 9, the data have 4 classes"):
        shifts.shifted(images(), IMAGES, Evaluation(corrupted_from=str(folder)), "fog", 2)
    with pytest.raises(UserError, match="no such folder"):
        shifts.shifted(images(), IMAGES, Evaluation(corrupted_from=str(tmp_path / "none")), "fog", 2)
    with pytest.raises(UserError, match=r"fog\.npy holds uint8 of shape \(50000, 32, 32, 3\): expected"):
        shifts.shifted(images(size=16), IMAGES, Evaluation(corrupted_from=str(folder)), "fog", 2)


def test_corrupted_images_are_never_in_memory_at_once(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    usual = corruptions.corrupt

    def corrupt(images: Tensor, *arguments: Any, **options: Any) -> Tensor:
        sizes.append(len(images))
        return usual(images, *arguments, **options)

    whole = corruptions.corrupt(images().test.images, "fog", 3, IMAGES.seed, constants="auto")
    monkeypatch.setattr(shifts, "_IMAGES_AT_ONCE", 7)
    monkeypatch.setattr(corruptions, "corrupt", corrupt)
    split = shifts.shifted(images(), IMAGES, Evaluation(), "fog", 3)
    assert max(sizes) == 7
    assert sum(sizes) == len(split) == len(images().test)
    assert torch.equal(split.images, whole)
    (file,) = (cache_folder / "corrupted").iterdir()
    stored = serialize({"images": whole}, {"digest": npy.digest(whole.numpy())})
    assert file.read_bytes() == stored, "the bytes of safetensors itself"


def published_files(folder: Path, n: int = 40) -> Path:
    """A set as ImageNet-C is laid out: four classes of images of one grey each."""
    for k in range(n):
        path = folder / "fog" / "2" / "abcd"[k % 4] / f"{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (k, k, k)).save(path)
    return folder


def test_published_files_are_decoded_once_and_never_in_memory_at_once(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = Evaluation(corrupted=20, corrupted_from=str(published_files(tmp_path / "ImageNet-4-C")))
    decoded: list[Path] = []
    alive: list[weakref.ref[Tensor]] = []
    usual = corruptions.read_image

    def read_image(file: Path, size: int) -> Tensor:
        decoded.append(file)
        assert sum(image() is not None for image in alive) < 7
        image = usual(file, size)
        alive.append(weakref.ref(image))
        return image

    monkeypatch.setattr(shifts, "_IMAGES_AT_ONCE", 7)
    monkeypatch.setattr(corruptions, "read_image", read_image)
    assert not shifts.cached(images(), IMAGES, evaluation, "fog", 2).exists()  # type: ignore[union-attr]
    split = shifts.shifted(images(), IMAGES, evaluation, "fog", 2)
    assert len(decoded) == len(split) == 20, "only the images that are used"
    assert split.labels.bincount().tolist() == [5, 5, 5, 5]
    greys = [int(file.stem) for file in decoded]
    assert split.images[:, 0, 0, 0].tolist() == greys
    assert [grey % 4 for grey in greys] == split.labels.tolist()
    kept = shifts.shifted(images(), IMAGES, evaluation, "fog", 2)
    assert len(decoded) == 20
    assert torch.equal(kept.images, split.images)
    (file,) = (cache_folder / "corrupted").iterdir()
    assert file == shifts.cached(images(), IMAGES, evaluation, "fog", 2)


def test_published_files_that_changed_are_decoded_again(tmp_path: Path) -> None:
    folder = published_files(tmp_path / "ImageNet-4-C", n=8)
    evaluation = Evaluation(corrupted_from=str(folder))
    before = shifts.shifted(images(), IMAGES, evaluation, "fog", 2).images.clone()
    Image.new("RGB", (32, 32), (200, 200, 200)).save(folder / "fog/2/a/00.png")
    shifts._place_of.cache_clear()  # as in another process
    after = shifts.shifted(images(), IMAGES, evaluation, "fog", 2).images
    assert set(after[0].flatten().tolist()) == {200}
    assert torch.equal(after[1:], before[1:])

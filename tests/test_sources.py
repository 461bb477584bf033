"""Loading data: how samples are divided and drawn, and what is done with large splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.config.schema import Data
from lottery_pools.data.sources import load, stratified
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator
from tests.image_sets import CAT_DOG, Image, classes, parquet, pixels, rows, small, unequal_sizes


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(path))
    return path


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_stratified_takes_each_class_in_proportion(labels: list[int], share: float, seed: int) -> None:
    all_labels, n = torch.tensor(labels), round(share * len(labels))
    indices = stratified(all_labels, n, generator(seed, "split"))
    assert len(indices) == n
    assert bool((indices.diff() > 0).all())
    for label in range(6):
        exact = labels.count(label) * n / len(labels)
        assert abs(int((all_labels[indices] == label).sum()) - exact) < 1
    assert torch.equal(indices, stratified(all_labels, n, generator(seed, "split")))


def test_stratified_draws_every_sample_of_a_class_equally_often() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    times = torch.cat([stratified(labels, 3, generator(seed, "split")) for seed in range(2000)]).bincount()
    assert (times - 1000).abs().max() < 100


def tiny(**settings: Any) -> Data:
    return Data(**{"train": 60, "validation": 40, "test": 30, **settings})


def test_mnist1d_by_default_has_4000_and_10000_samples() -> None:
    data = load(Data(validation=50))
    assert (len(data.train), len(data.validation), len(data.test)) == (4000, 50, 10_000)
    assert data.input_shape == (1, 40)
    assert data.classes == tuple("0123456789")
    assert data.validation.labels.bincount().tolist() == [5] * 10


def test_splits_are_disjoint_and_balanced() -> None:
    data = load(tiny(epoch_share=0.5))
    splits = (data.train, data.epochs, data.validation, data.test)
    assert [len(split) for split in splits] == [60, 20, 20, 30]
    assert len(set().union(*(rows(split.images) for split in splits))) == 130
    assert all(len(torch.unique(split.labels.bincount(minlength=10))) == 1 for split in splits)


def test_without_an_epoch_share_one_split_chooses_both() -> None:
    data = load(tiny())
    assert data.epochs is data.validation
    moved = data.to("cpu")
    assert moved.epochs is moved.validation
    assert torch.equal(moved.train.images, data.train.images)


def test_validation_samples_train_too_in_as_many_steps_if_asked() -> None:
    plain, control = load(tiny(epoch_share=0.5)), load(tiny(epoch_share=0.5, train_on_validation=True)).to("cpu")
    everything = rows(plain.train.images) | rows(plain.epochs.images) | rows(plain.validation.images)
    assert rows(control.train.images) == everything
    assert (len(control.train), control.epoch_size, plain.epoch_size) == (100, 60, 60)
    assert torch.equal(control.mean, plain.mean)
    assert torch.equal(control.std, plain.std)
    assert torch.equal(control.validation.images, plain.validation.images)
    assert torch.equal(control.test.images, plain.test.images)


def test_the_seed_decides_the_samples() -> None:
    first, repeated, other = load(tiny(seed=1)), load(tiny(seed=1)), load(tiny(seed=2))
    assert torch.equal(first.train.images, repeated.train.images)
    assert not torch.equal(first.train.images, other.train.images)
    assert not torch.equal(first.test.images, other.test.images)


def test_normalised_training_samples_have_mean_zero_and_deviation_one() -> None:
    data = load(tiny())
    normal = data.normalise(data.train.images)
    assert float(normal.mean()) == pytest.approx(0, abs=1e-5)
    assert float(normal.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_augment_does_what_the_settings_say() -> None:
    plain, shifted = load(tiny()), load(tiny(crop=3, flip=True))
    images = plain.train.images
    assert torch.equal(plain.augment(images, plain.draws(len(images), generator(0, "augment"))), images)
    draws = shifted.draws(len(images), generator(0, "augment"))
    assert shifted.augment(images, draws).shape == images.shape
    assert not torch.equal(shifted.augment(images, draws), images)


@pytest.mark.parametrize(("share", "n"), [(0.01, 40), (0.999, 40)])
def test_an_empty_part_of_validation_is_refused(share: float, n: int) -> None:
    with pytest.raises(UserError, match=rf"data.epoch_share = {share} of data.validation = {n} samples leaves"):
        load(tiny(epoch_share=share, validation=n))


def test_parquet_pixels_labels_and_order_are_kept(tmp_path: Path) -> None:
    data = load(Data(name=str(small(tmp_path / "set")), validation=6))
    original = torch.from_numpy(pixels(20, seed=0)).permute(0, 3, 1, 2)
    places = [next(i for i in range(20) if torch.equal(original[i], image)) for image in data.train.images]
    assert places == sorted(places)
    assert data.train.labels.tolist() == [i % 2 for i in places]
    assert torch.equal(data.test.images, torch.from_numpy(pixels(10, seed=1)).permute(0, 3, 1, 2))
    assert data.validation.labels.bincount().tolist() == [3, 3]
    assert not rows(data.train.images) & rows(data.validation.images)
    assert data.classes == CAT_DOG
    assert data.input_shape == (3, 8, 8)
    flat = data.train.images.double()
    torch.testing.assert_close(data.mean, flat.mean((0, 2, 3)).float())
    torch.testing.assert_close(data.std, flat.std((0, 2, 3), correction=0).float())
    normal = data.normalise(data.train.images.contiguous(memory_format=torch.channels_last))
    assert normal.dtype == torch.float32
    assert normal.is_contiguous(memory_format=torch.channels_last)


def test_subsets_are_stratified(tmp_path: Path) -> None:
    data = load(Data(name=str(small(tmp_path / "set")), validation=4, train=10, test=6))
    assert data.train.labels.bincount().tolist() == [5, 5]
    assert data.test.labels.bincount().tolist() == [3, 3]


def test_the_halves_of_the_test_images_share_none_and_depend_on_no_seed(tmp_path: Path) -> None:
    folder = small(tmp_path / "set", test=20)

    def test_images(**settings: Any) -> set[bytes]:
        return rows(load(Data(name=str(folder), validation=4, **settings)).test.images)

    look, final = test_images(test_part="look"), test_images(test_part="final")
    assert len(look) == len(final) == 10
    assert not look & final
    assert look | final == test_images()
    assert test_images(test_part="look", seed=5) == look
    assert test_images(test_part="look", test=4) < look
    labels = load(Data(name=str(folder), validation=4, test_part="final")).test.labels
    assert labels.bincount().tolist() == [5, 5]


def test_there_are_no_halves_without_test_images_of_their_own(tmp_path: Path) -> None:
    folder = small(tmp_path / "set")
    (folder / "test.parquet").unlink()
    with pytest.raises(UserError, match=r"data.test_part is look, and .* has no test split: leave it out"):
        load(Data(name=str(folder), validation=4, test_part="look"))


def test_a_constant_channel_is_normalised_to_zero(tmp_path: Path) -> None:
    for split in ("train", "test"):
        parquet(
            tmp_path / f"{split}.parquet", [np.full((4, 4), 7, np.uint8)] * 4, label=([0, 1] * 2, classes("a", "b"))
        )
    data = load(Data(name=str(tmp_path), validation=2))
    assert data.normalise(data.train.images).abs().max() == 0


def test_the_last_samples_validate_where_that_is_asked(tmp_path: Path) -> None:
    data = load(Data(name=str(small(tmp_path / "set")), validation=5, carve="last"))
    original = torch.from_numpy(pixels(20, seed=0)).permute(0, 3, 1, 2)
    assert torch.equal(data.train.images, original[:15])
    assert torch.equal(data.validation.images, original[15:])


def test_a_split_too_large_to_copy_stays_in_its_file_and_gives_the_same_batches(tmp_path: Path) -> None:
    settings = Data(name=str(unequal_sizes(tmp_path / "set")), size=14, resized_crop=True, validation=8, test=10)
    held, mapped = load(settings), load(settings, large=5 * 3 * 16 * 16)
    for name in ("train", "validation", "test"):
        small, big = getattr(held, name), getattr(mapped, name)
        assert small.rows is None
        assert len(big.stored) == 24
        assert big.stored.shape[1:] == (3, 16, 16)
        assert len(big) == len(small) == len(big.rows)
        assert torch.equal(big.labels, small.labels)
        indices = torch.tensor([3, 0, len(big) - 1])
        assert torch.equal(big.batch(indices), small.images[indices])
        assert torch.equal(torch.cat(list(big.batches(4))), small.images)
        assert torch.equal(torch.cat(list(small.batches(4))), small.images)
    # Moments of every third of sixteen images, so as not to read all: rough, but of noise.
    assert (held.mean - mapped.mean).abs().max() < 12
    assert held.input_shape == mapped.input_shape == (3, 14, 14)


def test_moments_of_a_large_split_are_those_of_evenly_spaced_samples(tmp_path: Path) -> None:
    settings = Data(name=str(unequal_sizes(tmp_path / "set")), size=16, validation=8)
    data = load(settings, large=8 * 3 * 16 * 16)
    every_second = data.train.images[::2].double()
    torch.testing.assert_close(data.mean, every_second.mean((0, 2, 3)).float())
    torch.testing.assert_close(data.std, every_second.std((0, 2, 3), correction=0).float())


def test_resized_crops_are_stored_larger_and_tested_on_their_middle(tmp_path: Path) -> None:
    folder = unequal_sizes(tmp_path / "set")
    data = load(Data(name=str(folder), size=28, resized_crop=True, validation=8))
    with Image.open(folder / "val" / "cat" / "00.png") as file:  # 30 wide, 40 high
        square = file.resize((32, 32), Image.Resampling.BILINEAR, (0, 5, 30, 35))
    image = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    assert torch.equal(data.test.images[0], image)
    assert torch.equal(data.view(data.test.images)[0], image[:, 2:30, 2:30])
    assert data.augment(data.train.images, data.draws(16, generator(0, "augment"))).shape == (16, 3, 28, 28)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (small, {"validation": 20}, "data.validation = 20 and data.train = the rest need 21 or more training samples"),
        (small, {"train": 15}, "data.validation = 6 and data.train = 15 need 21 or more training samples, .* has 20"),
        (small, {"test": 11}, "data.test is 11, .* has 10 test samples"),
    ],
)
def test_more_samples_than_there_are_is_one_line_that_says_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(Data(**{"name": str(make(tmp_path / "set")), "validation": 6, **settings}))
    assert "\n" not in str(caught.value)

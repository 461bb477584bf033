from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.config.schema import Data
from lottery_pools.data import images
from lottery_pools.data.dataset import Dataset
from lottery_pools.data.sources import load, stratified
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator

datasets = pytest.importorskip("datasets", reason="the extra `data` is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra `data` is not installed")

SHARED = Path(os.environ.get("LOTTERY_POOLS_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_cifar = pytest.mark.skipif(
    not (SHARED / "cifar100").is_dir(), reason=f"no CIFAR-100 in {SHARED}: set LOTTERY_POOLS_DATA"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(path))
    return path


def pixels(n: int, shape: tuple[int, ...] = (8, 8, 3), seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    Image.fromarray(image).save(buffer := io.BytesIO(), "png")
    return buffer.getvalue()


def parquet(path: Path, images: Iterable[NDArray[np.uint8]], **columns: tuple[list[Any], Any]) -> None:
    """A parquet file of `images` in the column img, and further columns of (values, feature)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"img": [{"bytes": png(image), "path": None} for image in images]}
    features = {"img": datasets.Image(), **{name: feature for name, (_, feature) in columns.items()}}
    values |= {name: column for name, (column, _) in columns.items()}
    datasets.Dataset.from_dict(values, datasets.Features(features)).to_parquet(str(path))


def classes(*names: str) -> Any:
    return datasets.ClassLabel(names=list(names))


CAT_DOG = ("cat", "dog")


def small(folder: Path, train: int = 20, test: int = 10) -> Path:
    """A folder of two parquet files, two classes in turn."""
    for seed, (split, n) in enumerate((("train", train), ("test", test))):
        labels = [i % 2 for i in range(n)]
        parquet(folder / f"{split}.parquet", pixels(n, seed=seed), label=(labels, classes(*CAT_DOG)))
    return folder


def image_folder(folder: Path, *names: str, shape: tuple[int, ...] = (8, 8, 3), n: int = 4) -> Path:
    for seed, split in enumerate(("train", "test")):
        for k, name in enumerate(names):
            (folder / split / name).mkdir(parents=True)
            for i, image in enumerate(pixels(n, shape, seed=10 * seed + k)):
                (folder / split / name / f"{i}.png").write_bytes(png(image))
    return folder


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


# -- the draw that all subsets use


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


# -- division, on generated samples


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
    parts = (data.train, data.epochs, data.validation, data.test)
    assert [len(part) for part in parts] == [60, 20, 20, 30]
    assert len(set().union(*(rows(part.images) for part in parts))) == 130
    assert all(len(torch.unique(part.labels.bincount(minlength=10))) == 1 for part in parts)


def test_without_an_epoch_share_one_split_chooses_both() -> None:
    data = load(tiny())
    assert data.epochs is data.validation
    moved = data.to("cpu")
    assert moved.epochs is moved.validation
    assert torch.equal(moved.train.images, data.train.images)


def test_the_seed_decides_the_samples() -> None:
    first, again, other = load(tiny(seed=1)), load(tiny(seed=1)), load(tiny(seed=2))
    assert torch.equal(first.train.images, again.train.images)
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
    assert torch.equal(plain.augment(images, generator(0, "augment")), images)
    assert shifted.augment(images, generator(0, "augment")).shape == images.shape
    assert not torch.equal(shifted.augment(images, generator(0, "augment")), images)


@pytest.mark.parametrize(("share", "n"), [(0.01, 40), (0.999, 40)])
def test_an_empty_part_of_validation_is_refused(share: float, n: int) -> None:
    with pytest.raises(UserError, match=rf"data.epoch_share = {share} of data.validation = {n} samples leaves"):
        load(tiny(epoch_share=share, validation=n))


# -- images


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


def test_a_constant_channel_is_normalised_to_zero(tmp_path: Path) -> None:
    for split in ("train", "test"):
        parquet(
            tmp_path / f"{split}.parquet", [np.full((4, 4), 7, np.uint8)] * 4, label=([0, 1] * 2, classes("a", "b"))
        )
    data = load(Data(name=str(tmp_path), validation=2))
    assert data.normalise(data.train.images).abs().max() == 0


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


def test_the_last_samples_validate_where_that_is_asked(tmp_path: Path) -> None:
    data = load(Data(name=str(small(tmp_path / "set")), validation=5, carve="last"))
    original = torch.from_numpy(pixels(20, seed=0)).permute(0, 3, 1, 2)
    assert torch.equal(data.train.images, original[:15])
    assert torch.equal(data.validation.images, original[15:])


# -- larger than memory


def unequal_sizes(folder: Path, n: int = 12) -> Path:
    """Noise of 40 × 30 to 52 × 41 pixels in two class folders, train and val."""
    for seed, split in enumerate(("train", "val")):
        for k, name in enumerate(CAT_DOG):
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                shape = (40 + i, 30 + i % 5 + k * i % 7, 3)
                Image.fromarray(pixels(1, shape, seed=100 * seed + 20 * k + i)[0]).save(
                    folder / split / name / f"{i:02}.png"
                )
    return folder


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
    some = data.train.images[::2].double()
    torch.testing.assert_close(data.mean, some.mean((0, 2, 3)).float())
    torch.testing.assert_close(data.std, some.std((0, 2, 3), correction=0).float())


def test_resized_crops_are_stored_larger_and_tested_on_their_middle(tmp_path: Path) -> None:
    folder = unequal_sizes(tmp_path / "set")
    data = load(Data(name=str(folder), size=28, resized_crop=True, validation=8))
    with Image.open(folder / "val" / "cat" / "00.png") as file:  # 30 wide, 40 high
        square = file.resize((32, 32), Image.Resampling.BILINEAR, (0, 5, 30, 35))
    image = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    assert torch.equal(data.test.images[0], image)
    assert torch.equal(data.view(data.test.images)[0], image[:, 2:30, 2:30])
    assert data.augment(data.train.images, generator(0, "augment")).shape == (16, 3, 28, 28)


def test_files_that_take_long_to_read_are_told_apart_by_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "LARGE", 100)
    monkeypatch.setattr(images, "digest", None)
    folder = image_folder(tmp_path / "set", *CAT_DOG)
    settings = Data(name=str(folder), validation=2)
    first = load(settings)
    with monkeypatch.context() as patch:
        patch.setattr(images, "_decode", None)
        load(settings)
    (folder / "test" / "cat" / "0.png").write_bytes(png(pixels(1, seed=99)[0]))
    assert not torch.equal(load(settings).test.images[0], first.test.images[0])


# -- mistakes


def broken(
    folder: Path, train: list[int | None], test: list[int | None], train_names: Any = CAT_DOG, test_names: Any = CAT_DOG
) -> Path:
    for split, labels, names in (("train", train, train_names), ("test", test, test_names)):
        feature = classes(*names) if names else datasets.Value("int64")
        parquet(folder / f"{split}.parquet", pixels(len(labels)), label=(labels, feature))
    return folder


def no_test(folder: Path) -> Path:
    (small(folder) / "test.parquet").unlink()
    return folder


def truncated(folder: Path) -> Path:
    path = small(folder) / "train.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def not_an_image(folder: Path) -> Path:
    (image_folder(folder, *CAT_DOG) / "test" / "cat" / "0.png").write_bytes(b"no image")
    return folder


def sixteen_bits(folder: Path) -> Path:
    path = image_folder(folder, *CAT_DOG) / "test" / "cat" / "0.png"
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(path)
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


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (small, {"validation": 20}, "data.validation = 20 and data.train = the rest need 21 or more training samples"),
        (small, {"train": 15}, "data.validation = 6 and data.train = 15 need 21 or more training samples, .* has 20"),
        (small, {"test": 11}, "data.test is 11, .* has 10 test samples"),
        (no_test, {}, r"has no test split \(test, validation or val\): give"),
        (other_column, {}, "has no column label in its test split"),
        (empty, {}, "has no train split: give"),
        (truncated, {}, "cannot read the files in .*set"),
        (not_an_image, {}, "has an image in test that cannot be read: cannot identify image file"),
        (sixteen_bits, {}, "has an image in test that cannot be read: pixels of type I;16, not 8 bits"),
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
def test_a_mistake_is_one_line_that_says_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(Data(**{"name": str(make(tmp_path / "set")), "validation": 6, **settings}))
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"cannot write to the cache .*; set LOTTERY_POOLS_CACHE"):
        load(Data(name=str(small(tmp_path / "set")), validation=6))


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
    monkeypatch.setattr(images, "_decode", None)  # the second time the cache answers
    assert torch.equal(load(Data(name="someone/something", validation=2)).train.images, data.train.images)


# -- the real thing


@needs_cifar
def test_real_cifar100_rows_have_the_pixels_that_pillow_reads(tmp_path: Path) -> None:
    from pyarrow import parquet as pq

    some = pq.read_table(SHARED / "cifar100" / "test.parquet").slice(0, 2000)
    for split in ("train", "test"):
        pq.write_table(some, tmp_path / f"{split}.parquet")
    data = load(Data(name=str(tmp_path), validation=500))
    assert data.input_shape == (3, 32, 32)
    assert (len(data.classes), data.classes[0], data.classes[-1]) == (100, "apple", "worm")
    assert data.test.labels.tolist() == some["fine_label"].to_pylist()
    for i in (0, 999, 1000, 1999):
        image = np.asarray(Image.open(io.BytesIO(some["img"][i].as_py()["bytes"])).convert("RGB"))
        assert (data.test.images[i].permute(1, 2, 0).numpy() == image).all()


@needs_cifar
@pytest.mark.slow
def test_the_whole_of_cifar100_and_its_cache() -> None:
    settings = Data(name=str(SHARED / "cifar100"))

    def check(data: Dataset) -> None:
        assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5000, 10_000)
        assert data.validation.labels.bincount().tolist() == [50] * 100
        assert (data.mean / 255 - torch.tensor([0.507, 0.487, 0.441])).abs().max() < 0.002

    check(load(settings))
    start = time.perf_counter()
    check(load(settings))
    assert time.perf_counter() - start < 3

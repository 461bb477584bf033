"""Corruptions against independent per-image code, their statistics, their independence of batches, and the readers."""

from __future__ import annotations

import io
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats
from torch import Tensor

from benchmarks import reference_corruptions as reference
from lottery_pools.data import corruptions
from lottery_pools.data.corruptions import corrupt, find_images, names, read_image, read_npy
from lottery_pools.data.corruptions.constants import CIFAR, IMAGENET
from lottery_pools.data.corruptions.digital import jpeg_compression
from lottery_pools.data.corruptions.draws import Draws, draws
from lottery_pools.data.corruptions.noise import POISSON_LEVELS
from lottery_pools.data.corruptions.weather import ICE, frost, red_noise
from lottery_pools.errors import UserError

ALL = names(extra=True)
RANDOM = set(ALL) - {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}
CPU = torch.device("cpu")
SEED = 3

# Largest mean |difference| to the reference, in levels of 0 … 255. Both truncate: where a true value lies a hair under
# a whole number, float32 and float64 may fall on either side of it, which weak kernels make frequent.
EXACT = {"shot_noise": 0.0, "impulse_noise": 0.0, "pixelate": 0.0, "jpeg_compression": 0.0}
LIMIT = dict.fromkeys(ALL, 0.002) | EXACT | {"defocus_blur": 0.15, "glass_blur": 0.06, "gaussian_blur": 0.03}


@dataclass(frozen=True)
class Fed:
    """The package's draws of one image, handed to the reference."""

    draws: Draws

    def uniform(self, *shape: int, stream: int = 0) -> NDArray[Any]:
        return self.draws.uniform(*shape, stream=stream)[0].double().numpy()

    def normal(self, *shape: int, stream: int = 0) -> NDArray[Any]:
        return self.draws.normal(*shape, stream=stream)[0].double().numpy()

    def integers(self, low: int, high: int, *shape: int, stream: int = 0) -> NDArray[Any]:
        return self.draws.integers(low, high, *shape, stream=stream)[0].numpy()

    def poisson(self, means: NDArray[Any]) -> NDArray[Any]:
        quantile = (self.draws.words(*means.shape)[0].int().numpy() + 32768) * POISSON_LEVELS // 65536
        return np.asarray(stats.poisson.ppf((quantile + 0.5) / POISSON_LEVELS, means))


def smooth(n: int, size: int, channels: int = 3, seed: int = 0) -> Tensor:
    noise = ndimage.gaussian_filter(
        np.random.default_rng(seed).standard_normal((n, channels, size, size)), (0, 0, 2, 2)
    )
    return torch.from_numpy(np.clip(noise / noise.std() * 70 + 120, 0, 255).astype(np.uint8))


def cifar(n: int) -> Tensor:
    """Real images, or a skip where there are none."""
    folder = Path(os.environ.get("LOTTERY_POOLS_DATA", Path(__file__).parents[2] / "shared/data"))
    path = folder / "cifar100/test.parquet"
    if not path.exists():
        pytest.skip(f"no CIFAR-100 at {path}: set LOTTERY_POOLS_DATA")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.ParquetFile(path)
    column = next(name for name in table.schema_arrow.names if name.startswith("im"))
    rows = next(table.iter_batches(n, columns=[column])).column(0).to_pylist()
    pixels = [np.array(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()


def differences(images: Tensor, name: str, severity: int, constants: str = "cifar") -> NDArray[np.float64]:
    table = {"cifar": CIFAR, "imagenet": IMAGENET}[constants]
    ours = corrupt(images, name, severity, SEED, constants=constants).permute(0, 2, 3, 1).numpy()
    theirs = [
        reference.corrupt(
            image, name, table[name][severity - 1], Fed(draws(1, i, CPU, SEED, "corruption", name, severity))
        )
        for i, image in enumerate(images.permute(0, 2, 3, 1).numpy())
    ]
    return np.asarray(np.abs(ours.astype(float) - np.stack(theirs)))


def test_names() -> None:
    assert len(names()) == 15
    assert len(ALL) == 19
    assert names() == ALL[:15]
    assert set(CIFAR) == set(IMAGENET) == set(ALL)
    assert all(len(table[name]) == 5 for table in (CIFAR, IMAGENET) for name in ALL)


@pytest.mark.parametrize("name", ALL)
def test_real_images_as_by_independent_code(name: str) -> None:
    images = cifar(8)
    for severity in corruptions.SEVERITIES:
        difference = differences(images, name, severity)
        assert difference.mean() <= LIMIT[name], severity
        if name != "spatter":  # a tie in its thresholds moves a drop
            assert difference.max() <= 1, severity


@pytest.mark.parametrize("name", ALL)
def test_generated_images_as_by_independent_code(name: str) -> None:
    assert differences(smooth(3, 16), name, 3).mean() <= LIMIT[name]


@pytest.mark.parametrize("name", ALL)
def test_imagenet_constants_as_by_independent_code(name: str) -> None:
    images = smooth(1, 64)
    for severity in (2, 5):
        assert differences(images, name, severity, "imagenet").mean() <= max(LIMIT[name], 0.02 * (name == "spatter"))
    auto = corrupt(images, name, 2, SEED, constants="auto")
    assert torch.equal(auto, corrupt(images, name, 2, SEED, constants="imagenet"))
    small = smooth(1, 32)
    assert torch.equal(corrupt(small, name, 2, SEED, constants="auto"), corrupt(small, name, 2, SEED))


@pytest.mark.parametrize("quality", [5, 40, 50, 95])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pils_to_the_bit_at_any_size(quality: int, channels: int) -> None:
    images = smooth(2, 45, channels)[..., :37]
    ours = jpeg_compression(images.float(), (quality,), draws(2, 0, CPU, 0))
    for image, coded in zip(images, ours, strict=True):
        pixels = image.permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(file, "JPEG", quality=quality)
        theirs = np.asarray(Image.open(file)).reshape(pixels.shape)
        assert np.array_equal(theirs, coded.permute(1, 2, 0).numpy())


@given(
    name=st.sampled_from(ALL),
    severity=st.integers(1, 5),
    cuts=st.lists(st.integers(0, 7), max_size=3),
    first=st.integers(0, 2**40),
)
@settings(max_examples=40, deadline=None)
def test_a_batch_may_be_cut_anywhere(name: str, severity: int, cuts: list[int], first: int) -> None:
    images = smooth(7, 16)
    whole = corrupt(images, name, severity, SEED, first=first)
    bounds = [0, *sorted(cuts), 7]
    batches = [corrupt(images[a:b], name, severity, SEED, first=first + a) for a, b in itertools.pairwise(bounds)]
    assert whole.dtype == torch.uint8
    assert torch.equal(whole, torch.cat(batches))


def test_a_batch_larger_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    images = smooth(5, 16)
    whole = [corrupt(images, name, 4, SEED) for name in ALL]
    monkeypatch.setattr(corruptions, "BLOCK", 2 * images[0].numel())
    assert all(torch.equal(corrupt(images, name, 4, SEED), old) for name, old in zip(ALL, whole, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_what_the_pixels_depend_on(name: str) -> None:
    images = smooth(2, 32)
    before = images.clone()
    base = corrupt(images, name, 5, SEED)
    assert torch.equal(images, before)
    assert torch.equal(base, corrupt(images, name, 5, SEED))
    assert not torch.equal(base, images)
    assert (not torch.equal(base, corrupt(images, name, 5, SEED + 1))) == (name in RANDOM)
    assert (not torch.equal(base, corrupt(images, name, 5, SEED, first=2))) == (name in RANDOM)
    twins = corrupt(images[:1].repeat(2, 1, 1, 1), name, 5, SEED)
    assert (not torch.equal(twins[0], twins[1])) == (name in RANDOM)


@pytest.mark.parametrize("name", ALL)
def test_one_channel(name: str) -> None:
    grey = smooth(3, 32, channels=1)
    once = corrupt(grey, name, 3, SEED)
    assert once.shape == grey.shape
    assert torch.equal(once, grey) == (name == "saturate")
    independent_channels = {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"}
    coloured = {"frost", "spatter", "saturate", "jpeg_compression"}  # of which JPEG is tested above
    if name not in independent_channels | coloured:
        thrice = corrupt(grey.repeat(1, 3, 1, 1), name, 3, SEED)
        assert (thrice.float() - once.float()).abs().max() <= 1


def test_no_images() -> None:
    assert corrupt(torch.empty(0, 3, 32, 32, dtype=torch.uint8), "fog", 1, SEED).shape == (0, 3, 32, 32)


def test_draws_are_frozen_and_evenly_spread() -> None:
    drawn = draws(64, 5, CPU, 0, "corruption", "fog", 2)
    assert drawn.words(6)[0].tolist() == [19935, 13496, 21188, 9422, -27271, -26586]
    words = drawn.words(10_000)
    counts = torch.bincount((words.int() + 32768).flatten() >> 8, minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    normal = drawn.normal(10_000)
    assert stats.kstest(normal.flatten().numpy()[::7], "norm").pvalue > 1e-3
    pairs = (normal[:-1], normal[1:]), (normal[:, :-1], normal[:, 1:]), (normal, drawn.normal(10_000, stream=1))
    for a, b in pairs:
        assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 4 / a.numel() ** 0.5
    assert set(drawn.integers(-2, 2, 100).flatten().tolist()) == {-2, -1, 0, 1}
    assert drawn.uniform(3, 4).shape == (64, 3, 4)
    assert torch.equal(drawn.words(5), drawn.words(9)[:, :5])


@pytest.mark.parametrize("reduction", [5, 1])
def test_frost_has_the_statistics_of_the_photographs(reduction: int) -> None:
    size = 32
    black = torch.zeros(3000, 3, size, size)
    ice = frost(black, (0, 1, reduction), draws(len(black), 0, CPU, 0)).clamp(0, 255)
    kinds = ICE[reduction]
    mean = np.mean([kind.mean for kind in kinds], axis=0)
    deviation = np.mean([kind.deviation for kind in kinds], axis=0)
    assert np.allclose(ice.mean((0, 2, 3)).numpy(), mean, atol=3)
    assert np.allclose(ice.std((2, 3)).mean(0).numpy(), deviation, rtol=0.06)


@pytest.mark.parametrize("shape", [(32, 32), (31, 48)])
def test_red_noise_has_the_slope_asked_for(shape: tuple[int, int]) -> None:
    white = draws(400, 0, CPU, 0).normal(*shape)
    red = red_noise(white, torch.full((400, 1, 1), 1.5))
    assert red.var().item() == pytest.approx(1, abs=0.05)
    power = torch.fft.fft2(red).abs().square().mean(0)
    frequency = torch.hypot(torch.fft.fftfreq(shape[0])[:, None], torch.fft.fftfreq(shape[1]))
    slope = np.polyfit(frequency.flatten()[1:].log().numpy(), power.flatten()[1:].log().numpy(), 1)[0]
    assert slope == pytest.approx(-1.5, abs=0.03)


def test_mistakes() -> None:
    images = smooth(1, 32)
    with pytest.raises(UserError, match="unknown corruption 'gausian_noise': did you mean 'gaussian_noise'"):
        corrupt(images, "gausian_noise", 1, SEED)
    for severity in (0, 6):
        with pytest.raises(UserError, match=f"severity is {severity}: give 1 to 5"):
            corrupt(images, "fog", severity, SEED)
    with pytest.raises(UserError, match="unknown set of constants 'cifr': did you mean 'cifar'"):
        corrupt(images, "fog", 1, SEED, constants="cifr")
    for wrong in (images.float(), images[0], images[:, :2], images[..., :4]):
        with pytest.raises(UserError, match=r"give torch.uint8 \(n, 1 or 3, h, w\)"):
            corrupt(wrong, "fog", 1, SEED)


def published(folder: Path, n: int = 2) -> NDArray[np.uint8]:
    images = np.random.default_rng(0).integers(0, 256, (5 * n, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile(np.arange(n, dtype=np.uint8), 5))
    return images


def test_npy_files_are_read_by_severity(tmp_path: Path) -> None:
    images = published(tmp_path)
    read, labels = read_npy(tmp_path, "fog", 4, n=2)
    assert np.array_equal(read.permute(0, 2, 3, 1).numpy(), images[6:8])
    assert read.dtype == torch.uint8
    assert labels.tolist() == [0, 1]
    assert labels.dtype == torch.int64


def test_npy_files_that_are_not_as_published(tmp_path: Path) -> None:
    images = published(tmp_path)
    with pytest.raises(UserError, match=r"snow.npy does not exist.*found there: fog, labels"):
        read_npy(tmp_path, "snow", 1, n=2)
    with pytest.raises(UserError, match=r"unknown corruption 'fgo': did you mean 'fog'"):
        read_npy(tmp_path, "fgo", 1, n=2)
    with pytest.raises(UserError, match="severity is 6"):
        read_npy(tmp_path, "fog", 6, n=2)
    with pytest.raises(
        UserError, match=r"fog.npy holds uint8 of shape \(10, 32, 32, 3\): expected .*\(50000, 32, 32, 3"
    ):
        read_npy(tmp_path, "fog", 1)
    for wrong in (images[:9], images.astype(np.float32), images[..., 0], images[:, :16]):
        np.save(tmp_path / "fog.npy", wrong)
        with pytest.raises(UserError, match=r"fog.npy holds .*expected uint8 of shape \(10, 32, 32, 3\)"):
            read_npy(tmp_path, "fog", 1, n=2)
    np.save(tmp_path / "fog.npy", images)
    for wrong_labels in (np.zeros(9, np.int64), np.zeros(10)):
        np.save(tmp_path / "labels.npy", wrong_labels)
        with pytest.raises(UserError, match=r"labels.npy holds .*expected integers of shape \(10,\)"):
            read_npy(tmp_path, "fog", 1, n=2)
    whole = (tmp_path / "fog.npy").read_bytes()
    for broken in (whole[:1000], b"", b"not an array"):
        (tmp_path / "fog.npy").write_bytes(broken)
        with pytest.raises(UserError, match=r"fog.npy is not a complete .npy file"):
            read_npy(tmp_path, "fog", 1, n=2)


def read_image_folder(
    folder: Path, name: str, severity: int, size: int = 224, classes: list[str] | None = None
) -> tuple[Tensor, Tensor]:
    """All images of a published set, and their labels."""
    files, labels = find_images(folder, name, severity, classes)
    return torch.stack([read_image(file, size) for file in files]), labels


def test_image_folders(tmp_path: Path) -> None:
    root = tmp_path / "fog" / "3"
    for label, value in (("b", 200), ("a", 50)):
        (root / label).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (24, 24 + 8 * k), (value, k, 0)).save(root / label / f"{k}.JPEG", quality=95)
    images, labels = read_image_folder(tmp_path, "fog", 3, size=24)
    assert images.shape == (4, 3, 24, 24)
    assert labels.tolist() == [0, 0, 1, 1]
    assert [round(float(image[0].float().mean()), -1) for image in images] == [50, 50, 200, 200]
    reread, shifted_labels = read_image_folder(tmp_path, "fog", 3, size=24, classes=["z", "a", "b"])
    assert torch.equal(reread, images)
    assert shifted_labels.tolist() == [1, 1, 2, 2]
    with pytest.raises(UserError, match="does not exist"):
        read_image_folder(tmp_path, "fog", 1)
    with pytest.raises(UserError, match="is not one of the 1 classes"):
        read_image_folder(tmp_path, "fog", 3, classes=["a"])
    (tmp_path / "fog" / "2").mkdir()
    with pytest.raises(UserError, match="no images"):
        read_image_folder(tmp_path, "fog", 2)
    (root / "a" / "0.JPEG").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"0.JPEG is not an image"):
        read_image_folder(tmp_path, "fog", 3)

"""Crops and flips: each image has its own draw, and the values are those of doing it image by image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from lottery_pools.data import augment
from lottery_pools.runs.seeds import generator


def batch(n: int, c: int, h: int, w: int, seed: int) -> Tensor:
    return torch.randint(1, 256, (n, c, h, w), dtype=torch.uint8, generator=generator(seed, "pixels"))


@given(
    n=st.integers(1, 5),
    c=st.integers(1, 3),
    h=st.integers(1, 6),
    w=st.integers(1, 6),
    padding=st.integers(0, 4),
    seed=st.integers(0, 99),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_crop_is_a_window_of_the_padded_image_at_each_images_own_offset(
    n: int, c: int, h: int, w: int, padding: int, seed: int, layout: torch.memory_format
) -> None:
    images = batch(n, c, h, w, seed).contiguous(memory_format=layout)
    cropped = augment.crop(images, padding, augment.random_offsets(n, padding, generator(seed, "crop")))

    draws = generator(seed, "crop")
    across = torch.randint(2 * padding + 1, (n,), generator=draws)
    down = torch.randint(2 * padding + 1, (n,), generator=draws)
    for i in range(n):
        padded = torch.zeros(c, h + 2 * padding, w + 2 * padding, dtype=torch.uint8)
        padded[:, padding : padding + h, padding : padding + w] = images[i]
        y, x = int(down[i]), int(across[i])
        assert torch.equal(cropped[i], padded[:, y : y + h, x : x + w])
    assert cropped.dtype == torch.uint8
    assert cropped.is_contiguous(memory_format=layout)


@given(n=st.integers(1, 6), length=st.integers(1, 9), padding=st.integers(0, 5), seed=st.integers(0, 99))
def test_crop_shifts_signals(n: int, length: int, padding: int, seed: int) -> None:
    signals = torch.rand(n, 2, length, generator=generator(seed, "signals")) + 1
    cropped = augment.crop(signals, padding, augment.random_offsets(n, padding, generator(seed, "crop"), signals=True))
    across = torch.randint(2 * padding + 1, (n,), generator=generator(seed, "crop"))
    for i in range(n):
        padded = torch.zeros(2, length + 2 * padding)
        padded[:, padding : padding + length] = signals[i]
        assert torch.equal(cropped[i], padded[:, int(across[i]) : int(across[i]) + length])


@given(
    n=st.integers(1, 8),
    w=st.integers(1, 6),
    seed=st.integers(0, 99),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_flip_mirrors_some_images_and_leaves_the_rest(n: int, w: int, seed: int, layout: torch.memory_format) -> None:
    images = batch(n, 3, 4, w, seed).contiguous(memory_format=layout)
    before = images.clone()
    flipped = augment.flip(images, augment.random_mirrored(n, generator(seed, "flip")))
    chosen = torch.rand(n, generator=generator(seed, "flip")) < 0.5
    for i in range(n):
        expected = torch.from_numpy(images[i].numpy()[..., ::-1].copy()) if chosen[i] else images[i]
        assert torch.equal(flipped[i], expected)
    assert torch.equal(images, before)
    assert flipped.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("padding", [1, 2])
def test_every_offset_is_as_likely(padding: int) -> None:
    side = 2 * padding + 1
    image = torch.arange(1, side * side + 1, dtype=torch.uint8).view(1, 1, side, side).expand(20_000, -1, -1, -1)
    centre = augment.crop(image, padding, augment.random_offsets(20_000, padding, generator(0, "crop")))[
        :, 0, padding, padding
    ].long()
    shares = centre.bincount(minlength=side * side + 1)[1:] / 20_000
    assert (shares - 1 / side**2).abs().max() < 4.5 * (1 / side**2 / 20_000) ** 0.5


def test_half_of_the_images_are_flipped() -> None:
    images = torch.tensor([0, 1]).expand(20_000, 1, 2)
    assert (
        abs(
            float(augment.flip(images, augment.random_mirrored(20_000, generator(0, "flip")))[:, 0, 0].double().mean())
            - 0.5
        )
        < 0.015
    )


@given(
    n=st.integers(1, 4),
    c=st.sampled_from([1, 3]),
    side=st.integers(4, 40),
    size=st.integers(1, 40),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
)
def test_resized_crop_interpolates_each_images_own_part(
    n: int, c: int, side: int, size: int, seed: int, dtype: torch.dtype
) -> None:
    images = batch(n, c, side, side, seed).to(dtype)
    resized = augment.resized_crop(images, size, augment.random_boxes(n, side, side, generator(seed, "crop")))
    assert resized.dtype == dtype
    for i, (top, left, height, width) in enumerate(
        augment.random_boxes(n, side, side, generator(seed, "crop")).tolist()
    ):
        part = images[i : i + 1, :, top : top + height, left : left + width].float()
        expected = functional.interpolate(part, (size, size), mode="bilinear", antialias=True)[0]
        if dtype == torch.uint8:  # a half may be rounded to either side
            assert (resized[i].float() - expected).abs().max() <= 0.501
        else:
            torch.testing.assert_close(resized[i], expected, atol=1e-3, rtol=0)


def test_resized_crop_keeps_its_precision_under_autocast() -> None:
    images = batch(3, 3, 32, 32, 0)
    boxes = augment.random_boxes(3, 32, 32, generator(0, "crop"))
    plain = augment.resized_crop(images, 28, boxes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment.resized_crop(images, 28, boxes), plain)


def test_resized_crop_of_many_images_is_that_of_each() -> None:
    images = batch(130, 1, 8, 8, 0)  # more than one block
    drawn = augment.random_boxes(130, 8, 8, generator(0, "crop"))
    resized = augment.resized_crop(images, 7, drawn)
    for i in (0, 63, 64, 129):
        top, left, height, width = drawn[i].tolist()
        part = images[i : i + 1, :, top : top + height, left : left + width].float()
        expected = functional.interpolate(part, (7, 7), mode="bilinear", antialias=True)[0]
        assert (resized[i].float() - expected).abs().max() <= 0.501


def test_boxes_have_the_areas_ratios_and_places_that_are_asked_for() -> None:
    top, left, height, width = augment.random_boxes(40_000, 256, 256, generator(0, "crop")).double().unbind(1)
    assert bool(((top >= 0) & (left >= 0) & (top + height <= 256) & (left + width <= 256)).all())
    assert bool(((height > 0) & (width > 0)).all())
    ratio, area = width / height, height * width / 256**2
    assert 0.73 < float(ratio.min()) < 0.76
    assert 1.32 < float(ratio.max()) < 1.37
    assert abs(float(ratio.log().mean())) < 0.005
    assert 0.078 < float(area.min()) < 0.083
    small = area < 0.5  # these fit whatever their ratio: uniform, the log of their ratio too
    assert float(area[small].mean()) == pytest.approx(0.29, abs=0.005)
    assert float(ratio[small].log().std()) == pytest.approx(math.log(4 / 3) / 3**0.5, abs=0.005)
    for start, length in ((top, height), (left, width)):
        share = start[small] / (256 - length[small])
        assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
        assert float(share.std()) == pytest.approx(12**-0.5, abs=0.01)


def test_a_box_that_never_fits_is_the_whole_image() -> None:
    assert augment.random_boxes(5, 2, 60, generator(0, "crop")).tolist().count([0, 0, 2, 60]) > 0
    assert (augment.random_boxes(200, 1, 100, generator(0, "crop"))[:, 2] == 1).all()


@pytest.mark.parametrize(("side", "size"), [(8, 7), (9, 5), (6, 6)])
def test_middle_is_the_central_square(side: int, size: int) -> None:
    images = batch(2, 3, side, side, 0)
    start = (side - size) // 2
    assert torch.equal(augment.centre_crop(images, size), images[..., start : start + size, start : start + size])

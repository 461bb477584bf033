from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

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
    cropped = augment.crop(images, padding, generator(seed, "crop"))

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
    cropped = augment.crop(signals, padding, generator(seed, "crop"))
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
    flipped = augment.flip(images, generator(seed, "flip"))
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
    centre = augment.crop(image, padding, generator(0, "crop"))[:, 0, padding, padding].long()
    shares = centre.bincount(minlength=side * side + 1)[1:] / 20_000
    assert (shares - 1 / side**2).abs().max() < 4.5 * (1 / side**2 / 20_000) ** 0.5


def test_half_of_the_images_are_flipped() -> None:
    images = torch.tensor([0, 1]).expand(20_000, 1, 2)
    assert abs(float(augment.flip(images, generator(0, "flip"))[:, 0, 0].double().mean()) - 0.5) < 0.015

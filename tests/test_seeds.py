"""Random streams: functions of seed and name, which must never change silently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.runs.seeds import derive, generator

NAME = st.lists(st.text(max_size=5) | st.integers(-100, 100), max_size=3)


@pytest.mark.parametrize(
    ("seed", "name", "value"),
    [
        (0, (), 7520536977032167579),
        (0, ("augment", 1, 7), 8999235656694526356),
        (1, ("augment", 1, 7), 8549616158280847173),
        (0, ("augment", 17), 421089596478894906),
        (12345, ("recalibrate",), 1487362616049403355),
    ],
)
def test_frozen_values(seed: int, name: tuple[str | int, ...], value: int) -> None:
    assert derive(seed, *name) == value


@given(st.integers(), NAME, st.integers(), NAME)
def test_streams_differ_where_seed_or_name_do(
    seed: int, name: list[str | int], other_seed: int, other_name: list[str | int]
) -> None:
    derived, other_derived = derive(seed, *name), derive(other_seed, *other_name)
    assert 0 <= derived < 2**63
    assert (derived == other_derived) == ((seed, name) == (other_seed, other_name))


def test_generators_are_reproducible_and_on_the_cpu() -> None:
    first, second = generator(0, "augment", 1, 7), generator(0, "augment", 1, 7)
    assert first.device == torch.device("cpu")
    torch.rand(3, generator=generator(0, "augment", 1, 8))  # draws of one stream do not move another
    assert torch.equal(torch.rand(5, generator=first), torch.rand(5, generator=second))
    assert not torch.equal(torch.rand(5, generator=first), torch.rand(5, generator=generator(0, "augment", 1, 7)))


def test_neighbouring_streams_are_uncorrelated() -> None:
    draws = np.stack([torch.randn(2000, generator=generator(0, "level", level)).numpy() for level in range(20)])
    draws = np.concatenate([draws, [torch.randn(2000, generator=generator(seed, "level", 0)) for seed in range(1, 20)]])
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)

"""Masks as few bytes: back to the bit, near the entropy, and refused where they are not what they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lottery_pools.tickets.mask_code import (
    BEFORE_KEPT,
    BEFORE_PRUNED,
    MAX_LOW_BITS,
    MAX_WEIGHTS_PER_BYTE,
    RUNS,
    decode,
    encode,
    fits,
    spread,
)

DENSITIES = (0.0, 0.0005, 0.02, 0.1, 0.2, 0.38, 0.5, 0.7, 0.9, 0.999, 1.0)


def random_mask(density: float, size: int = 200_000, seed: int = 0) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(size) < density


@given(st.lists(st.booleans(), max_size=70))
def test_any_mask_comes_back(values: list[bool]) -> None:
    mask = np.array(values, np.bool_)
    assert decode(encode(mask), len(values)).tolist() == values


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3000)), max_size=20))
def test_any_runs_come_back(runs: list[tuple[bool, int]]) -> None:
    mask = np.repeat(np.array([value for value, _ in runs], np.bool_), [length for _, length in runs])
    assert np.array_equal(decode(encode(mask), mask.size), mask)


@pytest.mark.parametrize("density", DENSITIES)
def test_random_masks_take_few_bits_more_than_their_entropy(density: float) -> None:
    mask = random_mask(density)
    coded, p = encode(mask), mask.mean()
    assert np.array_equal(decode(coded, mask.size), mask)
    entropy = 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    assert 8 * len(coded) <= 1.045 * entropy * mask.size + mask.size / 256 + 160  # 20 bytes of prefix and rounding


def test_the_way_is_the_shortest() -> None:
    ways = {encode(random_mask(density))[0]: density for density in DENSITIES}
    assert ways.keys() == {BEFORE_KEPT, BEFORE_PRUNED}
    filters = np.repeat(random_mask(0.5, 400), 500)  # whole filters are pruned
    assert encode(filters)[0] == RUNS
    assert len(encode(filters)) < filters.size / 8 / 40
    assert np.array_equal(decode(encode(filters), filters.size), filters)


def test_the_shape_and_the_memory_layout_do_not_matter() -> None:
    mask = random_mask(0.3, 24).reshape(2, 3, 4)
    assert encode(mask).tobytes() == encode(mask.ravel()).tobytes()
    assert encode(np.asfortranarray(mask)).tobytes() == encode(mask).tobytes()


@pytest.mark.parametrize("density", DENSITIES)
def test_a_mask_of_another_size_is_refused(density: float) -> None:
    coded = encode(random_mask(density, 1000))
    for size in (0, 1, 999, 1001, 2000, 10**15):
        with pytest.raises(ValueError, match=r"does not describe|cannot be the mask|numbers where"):
            decode(coded, size)


def test_a_byte_stands_for_so_many_weights_and_no_more() -> None:
    size = 10_000_000
    coded = encode(np.zeros(size, np.bool_))
    assert coded[1] == MAX_LOW_BITS
    assert size / MAX_WEIGHTS_PER_BYTE < len(coded) < size / MAX_WEIGHTS_PER_BYTE + 20
    assert fits(len(coded), size)
    assert not fits(len(coded), size + 11 * MAX_WEIGHTS_PER_BYTE)
    assert not fits(10, 0)


@pytest.mark.parametrize(
    "coded",
    [
        b"",
        bytes(10),
        b"\3\0\1\0\0\0\0\0\0\0\x80",  # an unknown way
        b"\0\x09\1\0\0\0\0\0\0\0" + bytes(9) + b"\x80",  # too many low bits
        b"\0\0\2\0\0\0\0\0\0\0\x80",  # fewer numbers than announced
        b"\0\1" + b"\xff" * 8 + b"\0\x80",  # 2**64 numbers
        b"\0\0\1\0\0\0\0\0\0\0\x80\0",  # a byte too many
        b"\2\0\1\0\0\0\0\0\0\0\x40",  # one run of one weight
    ],
)
def test_bytes_that_are_no_mask_of_no_weights(coded: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(np.frombuffer(coded, np.uint8), 0)


@given(st.binary(max_size=40), st.integers(0, 3), st.integers(0, 9), st.integers(0, 300))
def test_any_bytes_are_a_mask_or_refused(content: bytes, way: int, low_bits: int, size: int) -> None:
    ones = sum(byte.bit_count() for byte in content)
    coded = bytes((way, low_bits)) + ones.to_bytes(8, "little") + content
    try:
        mask = decode(np.frombuffer(coded, np.uint8), size)
    except ValueError:
        return
    assert mask.shape == (size,)
    assert mask.dtype == np.bool_


def test_values_are_spread_over_the_survivors() -> None:
    mask = random_mask(0.3)
    values = np.arange(1, int(mask.sum()) + 1)
    dense = np.zeros(mask.size, values.dtype)
    spread(values, mask, dense)
    assert np.array_equal(dense[mask], values)
    assert not dense[~mask].any()

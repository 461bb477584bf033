"""Numbers in words: signs, counts, times, sizes, and spaces at which no line breaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.reporting import words
from tests.test_tables import make_gain


def test_signs_are_minus_signs() -> None:
    assert (words.signed(0.734), words.signed(-0.2), words.signed(-1.25, 1)) == ("+0.73", "−0.20", "−1.2")
    assert (words.fixed(0.734), words.fixed(-0.0028, 4)) == ("0.73", "−0.0028")
    assert words.interval(make_gain(gain=-0.25)) == "−0.25 [−0.75, +0.25]"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (8_991, "8,991"),
        (623_000, "623,000"),
        (999_499.6, "999,500"),
        (999_499, "999,499"),
        (999_500, "1.00 M"),
        (5_430_132, "5.43 M"),
        (48_973_168, "49.0 M"),
        (9_996_000, "10.0 M"),
        (269_000_000, "269 M"),
        (999_600_000, "1.00 G"),
        (1_600_000_000, "1.60 G"),
        (2e15, "2000 T"),
    ],
)
def test_big_numbers_have_three_digits_and_a_unit(number: float, text: str) -> None:
    assert words.big(number) == text


def test_a_space_before_a_unit_and_in_an_interval_does_not_break() -> None:
    text = words.unbroken("Of 100 samples, 95 % in 9 levels: 5.43 M, +0.73 [+0.48, +0.99], 0.5 points, 2 Mice")
    assert text.replace("\u00a0", "_") == (
        "Of 100 samples, 95_% in 9_levels: 5.43_M, +0.73 [+0.48,_+0.99], 0.5_points, 2 Mice"
    )


def test_one_has_no_plural() -> None:
    assert [words.plural(n, "seed") for n in (0, 1, 3)] == ["0 seeds", "1 seed", "3 seeds"]


@given(st.floats(0, 1e7))
def test_durations_are_true_to_a_tenth(seconds: float) -> None:
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    parts = words.duration(seconds).split()
    told = sum(int(n) * units[unit] for n, unit in zip(parts[::2], parts[1::2], strict=True))
    assert abs(told - seconds) <= max(0.5, seconds / 50)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.7, "60 s"), (60, "1 min"), (3599.9, "60 min"), (12_000, "3 h 20 min")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_sizes_and_bars() -> None:
    assert [words.size(n) for n in (0, 999, 1000, 3_140_000, 2e16)] == [
        "0 B",
        "999 B",
        "1 kB",
        "3.14 MB",
        "2e+04 TB",
    ]
    assert [words.bar(share, 2) for share in (0, 1e-9, 0.5, 0.75, 1)] == ["", "▏", "█", "█▌", "██"]

"""Numbers from predictions: by hand, against loops and brute force, and on simulated data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lottery_pools.evaluation.metrics import accuracies, calibration_error, comparable, gains
from lottery_pools.runs.rows import Gain, Row, pack_hits


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.97, 0.55, 0.65])
    correct = np.array([True, False, True, False])
    # bins of a tenth: |0.5 - 0.96| for two samples, |1 - 0.55| and |0 - 0.65| for one each
    assert calibration_error(confidence, correct, 10) == pytest.approx((2 * 0.46 + 0.45 + 0.65) / 4)
    # one bin: |0.5 - 0.78|
    assert calibration_error(confidence, correct, 1) == pytest.approx(0.28)


def test_calibration_bins_end_with_their_upper_edge() -> None:
    # the upper edge 0.5 belongs with 0.25, and 0 and 1 have bins: |1 - 0.75| / 4 + |1 - 1| / 4, not |1 - 0.5 + …|
    assert calibration_error(np.array([0.25, 0.5, 0.0, 1.0]), np.array([True, False, False, True]), 2) == 0.0625


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_calibration_error_against_a_loop(samples: list[tuple[float, bool]], bins: int) -> None:
    total = 0.0
    for b in range(bins):
        inside = [(c, hit) for c, hit in samples if (c * bins > b or b == 0) and c * bins <= b + 1]
        if inside:
            accuracy = sum(hit for _, hit in inside) / len(inside)
            total += len(inside) / len(samples) * abs(accuracy - sum(c for c, _ in inside) / len(inside))
    confidence, correct = (np.array(part) for part in zip(*samples, strict=True))
    assert calibration_error(confidence, correct, bins) == pytest.approx(total, abs=1e-12)


def row(method: str, level: int, seed: int, hits: str) -> Row:
    correct = np.array([hit == "1" for hit in hits])
    packed, accuracy = pack_hits(correct), float(correct.mean())
    counts = {"n": len(hits), "correct": int(correct.sum()), "loss": 1.0, "accuracy": accuracy, "ece": 0.1}
    same = {
        "run": "r",
        "split": "test",
        "corruption": "none",
        "severity": 0,
        "train_images": 1,
        "search_images": 1,
        "flops": 1,
    }
    return Row(**counts, **same, method=method, level=level, seed=seed, density=0.8**level, source=level, hits=packed)  # type: ignore[arg-type]


ROWS = [
    row("ticket", 0, 0, "1000"),
    row("ticket", 0, 1, "1100"),
    row("average", 0, 0, "0111"),
    row("average", 0, 1, "1100"),
    row("ticket", 1, 0, "1111"),
    row("ticket", 1, 1, "0000"),
    row("average", 1, 0, "0000"),  # seed 1 has none: level 1 is left out
    row("ticket", 2, 0, "1111"),
    row("ticket", 2, 1, "0001"),
    row("average", 2, 0, "1111"),
    row("average", 2, 1, "0000"),
]


def test_gains_by_hand() -> None:
    all_gains = gains(ROWS)
    # level 0: (3 - 1 + 0) of 8; level 2: -1 of 8; level 1 is not compared, nor in the mean
    assert [(g.level, g.density, g.gain) for g in all_gains] == [(0, 1.0, 25.0), (2, 0.8**2, -12.5), (None, None, 6.25)]
    for gain in all_gains:
        assert (gain.method, gain.against, gain.corruption, gain.seeds, gain.n) == ("average", "ticket", "none", 2, 4)
        assert gain.low <= gain.gain <= gain.high


def test_an_unvarying_gain_has_no_width() -> None:
    rows = [row("ticket", 0, seed, "0000") for seed in (0, 1)] + [row("average", 0, seed, "1111") for seed in (0, 1)]
    assert gains(rows)[0] == Gain("average", "ticket", 0, 1.0, "none", 100.0, 100.0, 100.0, 2, 4, 0.0, 2, 0)


def test_cells_that_lose_are_counted() -> None:
    by_level = {gain.level: (gain.losses, gain.cells) for gain in gains(ROWS)}
    # level 0: 3 - 1 and 2 - 2 of 4 samples; level 2: 4 - 4 and 0 - 1
    assert by_level == {0: (0, 2), 2: (1, 2), None: (1, 4)}


def test_an_interval_over_seeds_is_students_and_that_of_one_seed_is_over_its_samples() -> None:
    over_seeds = gains(ROWS)[0]
    half = stats.t.ppf(0.975, 1) * np.std([50, 0], ddof=1) / np.sqrt(2)
    assert (over_seeds.low, over_seeds.high) == pytest.approx((25 - half, 25 + half), abs=1e-3)
    one_seed = gains([row for row in ROWS if row.seed == 0])[0]
    half = stats.norm.ppf(0.975) * np.std([-100, 100, 100, 100], ddof=1) / 2
    assert one_seed.seeds == 1
    assert (one_seed.low, one_seed.high) == pytest.approx((50 - half, 50 + half), abs=1e-3)


def test_baselines_are_compared_only_with_those_before_them() -> None:
    methods = ("ticket", "recalibrated", "admissible", "average")
    all_gains = gains([row(method, 0, 0, "1010") for method in methods])
    assert list(dict.fromkeys((gain.method, gain.against) for gain in all_gains)) == [
        ("recalibrated", "ticket"),
        ("admissible", "ticket"),
        ("admissible", "recalibrated"),
        ("average", "ticket"),
        ("average", "recalibrated"),
        ("average", "admissible"),
    ]


def test_clean_gains_read_clean_test_rows_only() -> None:
    others = [replace(r, split="validation", hits="") for r in ROWS]
    others += [replace(r, corruption="fog", severity=3) for r in ROWS]
    assert [gain for gain in gains(ROWS + others) if gain.corruption == "none"] == gains(ROWS)
    assert gains(others[: len(ROWS)]) == []


def test_corrupted_gains_are_means_over_all_corruptions_sample_by_sample() -> None:
    def corrupted(method: str, corruption: str, severity: int, hits: str) -> Row:
        return replace(row(method, 0, 0, hits), corruption=corruption, severity=severity)

    rows = [
        row("ticket", 0, 0, "1111"),
        row("average", 0, 0, "1111"),
        corrupted("ticket", "fog", 1, "0000"),
        corrupted("ticket", "fog", 2, "0000"),
        corrupted("average", "fog", 1, "1100"),
        corrupted("average", "fog", 2, "1000"),
        corrupted("swa", "fog", 1, "1111"),  # severity 2 is missing: no mean over all
    ]
    gain_at = {(g.method, g.corruption, g.level): g for g in gains(rows)}
    assert gain_at["average", "none", 0].gain == 0
    assert gain_at["average", "all", 0].gain == gain_at["average", "all", None].gain == 37.5
    assert gain_at["average", "all", 0].n == 4
    assert not any(method == "swa" for method, _, _ in gain_at)


def test_comparable_gains_are_over_what_all_methods_have() -> None:
    """Level 1 lacks `average` on seed 1, level 2 `swa`: only level 0 is left, whatever each gains over more."""
    rows = [*ROWS, row("swa", 0, 0, "1010"), row("swa", 0, 1, "1100")]
    all_gains = gains(rows)
    assert {g.method: g.gain for g in all_gains if g.level is None} == {"average": 6.25, "swa": 12.5}
    assert [(g.method, g.level, g.gain) for g in comparable(rows, all_gains)] == [
        *(("average", None, 25.0), ("swa", None, 12.5))
    ]
    same = [entry for entry in rows if entry.level == 0]
    assert comparable(same, gains(same)) == [g for g in gains(same) if g.level is None]


def test_accuracies_are_means_over_seeds_with_students_intervals() -> None:
    accuracy_at = {(accuracy.method, accuracy.level): accuracy for accuracy in accuracies(ROWS)}
    average = accuracy_at["average", 0]
    half = stats.t.ppf(0.975, 1) * 100 * np.std([0.75, 0.5], ddof=1) / np.sqrt(2)
    assert (average.mean, average.seeds, average.density, average.corruption) == (62.5, 2, 1.0, "none")
    assert (average.low, average.high) == pytest.approx((62.5 - half, 62.5 + half), rel=1e-3)
    assert ("average", 1) not in accuracy_at, "of one seed only, beside others of two"
    (alone,) = accuracies([row("ticket", 0, 0, "1000")])
    assert alone.low == alone.mean == alone.high == 25


def test_the_best_admissible_ticket_is_at_its_targets_density() -> None:
    rows = [row("ticket", 0, 0, "1"), replace(row("admissible", 0, 0, "1"), density=0.5, source=3)]
    assert [accuracy.density for accuracy in accuracies(rows[::-1])] == [1.0, 1.0]


def test_accuracies_under_corruption_are_means_over_corruptions_that_all_have() -> None:
    rows = [
        replace(row("ticket", 0, 0, hits), corruption=name, severity=1) for name, hits in (("a", "10"), ("b", "11"))
    ]
    means = accuracies([*rows, replace(rows[0], method="swa"), row("swa", 0, 0, "11")])
    assert [(accuracy.method, accuracy.corruption, accuracy.mean) for accuracy in means] == [
        ("swa", "none", 100),
        ("ticket", "all", 75),
    ]

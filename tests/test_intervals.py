"""Statistics of differences: against SciPy, by hand, and on simulated studies with fixed seeds."""

from __future__ import annotations

from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from lottery_pools.evaluation.intervals import holm, is_equivalent, means, p_value, paired_intervals, student, two_sided
from lottery_pools.runs.rows import Gain

TRUTH = 0.3


def simulate(
    rng: np.random.Generator, studies: int, seeds: int, between: float = 0.05, shared: float = 0.0
) -> NDArray[np.float64]:
    """(studies, seeds, 100) differences of mean 0.3: noise of each seed's sample, of each seed, and of each sample.

    `between` and `shared` are standard deviations, beside 1 for the noise of each seed's sample.
    """
    shape = (studies, seeds, 100)
    common = shared * rng.normal(size=(studies, 1, 100))
    common -= common.mean(2, keepdims=True)  # these test samples are all that the truth is about
    return np.asarray(TRUTH + rng.normal(size=shape) + between * rng.normal(size=(*shape[:2], 1)) + common)


def covered(differences: NDArray[np.float64]) -> float:
    """The share of the studies whose interval holds the truth."""
    _, low, high = paired_intervals(differences)
    return float(((low <= TRUTH) & (high >= TRUTH)).mean())


@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("between", [0.0, 0.05, 0.5])
def test_intervals_cover_the_truth_95_times_in_100(seeds: int, between: float) -> None:
    if seeds == 1 and between:
        pytest.skip("one seed says nothing about others")
    differences = simulate(np.random.default_rng(seeds), 3000, seeds, between, shared=0.2)
    assert 0.93 <= covered(differences) <= 0.96 + (seeds == 1) / 100  # shared noise counts for one seed


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.93), (5, 0.92), (10, 0.89)])
def test_with_other_test_samples_they_cover_it_a_little_less_often(seeds: int, least: float) -> None:
    """Of the noise of a sample's difference, seeds of the first studies shared 2 to 8 % of the variance."""
    rng = np.random.default_rng(seeds)
    common = 0.2 * rng.normal(size=(3000, 1, 100))
    assert least <= covered(simulate(rng, 3000, seeds) + common) <= 0.95


def test_a_mean_over_one_seed_has_the_error_of_its_samples() -> None:
    differences = simulate(np.random.default_rng(0), 2, 1)
    mean, error = means(differences)
    np.testing.assert_allclose(mean, differences.mean((1, 2)))
    np.testing.assert_allclose(error, differences[:, 0].std(1, ddof=1) / 10)
    assert means(np.ones((1, 1, 1)))[1] == 0


def test_an_interval_over_seeds_is_students() -> None:
    differences = simulate(np.random.default_rng(0), 1, 4)
    by_seed = differences[0].mean(1)
    expected = stats.t.interval(0.95, 3, by_seed.mean(), stats.sem(by_seed))
    _, low, high = paired_intervals(differences)
    assert (low[0], high[0]) == pytest.approx(expected)


@given(st.floats(-40, 40), st.integers(1, 60))
def test_students_distribution(t: float, freedom: int) -> None:
    assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 101, inf])
@pytest.mark.parametrize("coverage", [0.90, 0.95])
def test_students_quantile(freedom: float, coverage: float) -> None:
    exact = stats.norm.ppf(0.5 + coverage / 2) if freedom == inf else stats.t.ppf(0.5 + coverage / 2, freedom)
    assert student(freedom, coverage) == pytest.approx(exact, abs=1e-6)
    assert two_sided(inf, freedom) == 0


def gain(mean: float, error: float | None, seeds: int) -> Gain:
    return Gain("average", "recalibrated", None, None, "none", mean, mean, mean, seeds, 100, error)


def test_the_p_value_of_a_gain() -> None:
    assert p_value(gain(1.0, 0.5, 4)) == pytest.approx(2 * stats.t.sf(2, 3))
    assert p_value(gain(-1.0, 0.5, 1)) == pytest.approx(2 * stats.norm.sf(2))
    assert (p_value(gain(0.0, 0.0, 3)), p_value(gain(0.1, 0.0, 3))) == (1, 0)
    assert isnan(p_value(gain(1.0, None, 4)))


def test_equivalence_is_said_wrongly_at_most_5_times_in_100_and_often_where_it_is_so() -> None:
    rng = np.random.default_rng(0)

    def said(truth: float, error: float, seeds: int = 5) -> float:
        by_seed = truth + error * sqrt(seeds) * rng.normal(size=(2000, seeds))
        gains = [gain(float(seen.mean()), float(stats.sem(seen)), seeds) for seen in by_seed]
        return sum(map(is_equivalent, gains)) / len(gains)

    assert 0.03 <= said(0.3, 0.05) <= 0.06
    assert said(-0.3, 0.1) <= 0.06
    assert said(0.0, 0.05) >= 0.95
    assert not is_equivalent(gain(0.0, None, 5))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    corrected = holm([nan, 0.02])
    assert isnan(corrected[0])
    assert corrected[1] == 0.02


def test_holm_rejects_any_true_hypothesis_at_most_5_times_in_100() -> None:
    """Nine levels, of which three gain: of the other six, any is claimed in at most 5 % of the studies."""
    rng = np.random.default_rng(1)
    by_seed = rng.normal(size=(2000, 9, 5))
    by_seed[:, :3] += 3
    t = by_seed.mean(2) / (by_seed.std(2, ddof=1) / sqrt(5))
    wrong = right = uncorrected = 0
    for study in t:
        p_values = [two_sided(value, 4) for value in study]
        corrected = holm(p_values)
        wrong += min(corrected[3:]) <= 0.05
        uncorrected += min(p_values[3:]) <= 0.05
        right += sum(p <= 0.05 for p in corrected[:3])
    assert wrong / 2000 <= 0.055
    assert uncorrected / 2000 > 0.2
    assert right / 6000 > 0.6

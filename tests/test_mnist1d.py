"""MNIST-1D: each sample agrees with a step-by-step reference; classes, streams and noise are as described."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lottery_pools.config.schema import Difficulty
from lottery_pools.data import mnist1d
from lottery_pools.data.mnist1d import Draws, generate
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator

DEFAULT = Difficulty()


def reference(digit: NDArray[np.float64], draws: Draws, i: int, difficulty: Difficulty) -> NDArray[np.float64]:
    """Sample `i` step by step, in double precision, as Greydanus (2020) describes it."""
    points = 12 + difficulty.padding[1]
    padded = np.concatenate([digit + 1e-8, np.zeros(int(draws.padding[i]))])
    # Whole numbers divided: where a point meets the first zero of the padding, it is exactly zero.
    signal = np.interp(np.arange(points) * (len(padded) - 1) / (points - 1), np.arange(len(padded)), padded)
    signal *= 1 + difficulty.scale_coeff * (float(draws.amplitude[i]) - 0.5)
    signal = np.roll(signal, int(draws.roll[i]))
    noise = gaussian_filter(difficulty.corr_noise_scale * draws.correlated[i].double().numpy(), 2)
    signal = np.where(signal != 0, signal, noise)
    signal = signal + difficulty.iid_noise_scale * draws.independent[i].double().numpy()
    slope = difficulty.shear_scale * (float(draws.slope[i]) - 0.5)
    signal = signal - slope * np.linspace(-0.5, 0.5, points)
    finished: NDArray[np.float64] = np.interp(
        np.linspace(0, points - 1, difficulty.final_seq_length), np.arange(points), signal
    )
    return finished


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    padding=st.tuples(st.integers(0, 70), st.integers(0, 70)).map(sorted),
    scale=st.floats(0, 1),
    translation=st.integers(1, 200),
    correlated=st.floats(0, 1),
    independent=st.floats(0, 1),
    shear=st.floats(0, 2),
    length=st.integers(2, 120),
)
def test_each_sample_agrees_with_a_step_by_step_reference(
    seed: int,
    padding: list[int],
    scale: float,
    translation: int,
    correlated: float,
    independent: float,
    shear: float,
    length: int,
) -> None:
    low, high = padding
    difficulty = Difficulty((low, high), scale, translation, correlated, independent, shear, False, length)
    draws = mnist1d.draw(10, difficulty, generator(seed, "draws"))
    digits = mnist1d.templates()
    finished = mnist1d.transform(digits, draws, difficulty)
    expected = np.stack([reference(digits[i].double().numpy(), draws, i, difficulty) for i in range(10)])
    np.testing.assert_allclose(finished.numpy(), expected, rtol=0, atol=3e-6)


def test_templates_start_and_end_at_zero_and_are_standardised() -> None:
    digits = mnist1d.templates()
    assert digits.shape == (10, 12)
    torch.testing.assert_close(digits.std(1, correction=0), torch.full((10,), 1 / 6))
    assert digits[:, [0, -1]].abs().max() == 0
    assert len(torch.unique(digits, dim=0)) == 10


@pytest.mark.parametrize("n", [1, 7, 10, 4096, 100_003])
def test_any_number_of_samples_balanced_and_shuffled(n: int) -> None:
    signals, labels = generate(n, 0, DEFAULT)
    assert signals.shape == (n, 1, 40)
    assert signals.dtype == torch.float32
    assert labels.dtype == torch.int64
    counts = labels.bincount(minlength=10)
    assert counts.max() - counts.min() <= 1
    assert bool(signals.isfinite().all())
    assert n < 4096 or len(torch.unique(labels[:100])) == 10


def test_same_seed_same_samples_and_streams_apart() -> None:
    first, labels = generate(500, 3, DEFAULT, "train")
    repeated, labels_again = generate(500, 3, DEFAULT, "train")
    assert torch.equal(first, repeated)
    assert torch.equal(labels, labels_again)
    for seed, split in ((3, "test"), (4, "train")):
        other, other_labels = generate(500, seed, DEFAULT, split)
        assert not torch.equal(labels, other_labels)
        assert len(torch.unique(torch.cat([first, other]), dim=0)) == 1000


def test_labels_do_not_depend_on_difficulty() -> None:
    _, labels = generate(300, 0, DEFAULT, "test")
    _, harder = generate(300, 0, Difficulty(iid_noise_scale=0.5, padding=(10, 20)), "test")
    assert torch.equal(labels, harder)


def test_shuffled_points_are_permuted_alike_in_every_split() -> None:
    orders = []
    for split in ("train", "test"):
        plain, _ = generate(50, 1, DEFAULT, split)
        shuffled, _ = generate(50, 1, Difficulty(shuffle_seq=True), split)
        order = torch.tensor([int((plain[:, 0] == shuffled[:, :, i]).all(0).nonzero()) for i in range(40)])
        assert sorted(order.tolist()) == list(range(40))
        orders.append(order)
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], torch.arange(40))


def test_draws_have_the_distributions_of_the_paper() -> None:
    draws = mnist1d.draw(20_000, DEFAULT, generator(0, "draws"))
    assert draws.padding.unique().tolist() == list(range(36, 61))  # type: ignore[no-untyped-call]
    assert draws.roll.unique().tolist() == list(range(48))  # type: ignore[no-untyped-call]
    for uniform in (draws.amplitude, draws.slope):
        assert 0 <= uniform.min() < 0.01
        assert 0.99 < uniform.max() < 1
        assert abs(float(uniform.mean()) - 0.5) < 0.01
    for normal in (draws.correlated, draws.independent):
        assert normal.shape == (20_000, 72)
        assert abs(float(normal.mean())) < 0.005
        assert abs(float(normal.std()) - 1) < 0.005


def test_noise_has_the_spread_that_smoothing_leaves() -> None:
    # No template, no shear: pure noise. A Gaussian of σ = 2 leaves sqrt(1 / (4 √π)) of the deviation in mid-signal.
    difficulty = Difficulty(iid_noise_scale=0.0, shear_scale=0.0, max_translation=1, final_seq_length=72)
    signals = mnist1d.transform(torch.zeros(5000, 12), mnist1d.draw(5000, difficulty, generator(0, "n")), difficulty)
    assert float(signals[:, :12].abs().max()) == 0
    assert float(signals[:, 40:60].std()) == pytest.approx(0.25 * (4 * np.pi**0.5) ** -0.5, rel=0.02)


@pytest.mark.parametrize("n", [0, -3])
def test_fewer_than_one_sample_is_refused(n: int) -> None:
    with pytest.raises(UserError, match=f"mnist1d: {n} samples asked for the test split"):
        generate(n, 0, DEFAULT, "test")

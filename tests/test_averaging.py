from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.config.schema import Training
from lottery_pools.tickets.averaging import blend, refit_batchnorm, share_of_newest
from lottery_pools.tickets.ticket import snapshot
from tests.test_training import DATA, LEVEL, PLAIN, SEED, bits, dropout_network

numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6)


@given(numbers)
def test_shares_of_one_over_n_give_the_mean(values: list[float]) -> None:
    mean = {"w": torch.tensor([7.0]), "n": torch.tensor(3)}
    for n, value in enumerate(values, start=1):
        blend(mean, {"w": torch.tensor([value]), "n": torch.tensor(n)}, 1 / n)
    assert mean["w"].item() == pytest.approx(sum(values) / len(values), rel=1e-5, abs=1e-4)
    assert mean["n"].item() == len(values)  # of the last


def test_a_mean_by_hand() -> None:
    mean = {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(3)}
    weights = {"w": torch.tensor([0.0, 8.0]), "n": torch.tensor(5)}
    blend(mean, weights, 0.25)
    assert mean["w"].tolist() == [0.0, 5.0]
    assert (mean["n"].item(), mean["n"].dtype) == (5, torch.int64)
    assert weights["w"].tolist() == [0.0, 8.0]
    blend(mean, weights, 1.0)
    assert mean["w"].tolist() == [0.0, 8.0]


def shares(start: int, stop: int, **settings: Any) -> dict[int, float]:
    """Step → share, where there is one; three steps an epoch."""
    by_step = {step: share_of_newest(Training(**settings), step, start, stop, 3) for step in range(start + 1, stop + 1)}
    return {step: value for step, value in by_step.items() if value}


@pytest.mark.parametrize(
    ("average_from", "start", "stop", "expected"),
    [
        (0.75, 0, 12, {9: 1, 12: 1 / 2}),
        (0.0, 0, 12, {3: 1, 6: 1 / 2, 9: 1 / 3, 12: 1 / 4}),
        (0.51, 0, 12, {9: 1, 12: 1 / 2}),
        (0.07, 0, 300, {3 * epoch: 1 / (epoch - 6) for epoch in range(7, 101)}),  # 0.07 · 100 is above 7 in floats
        (0.25, 6, 12, {9: 1, 12: 1 / 2}),
        (0.5, 4, 10, {6: 1, 9: 1 / 2, 10: 1 / 3}),
        (0.9, 1, 2, {2: 1}),
    ],
)
def test_swa_shares(average_from: float, start: int, stop: int, expected: dict[int, float]) -> None:
    assert shares(start, stop, keep="swa", average_from=average_from) == pytest.approx(expected)


@given(st.floats(0, 0.999), st.integers(0, 40), st.integers(1, 40))
def test_swa_always_takes_the_last_step_and_starts_with_the_whole(average_from: float, start: int, length: int) -> None:
    averaged = shares(start, start + length, keep="swa", average_from=average_from)
    assert max(averaged) == start + length
    assert list(averaged.values()) == [1 / n for n in range(1, len(averaged) + 1)]


def test_ema_shares() -> None:
    # of decay 1/2, bias-corrected: (w₁ + 2 w₂) / 3, (w₁ + 2 w₂ + 4 w₃) / 7
    assert shares(4, 7, keep="ema", ema_decay=0.5) == pytest.approx({5: 1, 6: 2 / 3, 7: 4 / 7})


@pytest.mark.parametrize("keep", ["best", "last"])
def test_other_tickets_are_no_means(keep: Any) -> None:
    assert not shares(0, 12, keep=keep)


@pytest.mark.parametrize("training_mode", [True, False])
def test_refitting_changes_nothing_but_batchnorm_statistics(training_mode: bool) -> None:
    model = dropout_network().train(training_mode)
    before, state = snapshot(model), torch.get_rng_state()
    refit_batchnorm(model, DATA, PLAIN, SEED, LEVEL)
    once = snapshot(model)
    assert {name for name in before if not torch.equal(before[name], once[name])} == {
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }
    refit_batchnorm(model, DATA, PLAIN, SEED, LEVEL)
    assert bits(snapshot(model)) == bits(once)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == [training_mode] * 7
    assert model[1].momentum == 0.1  # type: ignore[index]

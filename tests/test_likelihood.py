"""Log-likelihood after temperature scaling: against a search by brute force, and what makes it a fair judge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lottery_pools.errors import UserError
from lottery_pools.pooling.likelihood import inverse_temperature, log_likelihood
from lottery_pools.runs.seeds import generator


def predictions(seed: int, n: int = 200, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right more often than not."""
    draws = generator(seed, "logits")
    labels = torch.randint(classes, (n,), generator=draws)
    return torch.randn(n, classes, generator=draws) + F.one_hot(labels, classes), labels


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.2, 5))
def test_the_temperature_is_the_likeliest_and_confidence_counts_for_nothing(seed: int, factor: float) -> None:
    logits, labels = predictions(seed)
    likelihood = float(log_likelihood(logits, labels).mean())
    grid = [-float(F.cross_entropy(logits * scale, labels)) for scale in torch.logspace(-1, 1, 101).tolist()]
    assert likelihood >= max(grid) - 1e-6
    assert likelihood == pytest.approx(max(grid), abs=1e-3)
    scaled = log_likelihood(logits * factor, labels)
    assert torch.allclose(scaled, log_likelihood(logits, labels), atol=1e-3)
    assert scaled.shape == (200,)
    assert bool((scaled <= 0).all())


def test_separable_and_hopeless_predictions_have_finite_temperatures() -> None:
    labels = torch.arange(4)
    assert inverse_temperature(torch.eye(4), labels) == pytest.approx(torch.tensor(5.0).exp().item(), rel=1e-3)
    wrong = -torch.eye(4)
    assert inverse_temperature(wrong, labels) == pytest.approx(torch.tensor(-5.0).exp().item(), rel=1e-3)
    assert bool(log_likelihood(wrong, labels).isfinite().all())


def test_classes_masked_by_minus_infinity_play_no_part() -> None:
    logits, labels = predictions(0)
    masked = torch.cat([logits, torch.full((len(logits), 3), -torch.inf)], 1)
    assert inverse_temperature(masked, labels) == pytest.approx(inverse_temperature(logits, labels), abs=1e-6)
    assert torch.allclose(log_likelihood(masked, labels), log_likelihood(logits, labels), atol=1e-5)


class NoFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A device that cannot make float64 tensors, as Apple's MPS."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64 and result.numel() > 1:
            raise TypeError("this device has no float64")
        return result


def test_a_device_without_float64_will_do() -> None:
    logits, labels = predictions(1)
    expected = log_likelihood(logits, labels)
    with NoFloat64():  # type: ignore[no-untyped-call]
        likelihood = log_likelihood(logits, labels)
    assert torch.allclose(likelihood, expected, atol=1e-5)


def test_labels_that_are_there_or_not_have_a_temperature_too() -> None:
    draws = generator(3, "labels")
    labels = (torch.rand(200, 4, generator=draws) < 0.3).float()
    logits = 3 * (torch.randn(200, 4, generator=draws) + 2 * labels - 1)
    values = log_likelihood(logits, labels, "multi-label")
    assert values.shape == (200,)
    grid = [
        -float(F.binary_cross_entropy_with_logits(logits * scale, labels, reduction="none").sum(1).mean())
        for scale in torch.logspace(-1, 1, 101).tolist()
    ]
    assert float(values.mean()) >= max(grid) - 1e-6
    assert float(values.mean()) == pytest.approx(max(grid), abs=1e-3)
    assert torch.allclose(log_likelihood(logits * 7, labels, "multi-label"), values, atol=1e-3)


def test_errors_of_numbers_are_gaussian_with_the_variance_that_they_have() -> None:
    draws = generator(4, "numbers")
    labels = torch.randn(300, 2, generator=draws) * torch.tensor([1.0, 50])
    outputs = labels + torch.randn(300, 2, generator=draws) * torch.tensor([0.3, 20])
    values = log_likelihood(outputs, labels, "regression")
    deviation = (outputs - labels).square().mean(0).sqrt()
    expected = torch.distributions.Normal(outputs, deviation).log_prob(labels).sum(1)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(values, expected)
    better = labels + 0.5 * (outputs - labels)
    assert log_likelihood(better, labels, "regression").mean() > values.mean()
    assert bool(log_likelihood(labels, labels, "regression").isfinite().all())


def test_labels_may_be_probabilities() -> None:
    logits, labels = predictions(1)
    one_hot = F.one_hot(labels, 5).double()
    assert torch.allclose(log_likelihood(logits, one_hot), log_likelihood(logits, labels), atol=1e-6)
    soft = torch.softmax(3 * logits + torch.randn(logits.shape, generator=generator(2, "noise")), 1)
    best = max(-float(F.cross_entropy(logits * scale, soft)) for scale in torch.logspace(-1, 1, 401).tolist())
    assert float(log_likelihood(logits, soft).mean()) == pytest.approx(best, abs=1e-4)
    # a class that both exclude plays no part
    masked, without = F.pad(logits, (0, 1), value=-torch.inf), F.pad(soft, (0, 1))
    assert torch.allclose(log_likelihood(masked, without), log_likelihood(logits, soft), atol=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "task", "message"),
    [
        (torch.zeros(3), torch.zeros(3).long(), "single-label", r"^logits are \(3,\): give \(n, classes\)"),
        (
            torch.zeros(3, 1),
            torch.zeros(3).long(),
            "single-label",
            "one class is always certain; .* task='multi-label'",
        ),
        (torch.zeros(3, 2), torch.zeros(3), "single-label", r"^labels are torch\.float32 \(3,\) for .* give int64"),
        (torch.zeros(3, 2), None, "single-label", r"^labels are a NoneType: give a tensor, such as the classes, int64"),
        (torch.zeros(3, 2), torch.zeros(4).long(), "single-label", r"give int64 of shape \(3,\), or probabilities"),
        (
            torch.zeros(3, 2),
            torch.tensor([1, 2, 1]),
            "single-label",
            "^labels are 1 to 2, .* of 2 classes: .* from 0 to 1$",
        ),
        (
            torch.zeros(3, 1),
            torch.zeros(3),
            "regression",
            "with task='regression' give floating numbers of the same shape",
        ),
        (torch.zeros(3, 2), torch.zeros(3, 2).long(), "multi-label", "with task='multi-label' give floating numbers"),
    ],
)
def test_labels_that_do_not_go_with_the_logits(logits: Any, labels: Any, task: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        log_likelihood(logits, labels, task)

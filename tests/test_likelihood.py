"""Log-likelihood after temperature scaling: against a search by brute force, and what makes it a fair judge."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

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
    found = float(log_likelihood(logits, labels).mean())
    grid = [-float(F.cross_entropy(logits * scale, labels)) for scale in torch.logspace(-1, 1, 101).tolist()]
    assert found >= max(grid) - 1e-6
    assert found == pytest.approx(max(grid), abs=1e-3)
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

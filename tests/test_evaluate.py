"""The evaluator on a network whose logits are its input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.evaluation.evaluate import evaluate, log_probabilities
from lottery_pools.runs.seeds import generator


def identity(classes: int) -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(classes, classes, bias=False), nn.Dropout(0.9)).train()
    nn.init.eye_(model[1].weight)  # type: ignore[arg-type]
    return model


def dataset_of(split: Split, mean: float = 0.0, std: float = 1.0) -> Dataset:
    return Dataset(split, split, split, split, ("a", "b", "c"), torch.tensor([mean]), torch.tensor([std]), 0, False)


PROBABILITIES = torch.tensor([[0.72, 0.18, 0.1], [0.22, 0.7, 0.08], [0.21, 0.7, 0.09], [0.1, 0.15, 0.75]])
LABELS = torch.tensor([0, 2, 1, 2])


def test_by_hand() -> None:
    split = Split(PROBABILITIES.log()[:, None], LABELS)
    measured = evaluate(identity(3), dataset_of(split), split, Training())
    assert measured.hits.dtype == np.bool_
    assert measured.hits.tolist() == [True, False, True, True]
    assert measured.accuracy == 0.75
    assert measured.loss == pytest.approx(-sum(map(math.log, (0.72, 0.08, 0.7, 0.75))) / 4, rel=1e-6)
    # fifteenths: 0.7 (twice) and 0.72 share one bin, (10, 11] / 15, 0.75 has the next
    assert measured.ece == pytest.approx((abs(2 - 2.12) + abs(1 - 0.75)) / 4, rel=1e-5)
    assert len(measured.bins) == 15
    assert {place: content for place, content in enumerate(measured.bins) if content[0]} == {
        10: (3, 2, round(2.12 / 3, 4)),
        11: (1, 1, 0.75),
    }
    assert measured.bins[0] == (0, 0, 0.0)


def test_images_are_normalised() -> None:
    split = Split(PROBABILITIES.log()[:, None] * 2 + 5, LABELS)
    plain = Split(PROBABILITIES.log()[:, None], LABELS)
    shifted = evaluate(identity(3), dataset_of(split, 5.0, 2.0), split, Training())
    assert shifted.loss == pytest.approx(evaluate(identity(3), dataset_of(plain), plain, Training()).loss, rel=1e-5)


def test_batch_size_does_not_matter_and_hits_are_in_order() -> None:
    draws = generator(0, "evaluate")
    logits, labels = torch.randn(23, 1, 3, generator=draws), torch.randint(3, (23,), generator=draws)
    split = Split(logits, labels)
    whole = evaluate(identity(3), dataset_of(split), split, Training())
    assert whole.hits.tolist() == (logits[:, 0].argmax(1) == labels).tolist()
    assert 0 < whole.accuracy < 1
    for batch in (1, 4, 23):
        part = evaluate(identity(3), dataset_of(split), split, Training(), batch)
        assert (part.hits == whole.hits).all()
        assert (part.loss, part.ece) == (whole.loss, whole.ece)


def test_a_sample_of_several_labels_is_right_if_all_of_them_are() -> None:
    probabilities = torch.tensor([[0.9, 0.2], [0.6, 0.7], [0.3, 0.1]])
    labels = torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    split = Split(probabilities.logit()[:, None], labels)
    data = replace(dataset_of(split), task="multi-label")
    measured = evaluate(identity(2), data, split, Training())
    assert measured.hits.tolist() == [True, False, True]
    assert measured.loss == pytest.approx(-sum(map(math.log, (0.9 * 0.8, 0.4 * 0.7, 0.7 * 0.9))) / 3, rel=1e-5)
    confident = [0.9 * 0.8, 0.6 * 0.7, 0.7 * 0.9]  # in fifteenths: three bins of their own
    expected = (abs(1 - confident[0]) + abs(0 - confident[1]) + abs(1 - confident[2])) / 3
    assert measured.ece == pytest.approx(expected, rel=1e-5)


def test_the_mean_prediction_of_several_networks_has_several_labels_too() -> None:
    logits = torch.tensor([[1.0, -2], [0.5, 3]])
    logs = log_probabilities(logits, "multi-label")
    assert logs.shape == (2, 2, 2)
    torch.testing.assert_close(logs[..., 1].exp(), logits.sigmoid())
    torch.testing.assert_close(logs.exp().sum(2), torch.ones(2, 2))
    assert torch.equal(log_probabilities(logits), logits.log_softmax(1))

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import measures

LOGITS = torch.tensor([[2.0, -1, 0.5], [-1, 3, -2], [0.1, 0.2, 0.3]])


def test_the_right_class() -> None:
    assert measures.of("single-label")(LOGITS, torch.tensor([0, 1, 0])).tolist() == [True, True, False]


def test_every_label_right() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 1, 1]])
    assert measures.of("multi-label")(LOGITS, labels).tolist() == [True, False, True]


def test_the_mean_is_the_coefficient_of_determination() -> None:
    labels = torch.randn(50, 2, generator=generator(0, "labels")) * torch.tensor([1.0, 100]) + 7
    outputs = labels + torch.randn(50, 2, generator=generator(0, "errors")) * torch.tensor([0.5, 90])
    values = measures.of("regression")(outputs, labels)
    assert values.shape == (50,)
    of_each = 1 - (outputs - labels).square().sum(0) / (labels - labels.mean(0)).square().sum(0)
    assert float(values.mean()) == pytest.approx(float(of_each.mean()), rel=1e-5)
    assert measures.explained(labels, labels).tolist() == [1.0] * 50
    mean = labels.mean(0).expand(50, 2)
    assert float(measures.explained(mean, labels).mean()) == pytest.approx(0, abs=1e-5)


def test_a_number_that_is_the_same_everywhere_has_no_r2() -> None:
    with pytest.raises(UserError, match="R² needs numbers that differ between samples"):
        measures.explained(torch.zeros(4, 1), torch.ones(4, 1))


def test_a_metric_of_ones_own_is_checked() -> None:
    labels = torch.zeros(3)
    assert measures.checked(lambda outputs, _: outputs[:, 0] > 0, "m:f")(LOGITS, labels).tolist() == [1.0, 0.0, 1.0]

    def told(metric: measures.Metric, message: str) -> None:
        with pytest.raises(UserError, match=message):
            measures.checked(metric, "m:f")(LOGITS, labels)

    told(lambda outputs, _: outputs, r"'m:f' returned \(3, 3\): return one value a sample, \(3,\)")
    told(lambda outputs, _: outputs.mean(), r"'m:f' returned \(\): return one value a sample")
    told(lambda outputs, _: 0.5, r"'m:f' returned float: return one value a sample")  # type: ignore[arg-type,return-value]

    def undefined(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs[:, 0] / 0

    told(undefined, "'m:f' returned values that are NaN or infinite")

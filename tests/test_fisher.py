"""The Fisher information: against a loop of autograd, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling import fisher
from lottery_pools.pooling.fisher import diagonal_fisher
from lottery_pools.runs.seeds import generator
from tests.test_algorithm2 import Net, make_samples


def by_autograd(model: nn.Module, batches: list[Tensor], seed: int) -> dict[str, Tensor]:
    draws, sums = generator(seed, "fisher"), dict[str, Tensor]()
    for batch in batches:
        with torch.no_grad():
            labels = torch.multinomial(model(batch).softmax(1), 1, generator=draws)[:, 0]
        for sample, label in zip(batch, labels, strict=True):
            loss = -model(sample[None]).log_softmax(1)[0, label]
            named = dict(model.named_parameters())
            for name, gradient in zip(named, torch.autograd.grad(loss, list(named.values())), strict=True):
                sums[name] = sums.get(name, torch.zeros_like(gradient)) + gradient.square()
    n = sum(map(len, batches))
    return {name: total / n for name, total in sums.items()}


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_it_is_the_mean_square_of_each_samples_gradient(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, inputs = Net(), make_samples(0)[0]
    monkeypatch.setattr(fisher, "GRADIENTS", at_once * sum(p.numel() for p in model.parameters()))
    model.norm.train()
    information = diagonal_fisher(model, [inputs[:10], inputs[10:]], 3)
    assert model.norm.training
    assert not model.training
    model.eval()
    expected = by_autograd(model, [inputs[:10], inputs[10:]], 3)
    assert list(information) == list(expected)
    for name, tensor in expected.items():
        assert torch.allclose(information[name], tensor, rtol=1e-10), name
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_a_tied_tensor_has_one_information_under_both_names() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    information = diagonal_fisher(model, [torch.randn(5, 3)], 0)
    assert torch.equal(information["0.weight"], information["1.weight"])
    assert set(information) == {"0.weight", "0.bias", "1.weight", "1.bias"}


@pytest.mark.parametrize(
    ("model", "batches", "message"),
    [
        (nn.Linear(2, 2), [], "samples has no batches: give some at each call"),
        (nn.Conv1d(1, 2, 1), [torch.ones(3, 1, 4)], "needs a classifier: its output must be logits"),
    ],
)
def test_mistakes_are_refused(model: nn.Module, batches: list[Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        diagonal_fisher(model, batches, 0)

"""A loss on the samples that score is told; anything else is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.errors import Notice
from lottery_pools.pooling import learning
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.result import Pooled
from lottery_pools.pooling.task import PoolingTask
from tests.test_algorithm2 import Net, make_recalibrate, make_samples, make_tickets

IMAGES, LABELS = make_samples(0)
Loss = Callable[[nn.Module], Tensor]


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LEARNED_SOUP_STEPS", 3)


def score_on(samples: slice) -> Loss:
    def score(model: nn.Module) -> Tensor:
        with torch.no_grad():
            logits = torch.cat([model.eval()(part) for part in torch.split(IMAGES[samples], 5)])
        return -nn.functional.cross_entropy(logits, LABELS[samples], reduction="none")

    return score


def loss_on(samples: slice, noise: float = 0.0) -> Loss:
    def loss(model: nn.Module) -> Tensor:
        images = IMAGES[samples] + noise
        return nn.functional.cross_entropy(model(images), LABELS[samples])

    return loss


def pool_with(score: Loss, loss: Loss, method: str | Method = "learned-soup", **options: Any) -> None:
    pool(Net(), make_tickets(0, range(3)), 0, score, make_recalibrate(0), method=method, loss=loss, **options)


def scored_first(task: PoolingTask) -> Pooled:
    """A method of the user's own that scores before it learns."""
    target_score, network = task.evaluate(task.target_network)
    assert task.loss is not None
    for _ in range(2):
        task.loss(task.evaluator.model)
    return task.result(network, (), target_score, target_score)


@pytest.mark.parametrize(
    ("scored", "learned"),
    [(slice(0, 24), slice(0, 24)), (slice(0, 16), slice(4, 12)), (slice(0, 16), slice(8, 24))],
)
@pytest.mark.parametrize("method", ["learned-soup", Method("mine", scored_first, "Mine", needs=("loss",))])
def test_the_same_samples_are_told(scored: slice, learned: slice, method: str | Method) -> None:
    with pytest.warns(Notice, match="the loss is computed on samples that also score") as caught:
        pool_with(score_on(scored), loss_on(learned), method)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("scored", "loss", "options"),
    [
        (slice(0, 16), loss_on(slice(16, 24)), {}),
        (slice(0, 16), loss_on(slice(15, 24)), {}),  # one of nine
        (slice(0, 24), loss_on(slice(0, 24), noise=0.1), {}),
        (slice(0, 24), loss_on(slice(0, 24)), {"allow_same_samples": True}),  # knowingly
        (slice(0, 24), loss_on(slice(0, 24)), {"method": "trimmed-soup"}),  # learns nothing
    ],
)
def test_others_are_not(scored: slice, loss: Loss, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool_with(score_on(scored), loss, **options)


def test_nothing_is_left_at_the_module() -> None:
    model = Net()
    arguments = {"method": "learned-soup", "loss": loss_on(slice(16, 24))}
    pool(model, make_tickets(0, range(3)), 0, score_on(slice(0, 16)), make_recalibrate(0), **arguments)  # type: ignore[arg-type]
    assert not model._forward_pre_hooks
    assert not model._forward_hooks

"""Whether a loss is computed on samples that also score: what is learned on them looks too good to that score."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from lottery_pools.errors import Notice
from lottery_pools.pooling.evaluator import Score
from lottery_pools.pooling.task import Loss

VALUES = 64
"""Numbers of each sample that are compared, at even distances over it."""
SHARE = 0.5
"""Of the first mini-batch of the loss, the share that must be among the scored samples for a warning: different samples
may have the same numbers in a few places, such as images with an empty background."""
SAME_DATA = (
    "the loss is computed on samples that also score: the score of what is learned on them says too much; give `loss` "
    "and `score` different samples, or `allow_same_samples=True` where that is meant"
)

Value = TypeVar("Value")


def warn_of_overlap(model: nn.Module, score: Score, loss: Loss) -> tuple[Score, Loss]:
    """Score and loss that do as before, and compare the inputs of their first calls: warns where they are the same.

    Inputs are what `model` is called with. Those that differ, as augmented ones do, cannot be told to be the same.
    """
    inputs: dict[str, set[bytes]] = {}

    def watched(name: Literal["score", "loss"], function: Callable[[nn.Module], Value]) -> Callable[[nn.Module], Value]:
        def call(model: nn.Module) -> Value:
            if name in inputs:
                return function(model)
            with _inputs_of(model) as seen:
                value = function(model)
            inputs[name] = seen
            if len(inputs) == 2 and _are_same(inputs["loss"], inputs["score"]):
                warnings.warn(SAME_DATA, Notice, stacklevel=2)
            return value

        return call

    return watched("score", score), watched("loss", loss)


def _are_same(learned: set[bytes], scored: set[bytes]) -> bool:
    return bool(learned) and len(learned & scored) >= SHARE * len(learned)


@contextmanager
def _inputs_of(model: nn.Module) -> Iterator[set[bytes]]:
    """Some numbers of each sample that the model is called with; complete on exit."""
    seen = set[bytes]()

    def look(module: nn.Module, arguments: tuple[object, ...], keywords: dict[str, object]) -> None:
        for value in (*arguments, *keywords.values()):
            if isinstance(value, Tensor) and value.ndim > 0 and value.numel():
                rows = value.detach().reshape(len(value), -1)
                places = torch.linspace(0, rows.shape[1] - 1, min(VALUES, rows.shape[1])).long()
                seen.update(row.tobytes() for row in rows[:, places.to(rows.device)].cpu().float().numpy())
                return

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()

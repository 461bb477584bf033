"""What the soups have in common: means and weighted sums of several tickets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lottery_pools.pooling.result import Ingredients, Pooled, Settings

if TYPE_CHECKING:
    from lottery_pools.pooling.method import Offer
    from lottery_pools.pooling.task import Network, PoolingTask
    from lottery_pools.tickets.ticket import Ticket

LEARNED_SOUP_STEPS = 500
"""Steps by which learned soups learn coefficients: as many as in the source, five epochs of 100 batches."""


def evaluations(offer: Offer) -> int:
    """How many networks a search without options evaluates: the target and the soup."""
    return 2


def passes(offer: Offer) -> int:
    """How often a search goes over `samples` that looks at the target and at each sparser ticket once."""
    return 1 + offer.sparser


def equal_shares(tickets: Sequence[Ticket]) -> Ingredients:
    """All tickets, each with the same share."""
    return [(ticket, 1 / len(tickets)) for ticket in tickets]


def mean(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The plain mean of the tickets, pruned back."""
    return task.mean([ticket for ticket, _ in ingredients])


def mixture(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The weighted sum of the tickets, pruned back; `settings["shares"]`, where given, has shares of single tensors."""
    return task.mixture(ingredients, settings.get("shares"))


def best_of(
    task: PoolingTask,
    build: Callable[[PoolingTask, Ingredients, Settings], Network],
    ingredients: Ingredients,
    options: Sequence[Settings] = ({},),
    gradient_steps: int = 0,
) -> Pooled:
    """The best of the networks that `build` makes of the tickets with each of `options`, the first of equals.

    The target is not among them, so the result may score below it.
    """
    target_score, _ = task.evaluate(task.target_network)
    tried = ((*task.evaluate(build(task, ingredients, settings)), settings) for settings in options)
    score, network, settings = max(tried, key=lambda trial: trial[0])
    return task.result(network, ingredients, score, target_score, gradient_steps=gradient_steps, settings=settings)

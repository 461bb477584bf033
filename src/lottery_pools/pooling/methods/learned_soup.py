"""Learned soups: coefficients learned on the validation loss (Wortsman et al., ICML 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.soup import LEARNING_STEPS, best_of, mixture

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask

PAPER = "https://arxiv.org/abs/2203.05482"


def learned_soup(task: PoolingTask) -> Pooled:
    """One coefficient a ticket, on the simplex, by gradient descent on the loss."""
    from lottery_pools.pooling.learning import learn_shares

    return best_of(task, mixture, learn_shares(task, task.tickets), gradient_steps=LEARNING_STEPS)


def learned_soup_layers(task: PoolingTask) -> Pooled:
    """One coefficient a tensor and ticket; buffers, and the recipe, have their means."""
    from lottery_pools.pooling.learning import learn_shares_by_tensor

    ingredients, by_tensor = learn_shares_by_tensor(task, task.tickets)
    return best_of(task, mixture, ingredients, [{"shares": by_tensor}], LEARNING_STEPS)


def evaluations(offer: Offer) -> int:
    """How many networks the search evaluates."""
    return 2


METHODS = (
    Method(
        "learned-soup",
        learned_soup,
        label="Learned soup",
        summary="one coefficient a ticket, learned on the validation loss",
        paper=PAPER,
        rank=90,
        needs=("loss",),
        evaluations=evaluations,
        gradient_steps=LEARNING_STEPS,
        colour="#56b4e9",
        marker="h",
    ),
    Method(
        "learned-soup-layers",
        learned_soup_layers,
        label="Learned soup, by layer",
        summary="one coefficient a tensor and ticket, learned on the validation loss",
        paper=PAPER,
        rank=100,
        needs=("loss",),
        evaluations=evaluations,
        gradient_steps=LEARNING_STEPS,
        colour="#009e73",
        marker="h",
    ),
)

"""Learned soups: coefficients learned on the validation loss (Wortsman et al., ICML 2022, appendix I).

As in the authors' code: coefficients on the simplex, equal at the start, and a factor of the logits beside them, by 500
steps of AdamW at a constant rate of 0.05, without weight decay. Whatever comes out is returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method
from lottery_pools.pooling.soup import LEARNED_SOUP_STEPS, best_of, evaluations, mixture

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask

PAPER = "https://arxiv.org/abs/2203.05482"


def learned_soup(task: PoolingTask) -> Pooled:
    """One coefficient a ticket."""
    from lottery_pools.pooling.learning import learn_shares

    ingredients = learn_shares(task)
    return best_of(task, mixture, ingredients, gradient_steps=LEARNED_SOUP_STEPS)


def learned_soup_layers(task: PoolingTask) -> Pooled:
    """One coefficient a tensor and ticket; buffers, and the recipe, have their means."""
    from lottery_pools.pooling.learning import learn_shares_by_tensor

    ingredients, by_tensor = learn_shares_by_tensor(task)
    return best_of(task, mixture, ingredients, [{"shares": by_tensor}], LEARNED_SOUP_STEPS)


METHODS = (
    Method(
        "learned-soup",
        learned_soup,
        label="Learned soup",
        summary="one coefficient a ticket, learned on the validation loss beside a temperature",
        paper=PAPER,
        rank=90,
        needs=("loss",),
        classifies=True,
        evaluations=evaluations,
        gradient_steps=LEARNED_SOUP_STEPS,
        colour="#56b4e9",
        marker="h",
    ),
    Method(
        "learned-soup-layers",
        learned_soup_layers,
        label="Learned soup, by layer",
        summary="one coefficient a tensor and ticket, learned on the validation loss beside a temperature",
        paper=PAPER,
        rank=100,
        needs=("loss",),
        classifies=True,
        evaluations=evaluations,
        gradient_steps=LEARNED_SOUP_STEPS,
        colour="#009e73",
        marker="h",
    ),
)

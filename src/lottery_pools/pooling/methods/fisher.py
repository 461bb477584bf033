"""Fisher merging (Matena & Raffel, NeurIPS 2022): a mean in which each weight counts by its Fisher information."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method
from lottery_pools.pooling.soup import best_of, equal_shares, evaluations, passes

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled, Settings
    from lottery_pools.pooling.task import Network, PoolingTask

LEAST = 1e-6
"""Fisher information that every weight has at least, as in the authors' code: so that none divides by zero."""


def fisher(task: PoolingTask) -> Pooled:
    """The mean of the target and all sparser tickets, each weight weighed by the square of its gradients.

    Weights that a ticket pruned are zeros with an information of their own, as for any other value.
    """
    return best_of(task, rebuild, equal_shares(task.admissible), [{"seed": task.seed}])


def rebuild(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network of a recipe."""
    from lottery_pools.pooling.merging import weighted_by_importance

    return weighted_by_importance(task, [ticket for ticket, _ in ingredients], settings["seed"], LEAST)


METHODS = (
    Method(
        "fisher",
        fisher,
        label="Fisher merging",
        summary="the mean of the target and all sparser tickets, each weight weighed by its Fisher information",
        paper="https://arxiv.org/abs/2111.09832",
        rank=102,
        rebuild=rebuild,
        needs=("samples",),
        classifies=True,
        chooses=False,
        evaluations=evaluations,
        passes=passes,
        differentiates_samples=True,
        colour="#56b4e9",
        marker="p",
    ),
)

"""Best, our own: the trimmed soup, then one coefficient a tensor and ticket, learned from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.methods import trimmed_soup
from lottery_pools.pooling.methods.trimmed_soup import trim
from lottery_pools.pooling.soup import LEARNING_STEPS, equal_shares

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled
    from lottery_pools.pooling.task import PoolingTask

MARGIN = 1.0
"""By how many standard errors the learned mixture must score higher to be kept."""
OUTSIDE = -1.5
"""Where the logit of a ticket's coefficient starts if the trimmed soup left the ticket out; 0 if it did not."""


def best(task: PoolingTask) -> Pooled:
    """Learn coefficients by tensor, starting at the trimmed soup; keep them where they are clearly better.

    Adam's rate falls from 0.1 to 0 over 60 steps. What is learned is kept where it scores higher by more than a
    standard error: so the loss should come from other samples than the score.
    """
    from lottery_pools.pooling.learning import FROM_SOUP, held_in_memory, learn_shares_by_tensor

    admissible = held_in_memory(task.admissible)
    soup = trim(task, admissible)
    ingredients: Ingredients = equal_shares(soup.tickets)
    score, settings, gradient_steps = soup.score, dict[str, Any](), 0
    tickets = [ticket for ticket in soup.tickets if ticket.kept > task.target.kept] + list(admissible)
    if len(tickets) > 1 and task.evaluator.can_afford(1):
        inside = [ticket.level for ticket in soup.tickets]
        start = [0.0 if ticket.level in inside else OUTSIDE for ticket in tickets]
        learned, by_tensor = learn_shares_by_tensor(task, tickets, FROM_SOUP, start)
        gradient_steps = LEARNING_STEPS
        learned_score = task.evaluator.evaluate(task.mixture(learned, by_tensor)[0])
        if task.evaluator.is_better(-1, soup.evaluation, MARGIN):
            ingredients, score, settings = learned, learned_score, {"shares": by_tensor}
    network = task.finished(task.mixture(ingredients, settings.get("shares")))
    details = {"gradient_steps": gradient_steps, "settings": settings}
    return task.result(network, ingredients, score, soup.target_score, soup.trials, **details)


def evaluations(offer: Offer) -> int:
    """How many networks the search evaluates, about: the trimmed soup's, and the learned mixture."""
    return trimmed_soup.evaluations(offer) + (1 if offer.sparser else 0)


METHODS = (
    Method(
        "best",
        best,
        label="Best (ours)",
        summary="ours: the trimmed soup, then one coefficient a tensor and ticket learned from there, kept where it is "
        "clearly better",
        paper="https://arxiv.org/abs/2203.05482",
        rank=120,
        needs=("loss",),
        scored_by="log-likelihood",
        scored_on="two thirds",
        final_recalibration=True,
        stops_early=True,
        evaluations=evaluations,
        gradient_steps=LEARNING_STEPS,
        colour="#009e73",
        marker="D",
    ),
)

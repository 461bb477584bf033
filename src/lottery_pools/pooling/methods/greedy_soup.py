"""Greedy soup: the mean of the best ticket and of those that do not lower it (Wortsman et al., ICML 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.result import Trial
from lottery_pools.pooling.soup import equal_shares, mean

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask


def greedy_soup(task: PoolingTask) -> Pooled:
    """From the best ticket at the target's density on, each next one joins the mean where that scores no lower.

    Tickets come in order of falling score, the nearest first among equals. The sum of those in the soup is kept, so
    that no ticket is read twice. α of a trial is the weight of the n tickets in the soup, n/(n + 1).
    """
    from lottery_pools.pooling import arithmetic

    alone = [task.evaluate(task.prune(ticket.weights, [ticket.mask]))[0] for ticket in task.tickets]
    best, *others = sorted(range(len(alone)), key=lambda i: -alone[i])
    soup = [task.tickets[best]]
    total = arithmetic.add({}, soup[0].weights)
    threshold, network = task.evaluate(task.mean_of_sum(total, soup))
    trials = []
    for ticket in (task.tickets[i] for i in others):
        larger_total, larger_soup = arithmetic.add(total, ticket.weights), [*soup, ticket]
        score, larger_network = task.evaluate(task.mean_of_sum(larger_total, larger_soup))
        accepted = score >= threshold
        trials.append(Trial(ticket.level, len(soup) / len(larger_soup), score, threshold, accepted))
        if accepted:
            threshold, network, total, soup = score, larger_network, larger_total, larger_soup
    return task.result(network, equal_shares(soup), threshold, alone[0], trials)


def evaluations(offer: Offer) -> int:
    """How many networks the search evaluates."""
    return 2 * (1 + offer.candidates)


METHODS = (
    Method(
        "greedy-soup",
        greedy_soup,
        label="Greedy soup",
        summary="the mean of the best ticket and those that do not lower it",
        paper="https://arxiv.org/abs/2203.05482",
        rank=80,
        rebuild=mean,
        evaluations=evaluations,
        colour="#e69f00",
        marker="h",
    ),
)

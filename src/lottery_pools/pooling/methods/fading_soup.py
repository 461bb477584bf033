"""Fading soup, our own: the mean of sparser tickets, and of denser ones whose shares fade with their distance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lottery_pools.pooling.methods import consensus_soup, trimmed_soup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lottery_pools.pooling.method import Offer
    from lottery_pools.pooling.result import Ingredients, Pooled
    from lottery_pools.pooling.task import PoolingTask
    from lottery_pools.tickets.ticket import Ticket

RATIOS = (0.5, 0.7, 0.85, 1.0)
"""What share a denser ticket has, as a part of that of the next sparser one; tried in this order."""


def fading_soup(task: PoolingTask) -> Pooled:
    """The mean of the target and all sparser tickets, and of all denser ones, each with less than the one before.

    It begins as the consensus soup: the mean of the target and all sparser tickets, trimmed at both ends while
    agreement with the mean prediction of all tickets rises. Then all denser tickets come in at once. The share of the
    first is half of that of the others, the share of the next half of that, and so on; the mean is pruned back. They
    stay if agreement rises by two standard errors: all tickets together include them, so that mixing them in raises
    agreement by itself. Then larger parts than a half are tried, as long as agreement rises by half a standard error.

    Args:
        task: the target, its candidates and the tools; `samples` are inputs without labels.

    Raises UserError where there are no samples, or the tickets do not predict classes, one a sample.
    """
    from lottery_pools.pooling.agreement import scored_by_agreement

    return search(scored_by_agreement(task))


def balanced_soup(task: PoolingTask) -> Pooled:
    """The same search; predictions are to agree with the samples' labels too.

    Where tickets are trained to the end, all tickets together are a good guide. Where they are not, they can mislead:
    sparser tickets were then trained longer in effect, and denser ones pull the mean prediction down. Labels count the
    more, the more the tickets' own scores say so (`agreement.share_of_labels`).

    Args:
        task: the target, its candidates and the tools; `samples` are inputs, `labels` their classes.

    Raises UserError as `fading_soup`, and where the labels are not the class of each sample.
    """
    from lottery_pools.pooling.agreement import scored_by_agreement_and_labels

    return search(scored_by_agreement_and_labels(task))


def search(task: PoolingTask) -> Pooled:
    """The search of `fading_soup`, by whatever the task scores networks with."""
    soup = trimmed_soup.trim(task)
    _fade_in_denser(soup)
    return soup.finished()


def _fade_in_denser(soup: trimmed_soup.Soup) -> None:
    """Let all denser tickets in, with shares that fade ever less, as long as the score rises."""
    from lottery_pools.pooling.learning import held_in_memory

    nearest_first = soup.task.denser_than(soup.tickets[0])
    held = held_in_memory([*nearest_first, *soup.tickets])
    denser, tickets = held[: len(nearest_first)], held[len(nearest_first) :]
    margin = consensus_soup.JOIN_MARGIN
    for ratio in RATIOS if denser else ():
        if not soup.task.evaluator.can_afford(1):
            return
        if not soup.try_ingredients(faded(tickets, denser, ratio), denser[0], margin):
            return
        margin = trimmed_soup.MARGIN


def faded(tickets: Sequence[Ticket], denser: Sequence[Ticket], ratio: float) -> Ingredients:
    """Some tickets with equal shares, and denser ones with shares that fade; the densest first.

    Args:
        tickets: from dense to sparse.
        denser: the nearest first.
        ratio: the share of a denser ticket as a part of the one before it.
    """
    parts = [(ticket, ratio**distance) for distance, ticket in enumerate(denser, 1)][::-1]
    parts += [(ticket, 1.0) for ticket in tickets]
    total = sum(part for _, part in parts)
    return [(ticket, part / total) for ticket, part in parts]


def evaluations(offer: Offer) -> int:
    """How many networks are evaluated where no trial raises the score: those of trimming, and one with all tickets."""
    return trimmed_soup.trimming(offer) + (1 if offer.denser else 0)


FADING_SOUP = replace(
    consensus_soup.METHODS[0],
    name="fading-soup",
    run=fading_soup,
    label="Fading soup (ours)",
    summary="ours, the default for inputs without labels: the consensus soup, with denser tickets too, whose shares "
    "fade with distance, where that agrees more with the mean prediction of all tickets",
    rank=108.5,
    evaluations=evaluations,
    marker="*",
)
METHODS = (
    FADING_SOUP,
    replace(
        FADING_SOUP,
        name="balanced-soup",
        run=balanced_soup,
        label="Balanced soup (ours)",
        summary="ours, the default for classes: the fading soup, which is to agree with the labels of the held-out "
        "inputs too, the more the tickets' own scores say that their mean prediction misleads",
        rank=108.25,
        needs=("samples", "labels"),
        scored_by="agreement and labels",
        marker="D",
    ),
)

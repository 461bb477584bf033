"""Consensus soup, our own: a soup trimmed while it agrees more with all tickets together. Needs no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, one_a_candidate
from lottery_pools.pooling.methods import trimmed_soup

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask


JOIN_MARGIN = 2.0
"""By how many standard errors agreement must rise for a denser ticket to join. All tickets together include it, so that
mixing it in raises agreement by itself."""


def consensus_soup(task: PoolingTask) -> Pooled:
    """The mean of the target and sparser tickets whose predictions are nearest to the mean prediction of all tickets.

    The search is that of `trimmed_soup`, with a higher bar for denser tickets. The score is not: it is how well
    predictions agree with those of all tickets together, on inputs without labels.

    Args:
        task: the target, its candidates and the tools; `samples` are inputs without labels.

    Raises UserError where there are no samples, or the tickets do not predict classes, one a sample.
    """
    from lottery_pools.pooling.agreement import scored_by_agreement

    return trimmed_soup.trimmed_soup(scored_by_agreement(task), JOIN_MARGIN)


METHODS = (
    Method(
        "consensus-soup",
        consensus_soup,
        label="Consensus soup (ours)",
        summary="ours: the mean of the target and all sparser tickets, trimmed while it "
        "agrees more with the mean prediction of all tickets, on held-out inputs without labels",
        paper="https://arxiv.org/abs/2203.05482",
        rank=109,
        needs=("samples",),
        classifies=True,
        scored_by="agreement",
        scored_on="selection",
        final_recalibration=True,
        stops_early=True,
        evaluations=trimmed_soup.evaluations,
        passes=one_a_candidate,
        colour="#0072b2",
        marker="P",
    ),
)

"""Trimmed soup, our own: the mean of the target and all sparser tickets, trimmed while validation rises.

Masks of iterative pruning are nested, so a mean of the target and sparser tickets needs no pruning back, and the search
is short: it starts from a network that is good already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.result import Trial
from lottery_pools.pooling.soup import equal_shares

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Pooled
    from lottery_pools.pooling.task import PoolingTask
    from lottery_pools.tickets.ticket import Ticket

MARGIN = 0.5
"""By how many standard errors the score must rise for a ticket to leave the soup."""
FEW = 4
"""A soup of fewer tickets takes in denser ones."""


def trimmed_soup(task: PoolingTask, join_margin: float = 0.0) -> Pooled:
    """The mean of the target and all admissible tickets, trimmed while its score rises.

    Tickets are ordered by density. The densest or, where that does not help, the sparsest is left out, one at a time,
    as long as the score rises by more than half a standard error. The target alone is taken where it scores higher.
    Where fewer than four tickets are left, the target among them, the next denser ones join, one at a time, as long as
    the score rises: sparse targets have few sparser tickets, or none.

    Args:
        task: the target, its candidates and the tools.
        join_margin: by how many standard errors the score must rise for a denser ticket to join.
    """
    from lottery_pools.pooling.learning import held_in_memory

    soup = trim(task, held_in_memory(task.admissible), join_margin)
    network = task.finished(task.mixture(equal_shares(soup.tickets)))
    return task.result(network, equal_shares(soup.tickets), soup.score, soup.target_score, soup.trials)


@dataclass
class Soup:
    """The soup while it is trimmed."""

    task: PoolingTask
    tickets: Sequence[Ticket] = ()
    """From dense to sparse."""
    score: float = 0.0
    target_score: float = 0.0
    evaluation: int = 0
    """The number of the soup's evaluation; the target alone is number 0."""
    trials: list[Trial] = field(default_factory=list)

    def evaluate(self, tickets: Sequence[Ticket]) -> float:
        """The mean score of the plain mean of some tickets."""
        return self.task.evaluator.evaluate(self.task.mixture(equal_shares(tickets))[0])

    def becomes(self, tickets: Sequence[Ticket], score: float, evaluation: int) -> None:
        """The soup is now the mean of these tickets."""
        self.tickets, self.score, self.evaluation = tickets, score, evaluation

    def try_tickets(self, tickets: Sequence[Ticket], changed: Ticket, margin: float = 0.0) -> bool:
        """Whether the soup of these tickets, in which one ticket came or went, is better; it is then taken."""
        evaluator = self.task.evaluator
        score = self.evaluate(tickets)
        accepted = evaluator.is_better(-1, self.evaluation, margin)
        self.trials.append(Trial(changed.level, 1 / len(tickets), score, self.score, accepted))
        if accepted:
            self.becomes(tickets, score, evaluator.evaluations - 1)
        return accepted


def trim(task: PoolingTask, admissible: Sequence[Ticket], join_margin: float = 0.0) -> Soup:
    """The soup that `trimmed_soup` describes, of tickets from dense to sparse, as far as the budget goes."""
    target = [ticket for ticket in admissible if ticket.level == task.target.level]
    soup = Soup(task)
    soup.target_score = soup.evaluate(target)
    soup.becomes(target, soup.target_score, 0)
    if len(admissible) > 1 and task.evaluator.can_afford(1):
        soup.becomes(admissible, soup.evaluate(admissible), 1)
        while len(soup.tickets) > 1 and _drop_one_end(soup):
            pass
    _fall_back_to_target(soup, target)
    _join_denser(soup, join_margin)
    return soup


def _drop_one_end(soup: Soup) -> bool:
    """Leave out the densest ticket, else the sparsest, where that raises the score by the margin."""
    densest, sparsest = soup.tickets[0], soup.tickets[-1]
    for dropped, fewer in ((densest, soup.tickets[1:]), (sparsest, soup.tickets[:-1])):
        if not soup.task.evaluator.can_afford(1):
            return False
        if soup.try_tickets(fewer, dropped, MARGIN):
            return True
    return False


def _fall_back_to_target(soup: Soup, target: Sequence[Ticket]) -> None:
    """Take the target alone where it scores higher than the soup."""
    if soup.task.evaluator.is_better(0, soup.evaluation):
        soup.becomes(target, soup.target_score, 0)


def _join_denser(soup: Soup, margin: float) -> None:
    """Let the next denser tickets in while there are few, the target is among them, and the score rises by a margin."""
    task = soup.task
    if task.target.level not in [ticket.level for ticket in soup.tickets]:
        return
    for denser in task.denser:
        if len(soup.tickets) >= FEW or not task.evaluator.can_afford(1):
            return
        if not soup.try_tickets([denser, *soup.tickets], denser, margin):
            return


def evaluations(offer: Offer) -> int:
    """How many networks are evaluated where no trial raises the score: the target, the mean, both ends, a denser
    one."""
    count = 1
    if offer.sparser:
        count += 1 + 2
    if offer.denser and 1 + offer.sparser < FEW:
        count += 1
    return count


METHODS = (
    Method(
        "trimmed-soup",
        trimmed_soup,
        label="Trimmed soup (ours)",
        summary="ours: the mean of the target and all sparser tickets, trimmed while validation rises; "
        "denser ones join where few are left",
        paper="https://arxiv.org/abs/2203.05482",
        rank=110,
        scored_by="log-likelihood",
        scored_on="selection",
        final_recalibration=True,
        stops_early=True,
        evaluations=evaluations,
        colour="#0072b2",
        marker="o",
    ),
)

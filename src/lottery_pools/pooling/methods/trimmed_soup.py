"""Trimmed soup, our own: the mean of the target and all sparser tickets, trimmed while validation rises.

Masks of iterative pruning are nested, so a mean of the target and sparser tickets needs no pruning back, and the search
is short: it starts from a network that is good already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.result import Trial
from lottery_pools.pooling.soup import equal_shares

if TYPE_CHECKING:
    from lottery_pools.pooling.result import Ingredients, Pooled
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
    soup = trim(task)
    _join_denser(soup, join_margin)
    return soup.finished()


@dataclass
class Soup:
    """The soup while it is searched for."""

    task: PoolingTask
    ingredients: Ingredients = ()
    """Its tickets, from dense to sparse, each with its share."""
    score: float = 0.0
    target_score: float = 0.0
    evaluation: int = 0
    """The number of the soup's evaluation; the target alone is number 0."""
    trials: list[Trial] = field(default_factory=list)

    @property
    def tickets(self) -> list[Ticket]:
        """Its tickets, from dense to sparse."""
        return [ticket for ticket, _ in self.ingredients]

    def evaluate(self, ingredients: Ingredients) -> float:
        """The mean score of the weighted mean of some tickets."""
        return self.task.evaluator.evaluate(self.task.mixture(ingredients)[0])

    def becomes(self, ingredients: Ingredients, score: float, evaluation: int) -> None:
        """The soup is now the weighted mean of these tickets."""
        self.ingredients, self.score, self.evaluation = ingredients, score, evaluation

    def try_ingredients(self, ingredients: Ingredients, changed: Ticket, margin: float = 0.0) -> bool:
        """Whether the soup of these is better by a margin, in standard errors; it is then taken.

        Args:
            ingredients: what the soup would be.
            changed: the ticket that came or went, or one of these: the trial is written down under its level.
            margin: by how many standard errors the score must rise.
        """
        evaluator = self.task.evaluator
        share = next((share for ticket, share in ingredients if ticket is changed), 1 / len(ingredients))
        score = self.evaluate(ingredients)
        accepted = evaluator.is_better(-1, self.evaluation, margin)
        self.trials.append(Trial(changed.level, share, score, self.score, accepted))
        if accepted:
            self.becomes(ingredients, score, evaluator.evaluations - 1)
        return accepted

    def finished(self) -> Pooled:
        """The result: the soup, recalibrated as every final network."""
        network = self.task.finished(self.task.mixture(self.ingredients))
        return self.task.result(network, self.ingredients, self.score, self.target_score, self.trials)


def trim(task: PoolingTask) -> Soup:
    """The mean of the target and all admissible tickets, trimmed at both ends, or the target alone if that is better.

    This goes as far as the budget does.
    """
    from lottery_pools.pooling.learning import held_in_memory

    admissible = held_in_memory(task.admissible)
    target = equal_shares([ticket for ticket in admissible if ticket.level == task.target.level])
    soup = Soup(task)
    soup.target_score = soup.evaluate(target)
    soup.becomes(target, soup.target_score, 0)
    if len(admissible) > 1 and task.evaluator.can_afford(1):
        everything = equal_shares(admissible)
        soup.becomes(everything, soup.evaluate(everything), 1)
        while len(soup.ingredients) > 1 and _drop_one_end(soup):
            pass
    if task.evaluator.is_better(0, soup.evaluation):
        soup.becomes(target, soup.target_score, 0)
    return soup


def _drop_one_end(soup: Soup) -> bool:
    """Leave out the densest ticket, else the sparsest, where that raises the score by the margin."""
    tickets = soup.tickets
    for dropped, fewer in ((tickets[0], tickets[1:]), (tickets[-1], tickets[:-1])):
        if not soup.task.evaluator.can_afford(1):
            return False
        if soup.try_ingredients(equal_shares(fewer), dropped, MARGIN):
            return True
    return False


def _join_denser(soup: Soup, margin: float) -> None:
    """Let the next denser tickets in while there are few, the target is among them, and the score rises by a margin."""
    task = soup.task
    if task.target.level not in [ticket.level for ticket in soup.tickets]:
        return
    for denser in task.denser:
        if len(soup.ingredients) >= FEW or not task.evaluator.can_afford(1):
            return
        if not soup.try_ingredients(equal_shares([denser, *soup.tickets]), denser, margin):
            return


def evaluations(offer: Offer) -> int:
    """How many networks are evaluated where no trial raises the score: the target, the mean, both ends, a denser
    one."""
    return trimming(offer) + (1 if offer.denser and 1 + offer.sparser < FEW else 0)


def trimming(offer: Offer) -> int:
    """How many networks `trim` evaluates where no trial raises the score: the target, the mean, both ends."""
    return 1 + (3 if offer.sparser else 0)


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

"""What a search for a pooled network returns: the ticket, its recipe, and every trial on the way. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lottery_pools.tickets.ticket import Ticket

Steps = tuple[tuple[int, float], ...]
"""The steps of a recipe, in order: (level of a ticket, its coefficient)."""
Ingredients = Sequence[tuple["Ticket", float]]
"""The steps of a recipe with the tickets themselves: (ticket, its coefficient)."""
Settings = Mapping[str, Any]
"""What a method needs beside the steps to rebuild a network: plain values, as JSON has them."""


@dataclass(frozen=True)
class Trial:
    """One candidate at its best coefficient, and what became of it."""

    candidate: int
    """Level of the candidate."""
    alpha: float
    """The best coefficient tried: the weight of the network so far (of soups, see the method)."""
    score: float
    """Mean score of the mixture."""
    threshold: float
    """Mean score that the mixture had to reach: that of the best network so far."""
    accepted: bool
    """Whether the mixture became the best network so far."""

    def to_file(self) -> dict[str, Any]:
        """The trial as a ticket file stores it. The file format calls the threshold `bar`."""
        return {
            "candidate": self.candidate,
            "alpha": self.alpha,
            "score": self.score,
            "bar": self.threshold,
            "accepted": self.accepted,
        }

    @classmethod
    def from_file(cls, stored: Mapping[str, Any]) -> Trial:
        """The inverse of `to_file`."""
        return cls(stored["candidate"], stored["alpha"], stored["score"], stored["bar"], stored["accepted"])


@dataclass(frozen=True)
class Pooled:
    """A pooled network, and how it came about. `lottery_pools.pool` returns it."""

    ticket: Ticket
    """The pooled network as a ticket. Its level and density are exactly those of the target."""
    recipe: Steps
    """(level of a ticket, its coefficient), in order."""
    score: float
    """Mean score on the samples that chose the network: it is too good, the more so the more networks were tried. Not a
    number where nothing scored it."""
    target_score: float
    """Mean score of the target on the same samples, recalibrated like every other network."""
    trials: tuple[Trial, ...]
    """Every candidate that was tried."""
    evaluations: int
    """Networks that were recalibrated and scored."""
    gradient_steps: int = 0
    """Mini-batches whose loss was differentiated."""
    settings: Settings = field(default_factory=dict)
    """What the method needs beside the recipe to rebuild the network."""

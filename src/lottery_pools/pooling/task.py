"""What a method of pooling is given: one target, its candidates, and the tools to mix, prune, evaluate and return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lottery_pools.config.schema import PAPER_COEFFICIENTS
from lottery_pools.pooling import arithmetic, pruning
from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.pooling.evaluator import Evaluator, Recalibrate
from lottery_pools.pooling.pruning import MaskRule, Scope
from lottery_pools.pooling.result import Ingredients, Pooled, Settings, Steps, Trial
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket, snapshot

Loss = Callable[[nn.Module], Tensor]
"""The loss of a next mini-batch: a scalar that can be differentiated."""
Samples = Callable[[], Iterable[Tensor]]
"""Batches of inputs, as the module takes them, without labels; the same ones at each call."""
Network = tuple[Tensors, Tensors]
"""Weights and mask."""


@dataclass(frozen=True)
class PoolingTask:
    """Strengthen one target with its candidates."""

    evaluator: Evaluator
    target: Ticket
    """The ticket to strengthen."""
    candidates: Sequence[Ticket]
    """The tickets offered to it, nearest level first."""
    coefficients: Sequence[float] = PAPER_COEFFICIENTS
    """The coefficients α to try, of the methods that try several."""
    scope: Scope = "global"
    """Whether weights are pruned back over the whole network or tensor by tensor."""
    mask: MaskRule = "magnitude"
    """Which weights a mixture keeps first."""
    loss: Loss | None = None
    base: Tensors | None = None
    """The weights at the rewind point."""
    samples: Samples | None = None
    labels: Tensor | None = None
    """The class of each of the samples, (n,)."""
    seed: int = 0
    final_recalibrate: Recalibrate | None = None
    """Recalibrates the network that is returned, where that is not the very one that was scored."""
    prunes_back: bool = True
    """False: mixtures stay as dense as they come out, to measure what the last pruning costs."""

    @property
    def target_network(self) -> Network:
        """The target as a network."""
        return self.target.weights, self.target.mask

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """The target, then the candidates."""
        return (self.target, *self.candidates)

    @property
    def admissible(self) -> list[Ticket]:
        """The target and the candidates that are at least as sparse, the densest first."""
        tickets = [ticket for ticket in self.tickets if ticket.kept <= self.target.kept]
        return sorted(tickets, key=lambda ticket: (-ticket.kept, ticket.level))

    @property
    def denser(self) -> list[Ticket]:
        """The candidates that are denser than the target, the least dense first."""
        return self.denser_than(self.target)

    def denser_than(self, densest: Ticket) -> list[Ticket]:
        """All tickets, the target too, that are denser than one of them, the least dense first."""
        tickets = [ticket for ticket in self.tickets if ticket.kept > densest.kept]
        return sorted(tickets, key=lambda ticket: (ticket.kept, -ticket.level))

    @property
    def parameters(self) -> list[str]:
        """The names of the tensors that are trained: neither BatchNorm's statistics nor other buffers."""
        return [name for name, _ in self.evaluator.model.named_parameters(remove_duplicate=False)]

    # Networks from tickets. None of these is recalibrated yet.

    def prune(self, mixed: Tensors, merged_masks: Iterable[Tensors]) -> Network:
        """A mixture, pruned back to exactly the target's density.

        A mixture without weights outside the target's mask, as of tickets that were pruned from the target, loses none.

        Args:
            mixed: name → tensor.
            merged_masks: the masks of the networks that went into the mixture.
        """
        within = self.mask == "magnitude" and pruning.within(mixed, self.target.mask)
        if within or not self.prunes_back:
            return dict(mixed), dict(self.target.mask)
        preferred = pruning.preferred(self.mask, self.target.mask, merged_masks)
        tied = pruning.tied_names(self.evaluator.model, self.target.mask)
        mask = pruning.back_mask(mixed, self.target, self.scope, preferred, tied)
        return masks.apply(mixed, mask), mask

    def mean(self, tickets: Sequence[Ticket]) -> Network:
        """The plain mean of several tickets, pruned back."""
        total: Tensors = {}
        for ticket in tickets:
            total = arithmetic.add(total, ticket.weights)
        return self.mean_of_sum(total, tickets)

    def mean_of_sum(self, total: Tensors, tickets: Sequence[Ticket]) -> Network:
        """The same from the sum of their weights, as `arithmetic.add` makes it."""
        mixed = arithmetic.divide(total, len(tickets), self.target.weights)
        return self.prune(mixed, (ticket.mask for ticket in tickets))

    def mixture(self, ingredients: Ingredients, shares_by_tensor: Settings | None = None) -> Network:
        """The weighted sum Σ cᵢ θᵢ of several tickets, pruned back.

        Args:
            ingredients: (ticket, its coefficient).
            shares_by_tensor: the coefficients of single tensors, by name, where these differ.
        """
        weights, shares = [ticket.weights for ticket, _ in ingredients], [share for _, share in ingredients]
        mixed = arithmetic.weighted(self.target.weights, weights, shares, shares_by_tensor)
        return self.prune(mixed, (ticket.mask for ticket, _ in ingredients))

    # Networks in the module.

    def evaluate(self, network: Network) -> tuple[float, Network]:
        """(mean score, a copy of the very network that was scored: recalibrated)."""
        score = self.evaluator.evaluate(network[0])
        return score, self._copy(network[1])

    def recalibrated(self, network: Network, recalibrate: Recalibrate | None = None) -> Network:
        """A copy of a network, recalibrated, by `recalibrate` where it is given."""
        weights, mask = network
        del network  # let go of the mixture where the caller has too: one network less in memory
        self.evaluator.load(weights, recalibrate)
        del weights
        return self._copy(mask)

    def finished(self, network: Network) -> Network:
        """A copy of a network, recalibrated as the one that is returned."""
        return self.recalibrated(network, self.final_recalibrate)

    def _copy(self, mask: Tensors) -> Network:
        weights = snapshot(self.evaluator.model)
        return weights, {name: kept.to(weights[name].device) for name, kept in mask.items()}

    def result(
        self,
        network: Network,
        recipe: Steps | Ingredients,
        score: float,
        target_score: float,
        trials: Iterable[Trial] = (),
        **details: Any,
    ) -> Pooled:
        """The result of a search. `details` are further fields of `Pooled`."""
        steps = tuple((part.level if isinstance(part, Ticket) else part, share) for part, share in recipe)
        ticket = Ticket(*network, self.target.level)
        return Pooled(ticket, steps, score, target_score, tuple(trials), self.evaluator.evaluations, **details)

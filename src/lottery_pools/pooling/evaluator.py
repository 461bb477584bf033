"""The module in which every network of a search is recalibrated and scored, and what the scores say."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.pooling.guard import check_unchanged
from lottery_pools.tickets.ticket import load_into, snapshot

Score = Callable[[nn.Module], "float | Tensor"]
"""Scores a network: one number, higher is better, or one per sample, (n,)."""
Recalibrate = Callable[[nn.Module], object]
"""Re-estimates the BatchNorm statistics of a network; what it returns is ignored."""
_OLD_STATISTICS = (
    "the model has BatchNorm and no `recalibrate` was given: the statistics of mixtures are averages of the tickets', "
    "which usually costs accuracy; give `recalibrate=lambda model: lp.recalibrate(model, batches)`"
)


@dataclass
class Evaluator:
    """Recalibrates and scores networks in one module, and remembers every score."""

    model: nn.Module
    """The module that weights are loaded into."""
    score: Score
    recalibrate: Recalibrate | None = None
    limit: int | None = None
    """Networks that may be evaluated; none: as many as the search wants."""
    scores: list[Tensor | float] = field(default_factory=list, init=False)
    """The score of every network evaluated, in order: a number, or one per sample, (n,)."""

    @property
    def evaluations(self) -> int:
        """How many networks were evaluated."""
        return len(self.scores)

    def can_afford(self, evaluations: int) -> bool:
        """Whether so many more networks may be evaluated."""
        return self.limit is None or self.evaluations + evaluations <= self.limit

    def evaluate(self, weights: Tensors) -> float:
        """The mean score of a network, which is recalibrated first; the module then holds it.

        Raises UserError where the limit is reached, where the score is not a finite number or one per sample, and where
        scoring changed the network.
        """
        if not self.can_afford(1):
            raise UserError(
                f"the budget is spent after {self.evaluations} evaluations and this method needs more: raise it, or "
                "choose a method that stops in time (trimmed-soup, average, interpolation)"
            )
        self.load(weights)
        held = None if self.scores else snapshot(self.model)
        with torch.no_grad():
            score = _number_or_samples(self.score(self.model))
        if held is not None:  # the first call tells what the others would do
            check_unchanged(self.model, held)
        if self.scores:
            before, now = torch.as_tensor(self.scores[0]).shape, torch.as_tensor(score).shape
            if before != now:
                raise UserError(
                    f"score returned {tuple(now)} values, before {tuple(before)}: score on the same samples"
                )
        self.scores.append(score)
        mean = float(score.double().mean()) if isinstance(score, Tensor) else score
        if not math.isfinite(mean):
            raise UserError(f"score returned {mean}: return a finite number, higher is better, or one per sample")
        return mean

    def is_better(self, first: int, second: int, margin: float = 0.0) -> bool:
        """Whether evaluation number `first` scored higher than `second`, by more than `margin` standard errors.

        The difference is paired, sample by sample. Where scores are not one per sample, higher is enough.
        """
        difference = torch.as_tensor(self.scores[first]).double() - torch.as_tensor(self.scores[second]).double()
        error = float(difference.std()) / math.sqrt(len(difference)) if difference.ndim and len(difference) > 1 else 0.0
        return float(difference.mean()) > margin * error

    def load(self, weights: Tensors, recalibrate: Recalibrate | None = None) -> None:
        """Load weights into the module and recalibrate it, by `recalibrate` where it is given."""
        load_and_recalibrate(self.model, weights, recalibrate or self.recalibrate)


def load_and_recalibrate(model: nn.Module, weights: Tensors, recalibrate: Recalibrate | None) -> None:
    """Load weights into a module and re-estimate its BatchNorm statistics, where there is a `recalibrate`."""
    load_into(model, weights)
    if recalibrate is not None:
        recalibrate(model)


def _number_or_samples(value: float | Tensor) -> float | Tensor:
    """What a score returned, as a number or as a tensor in memory of its own."""
    if isinstance(value, Tensor) and value.ndim <= 1:
        return value.detach().cpu().clone()
    try:
        return float(value)
    except (TypeError, ValueError):
        kind = f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(
            f"score returned a {kind}: return a number, higher is better, or a tensor with one per sample, (n,)"
        ) from None


def warn_of_old_statistics(model: nn.Module, recalibrate: Recalibrate | None) -> None:
    """Warn the caller of the function that calls this where the model has BatchNorm that nothing re-estimates."""
    if recalibrate is None and tracked(model):
        warnings.warn(_OLD_STATISTICS, stacklevel=3)

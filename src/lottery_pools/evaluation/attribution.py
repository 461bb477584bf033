"""Where a gain comes from: the parts of a pool's gain over its ticket, and why its candidates were taken or refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from torch import Tensor, nn

from lottery_pools.pooling.algorithm2 import mix, mix_in_turn
from lottery_pools.pooling.evaluator import Recalibrate
from lottery_pools.pooling.methods import find
from lottery_pools.pooling.recipe import Recipe, build, task_of_recipe
from lottery_pools.pooling.result import Trial
from lottery_pools.tickets.ticket import Ticket


@dataclass(frozen=True)
class Measures:
    """The accuracy, or another measure, of the five networks that a gain is told apart by."""

    ticket: float
    """Of the target as it was stored."""
    recalibrated: float
    """Of the target, BatchNorm re-estimated."""
    admissible: float
    """Of the best admissible ticket, BatchNorm re-estimated."""
    mixture: float
    """Of the mixture before its last pruning, BatchNorm re-estimated."""
    pooled: float
    """Of the pooled network."""


@dataclass(frozen=True)
class Attribution(Measures):
    """The gain of a pooled network over its ticket as the sum of four parts, and the measures that they follow from."""

    batchnorm: float
    """recalibrated - ticket."""
    takeover: float
    """What taking over the better ticket would have given of what the mixture has."""
    averaging: float
    """What the mixture has beyond that; below 0 where it is worse than the recalibrated target."""
    repruning: float
    """pooled - mixture."""
    optimism: float | None
    """Gain over the recalibrated target on the selection split, less that gain on this split: the noise that was
    selected for. None where the selection split was not measured."""

    @property
    def gain(self) -> float:
        """pooled - ticket, the sum of the four parts."""
        return self.pooled - self.ticket


def split_gain(measures: Measures, selection: tuple[float, float] | None = None) -> Attribution:
    """Split a gain, pooled - ticket, into the parts of BatchNorm, takeover, averaging and re-pruning.

    The parts telescope, so they sum to the gain (to rounding). Takeover is admissible - recalibrated, but not below 0
    (nobody takes over a worse ticket) and not above what the mixture gained on the recalibrated target: a gain that was
    not had is not split. So averaging is mixture - max(recalibrated, admissible) where the mixture beats both, 0 where
    it only beats the recalibrated target.

    Args:
        measures: on the report split.
        selection: what the recalibrated target and the pooled network measure on the selection split; none: unknown.

    Example:
        ```python
        parts = split_gain(Measures(ticket=0.70, recalibrated=0.71, admissible=0.73, mixture=0.75, pooled=0.74))
        parts.averaging  # 0.02: what the mixture has beyond the better ticket
        ```
    """
    gain_of_mixture = measures.mixture - measures.recalibrated
    takeover = min(max(0.0, measures.admissible - measures.recalibrated), max(0.0, gain_of_mixture))
    optimism = None
    if selection is not None:
        optimism = (selection[1] - selection[0]) - (measures.pooled - measures.recalibrated)
    return Attribution(
        **asdict(measures),
        batchnorm=measures.recalibrated - measures.ticket,
        takeover=takeover,
        averaging=gain_of_mixture - takeover,
        repruning=measures.pooled - measures.mixture,
        optimism=optimism,
    )


def unpruned(
    model: nn.Module, tickets: Sequence[Ticket], recipe: Recipe, recalibrate: Recalibrate | None = None
) -> dict[str, Tensor]:
    """The network of a recipe before its last pruning: of any density, BatchNorm re-estimated.

    Where candidates are mixed in one after the other, each step but the last prunes and recalibrates as in the search,
    because later steps were chosen on the pruned network. An empty recipe gives the recalibrated target. Tickets of
    another run are taken too: whatever was pooled may be explained.

    Args:
        model: is left with the network.
        tickets: those that were pooled.
        recipe: how the pooled ticket was made.
        recalibrate: as the pooled ticket was recalibrated.

    Raises UserError as `lottery_pools.replay` does.
    """
    task, ingredients = task_of_recipe(model, tickets, recipe, recalibrate, allow_other_run=True)
    unpruned_task = replace(task, prunes_back=False)
    method = find(recipe.method)
    if method.recipe == "steps" and method.rebuild is None and ingredients:
        *before, (candidate, alpha) = ingredients
        so_far = task.recalibrated(mix_in_turn(task, before, {}))
        network = mix(unpruned_task, so_far, candidate, alpha)
    else:
        network = build(unpruned_task, recipe, ingredients)
    return dict(unpruned_task.recalibrated(network)[0])


@dataclass(frozen=True)
class Decision:
    """What became of one candidate, and why."""

    candidate: int
    """Level."""
    alpha: float
    """The best coefficient tried."""
    score: float
    threshold: float
    """The score that it had to reach."""
    taken: bool
    why: str


def decisions(trials: Iterable[Trial]) -> list[Decision]:
    """For each candidate of a search, in order: taken or refused, and why, in words."""
    return [
        Decision(trial.candidate, trial.alpha, trial.score, trial.threshold, trial.accepted, _why(trial))
        for trial in trials
    ]


def _why(trial: Trial) -> str:
    """Why a candidate was taken or refused, with as many digits as tell its score and the threshold apart."""
    digits = _digits_that_differ(trial.score, trial.threshold)
    score = f"score {trial.score:.{digits}g} at α = {trial.alpha:g}"
    threshold = f"the threshold {trial.threshold:.{digits}g}"
    if trial.score < trial.threshold:
        return f"{score} is below {threshold}" + (", taken by the method's own rule" if trial.accepted else "")
    relation = "equals" if trial.score == trial.threshold else "is above"
    return f"{score} {relation} {threshold}" + ("" if trial.accepted else ", refused by the method's own rule")


def _digits_that_differ(first: float, second: float) -> int:
    """The significant digits, from 4 to 17, with which two numbers look different; 4 for equal ones."""
    if first == second:
        return 4
    return next((digits for digits in range(4, 17) if f"{first:.{digits}g}" != f"{second:.{digits}g}"), 17)

"""What a report concludes: the gains that it puts first, in one sentence, and what stands against them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lottery_pools.pooling.methods import OURS, PAPERS_RULE
from lottery_pools.reporting.measure import ACCURACY, Measure
from lottery_pools.reporting.names import featured, label, with_first
from lottery_pools.reporting.words import plural
from lottery_pools.runs.rows import Gain, Row, clean, complete

SEEDS = 3
"""With fewer, the spread between seeds is hardly known."""

_ADMISSIBLE = "the best admissible ticket"

UNDER_TRAINED = 2.0
"""Points of test accuracy by which no sparser ticket should be better than the dense one."""


@dataclass(frozen=True)
class Verdict:
    """What a gain over the recalibrated ticket, and the same pools' gain over the best admissible one, mean."""

    cautions: tuple[str, ...]
    """Sentences on why too little is shown: they come first."""
    statement: str
    """One sentence on what is shown; empty where nothing is."""

    @property
    def firm(self) -> bool:
        """Whether the numbers may be shown large: three seeds or more, and no interval that includes zero."""
        return bool(self.statement) and not self.cautions

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it, in the order in which it is told."""
        return (*self.cautions, self.statement) if self.statement else self.cautions


def headlines(gains: Sequence[Gain]) -> list[Gain]:
    """The gains of the two featured methods over the recalibrated ticket, over all levels, on clean test samples.

    The first is the headline: that of a default of ours where one was pooled, else that of the paper's Interpolation.
    So how much a method gains does not decide whether it comes first.
    """
    over_ticket = {g.method: g for g in gains if (g.level, g.corruption, g.against) == (None, "none", "recalibrated")}
    methods = with_first((*OURS, PAPERS_RULE), featured(over_ticket, 2))
    return [over_ticket[method] for method in methods]


def headline(gains: Sequence[Gain]) -> Gain | None:
    """The first of `headlines`; None where no method was compared."""
    return next(iter(headlines(gains)), None)


def over_admissible(gain: Gain, gains: Sequence[Gain]) -> Gain | None:
    """The gain over the best admissible ticket beside a gain over the recalibrated one; None if it was not measured."""
    wanted = (gain.method, "admissible", gain.level, gain.corruption)
    return next((g for g in gains if (g.method, g.against, g.level, g.corruption) == wanted), None)


def verdict(gain: Gain | None, gains: Sequence[Gain], measure: Measure = ACCURACY) -> str:
    """What a headline gain, one of all `gains`, means, in sentences that claim no more than its intervals allow."""
    return " ".join(judge(gain, gains, measure).sentences)


def judge(gain: Gain | None, gains: Sequence[Gain], measure: Measure = ACCURACY) -> Verdict:
    """The verdict on a headline gain, one of all `gains`: what speaks against it, and what it says."""
    if gain is None:
        return Verdict(("No pooling method has been compared with the recalibrated ticket yet.",), "")
    beside = over_admissible(gain, gains)
    state = _statement if measure.is_accuracy else _difference(measure)
    return Verdict(tuple(_cautions(gain, beside)), state(gain, beside, _averaged(gain, gains)))


def averaged_over(gain: Gain, gains: Sequence[Gain]) -> tuple[int, int]:
    """Over how many levels and how many seeds a gain over all levels is the mean."""
    same = (gain.method, gain.against, gain.corruption)
    levels = {g.level for g in gains if (g.method, g.against, g.corruption) == same and g.level is not None}
    return len(levels), gain.seeds


def undertrained(rows: Sequence[Row]) -> str:
    """Where sparser tickets are more than two points better than the densest: what that says of training and of gains.

    Empty elsewhere. Accuracy is that of the tickets on clean test samples, the mean over seeds.
    """
    by_level: dict[int, list[float]] = {}
    for row in complete(clean(rows)):
        if row.method == "ticket":
            by_level.setdefault(row.level, []).append(100 * row.accuracy)
    if not by_level:
        return ""
    mean = {level: fmean(accuracies) for level, accuracies in by_level.items()}
    densest, best = min(mean), max(mean, key=lambda level: mean[level])
    if mean[best] - mean[densest] <= UNDER_TRAINED:
        return ""
    ends = f"from {mean[densest]:.2f} % at level {densest} to {mean[best]:.2f} % at level {best}"
    return (
        f"A sign of under-training: tickets improve with sparsity, {ends}. A gain over the ticket of the same density "
        "then includes what a sparser ticket has without any pooling: judge pooling by its gain over the best "
        "admissible ticket. Pools that are chosen without labels are weak there: pool by `balanced-soup`."
    )


def _uncertain(gain: Gain) -> bool:
    return gain.low <= 0 <= gain.high


def _cautions(gain: Gain, beside: Gain | None) -> list[str]:
    """Why a reader should not rely on the gain yet, the gravest last: few seeds, an interval with zero, a better
    ticket."""
    name = label(gain.method)
    cautions = []
    if gain.seeds < SEEDS:
        cautions.append(f"Only {plural(gain.seeds, 'seed')}: with fewer than three, the next may give another result.")
    if _uncertain(gain):
        also = ", nor than the best admissible one" if beside and _uncertain(beside) else ""
        cautions.append(
            f"No gain shown: the 95 % interval includes zero, so {name} may be no better than the recalibrated ticket "
            f"of the same density{also}."
        )
    elif beside and _uncertain(beside):
        cautions.append(
            f"{name} is not shown to beat the best admissible ticket: the 95 % interval of that gain includes zero."
        )
    if beside and beside.high < 0:
        cautions.append(f"Worse than the best admissible ticket: use that instead of {name}.")
    return cautions


def _statement(gain: Gain, beside: Gain | None, averaged: str) -> str:
    """The differences that are shown, as samples out of a hundred."""

    def words(difference: Gain) -> tuple[str, str]:
        return f"{abs(difference.gain):.2f}", "more" if difference.gain > 0 else "fewer"

    parts = []
    if not _uncertain(gain):
        number, direction = words(gain)
        parts.append(f"{number} {direction} correctly than the recalibrated ticket of the same density")
    if beside and not _uncertain(beside):
        number, direction = words(beside)
        parts.append(f"{number} {direction}{'' if parts else ' correctly'} than the best admissible ticket")
    if not parts:
        return ""
    return f"Of 100 test samples, {label(gain.method)} predicts {' and '.join(parts)}{averaged}."


def _difference(measure: Measure) -> Callable[[Gain, Gain | None, str], str]:
    """As `_statement`, for a metric whose difference is no number of samples."""

    def state(gain: Gain, beside: Gain | None, averaged: str) -> str:
        parts = []
        for difference, against in ((gain, "the recalibrated ticket of the same density"), (beside, _ADMISSIBLE)):
            if difference is not None and not _uncertain(difference):
                direction = "higher" if difference.gain > 0 else "lower"
                parts.append(f"{abs(difference.gain):.{measure.digits}f} {direction} than that of {against}")
        if not parts:
            return ""
        return f"On test samples, {measure.name} of {label(gain.method)} is {' and '.join(parts)}{averaged}."

    return state


def _averaged(gain: Gain, gains: Sequence[Gain]) -> str:
    levels, seeds = averaged_over(gain, gains)
    means = [plural(levels, "level")] * (levels > 1) + [plural(seeds, "seed")] * (seeds > 1)
    return f", averaged over {' and '.join(means)}" if means else ""

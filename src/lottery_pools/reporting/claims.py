"""What gains at single levels may be claimed: Holm's correction for their number, and the cells that lose."""

from __future__ import annotations

from collections.abc import Sequence

from lottery_pools.evaluation.intervals import holm, p_value
from lottery_pools.reporting.words import DASH, interval
from lottery_pools.runs.rows import Gain

SIGN = " *"
"""Follows a gain at a level that differs from zero."""
NOTE = "Stars mark gains that differ from zero at 5 %, corrected for the number of levels by Holm's method."


def claimed(gains: Sequence[Gain]) -> list[Gain]:
    """The gains that differ from zero at 5 % after Holm's correction for their number, in their order.

    Args:
        gains: One family: those of one method over one other, at every level.
    """
    corrected = holm([p_value(gain) for gain in gains])
    return [gain for gain, p in zip(gains, corrected, strict=True) if p <= 0.05]


def cells_by_level(gains: Sequence[Gain], against: str, corruption: str) -> dict[tuple[str, int], str]:
    """Gains at single levels with their 95 % intervals, by method and level; those that may be claimed have `SIGN`.

    Args:
        gains: Gains of any kind; those of `against` and `corruption` at single levels are shown.
        against: The baseline, as `Gain.against` calls it.
        corruption: `none` or `all`.
    """
    families: dict[str, list[Gain]] = {}
    for gain in gains:
        if (gain.against, gain.corruption) == (against, corruption) and gain.level is not None:
            families.setdefault(gain.method, []).append(gain)
    cells = {}
    for method, family in families.items():
        sure = {gain.level for gain in claimed(family)}
        for gain in family:
            if gain.level is not None:
                cells[method, gain.level] = interval(gain) + (SIGN if gain.level in sure else "")
    return cells


def losing_cells(gain: Gain) -> str:
    """How many of the cells of a gain, one a level and seed, are below zero: `1 of 27`."""
    return f"{gain.losses} of {gain.cells}" if gain.cells else DASH

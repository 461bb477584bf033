"""How a question of PLAN.md is answered from the rows of one study: the rules, and the words of an answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

import numpy as np

from lottery_pools.evaluation.intervals import freedom, holm, is_equivalent, means, p_value, student
from lottery_pools.evaluation.metrics import gains
from lottery_pools.reporting.claims import claimed, losing_cells
from lottery_pools.reporting.names import percent
from lottery_pools.reporting.words import interval
from lottery_pools.runs.rows import Gain, Row

ALIKE = 0.15
"""Share by which the training images of two networks may differ at equal cost."""

Families = dict[tuple[str, str], list[Gain]]
"""The gains of one method over another, at each level and over all, clean and corrupted: by (method, against)."""


@dataclass(frozen=True)
class Study:
    """The rows of one study, with the comparisons that were computed from them so far."""

    name: str
    rows: tuple[Row, ...]
    families: Families

    @classmethod
    def of(cls, name: str, rows: Iterable[Row]) -> Study:
        """A study of these rows."""
        return cls(name, tuple(rows), {})

    @cached_property
    def levels(self) -> dict[str, set[int]]:
        """The levels at which each method was measured."""
        levels = defaultdict(set)
        for row in self.rows:
            levels[row.method].add(row.level)
        return dict(levels)

    def whole(self, method: str) -> bool:
        """Whether a method was measured at every level of the study."""
        return method in self.levels and self.levels[method] == set().union(*self.levels.values())

    def compared(self, method: str, against: str) -> list[Gain]:
        """The gains of a method over another at every level that both have, and over all of these."""
        if (method, against) not in self.families:
            wanted = {method, against, "ticket"}
            rows = [row for row in self.rows if row.method in wanted]
            self.families[method, against] = [gain for gain in gains(rows, (against,)) if gain.method == method]
        return self.families[method, against]


def over_all_levels(family: Iterable[Gain], corruption: str = "none") -> Gain | None:
    """The gain over all levels; None where there is none."""
    return next((gain for gain in family if gain.level is None and gain.corruption == corruption), None)


def gain_over(study: Study, method: str, against: str, corruption: str = "none") -> Gain | None:
    """The gain of a method over another over all levels; None where one of them was not measured at every level."""
    if not (study.whole(method) and study.whole(against)):
        return None
    return over_all_levels(study.compared(method, against), corruption)


def at_levels(family: Iterable[Gain], corruption: str = "none") -> list[Gain]:
    """The gains at single levels."""
    return [gain for gain in family if gain.level is not None and gain.corruption == corruption]


def word(gain: Gain, p: float | None = None) -> str:
    """Yes, no, equivalent or not shown, as PLAN.md defines them.

    Args:
        gain: The gain over all levels.
        p: Its p-value, where it was corrected for the number of tests; None: that of the gain.
    """
    sure = (p_value(gain) if p is None else p) <= 0.05
    answer = ("yes" if gain.gain > 0 else "no") if sure else ""
    if is_equivalent(gain):
        return f"{answer}, equivalent" if answer else "equivalent"
    return answer or "not shown"


def said(gain: Gain, start: str = "") -> str:
    """An answer: its word, if it has one, with the gain that it rests on and the number of seeds."""
    over = f"n = {gain.seeds}" if gain.seeds > 1 else "1 seed: interval over its samples"
    return f"{start + ': ' if start else ''}{interval(gain)}, {over}"


def answered(gain: Gain | None, missing: str = "") -> str:
    """An answer with its word, as `word` finds it; `missing` where there is no gain."""
    return said(gain, word(gain)) if gain else missing


def tested(gain: Gain, answer: str) -> str:
    """The answer of a planned test, whose word may be corrected for the number of tests, with its own p-value."""
    return f"{said(gain, answer)}; p = {p_value(gain):.3f}"


def corrected(over_all: Sequence[Gain | None]) -> list[str]:
    """The words of one primary question in several studies, corrected for their number; empty without a gain."""
    known = [gain for gain in over_all if gain is not None]
    p_values = iter(holm([p_value(gain) for gain in known]))
    return [word(gain, next(p_values)) if gain is not None else "" for gain in over_all]


def over_all_seeds(studies: Sequence[Study], method: str, against: str) -> Gain | None:
    """The gain of a method over another from all seeds of several studies, each seed one number; None without rows."""
    by_seed: list[Gain] = []
    for study in studies:
        if study.whole(method) and study.whole(against):
            for seed in sorted({row.seed for row in study.rows}):
                of_seed = Study.of(study.name, (row for row in study.rows if row.seed == seed))
                gain = over_all_levels(of_seed.compared(method, against))
                by_seed += [gain] if gain else []
    if len(by_seed) < 2:
        return None
    mean, error = means(np.array([[[gain.gain] for gain in by_seed]]))
    half = student(freedom(len(by_seed))) * error[0]
    summed = {"cells": sum(gain.cells for gain in by_seed), "losses": sum(gain.losses for gain in by_seed)}
    ends = {"gain": float(mean[0]), "low": float(mean[0] - half), "high": float(mean[0] + half)}
    return replace(by_seed[0], seeds=len(by_seed), error=float(error[0]), **ends, **summed)  # type: ignore[arg-type]


def losses(family: Sequence[Gain]) -> str:
    """Where a method loses: cells, levels whose mean is below zero, and levels at which that is shown."""
    whole, by_level = over_all_levels(family), at_levels(family)
    below = [gain for gain in by_level if gain.gain < 0]
    shown = [gain for gain in claimed(by_level) if gain.gain < 0]
    cells = f"{losing_cells(whole)} cells" if whole else ""
    return f"{cells}; means below zero: {densities(below)}; shown: {densities(shown)}"


def densities(family: Iterable[Gain]) -> str:
    """The densities of gains at single levels; `none` where there are none."""
    return ", ".join(percent(gain.density) for gain in family if gain.density is not None) or "none"


def gaining(family: Sequence[Gain]) -> str:
    """The densities at which a gain is shown, by Holm's method."""
    return densities(gain for gain in claimed(at_levels(family)) if gain.gain > 0)


def on_held_out(study: Study, method: str) -> Gain | None:
    """The gain of a method over the recalibrated ticket on the samples that chose its pools."""
    wanted = {method, "recalibrated", "ticket"}
    rows = [replace(row, split="test", part="all") for row in study.rows if row.split == "validation"]
    return over_all_levels(
        gain
        for gain in gains([row for row in rows if row.method in wanted], ("recalibrated",))
        if gain.method == method
    )


def cost(study: Study, method: str, against: str) -> str:
    """The images that the search of one method forwards for a target, and their share of another's."""
    mean = {
        name: fmean(images)
        for name in (method, against)
        if (images := [row.search_images for row in study.rows if row.method == name])
    }
    if len(mean) < 2 or not mean[against]:
        return ""
    return f"{mean[method]:,.0f} images, 1/{mean[against] / max(1.0, mean[method]):.0f}"


def at_equal_cost(study: Study, baseline: str, method: str) -> Gain | None:
    """The gain of a trained baseline over a pool at the levels where both took as many training images within 15 %."""
    images = {(row.method, row.level): row.train_images for row in study.rows}
    levels = {
        level
        for name, level in images
        if name == baseline
        and (method, level) in images
        and abs(images[baseline, level] - images[method, level]) <= ALIKE * images[method, level]
    }
    rows = [row for row in study.rows if row.level in levels and row.method in (baseline, method, "ticket")]
    return over_all_levels(gain for gain in gains(rows, (method,)) if gain.method == baseline)

"""The samples that networks are measured on: the clean splits, then test samples by corruption and severity."""

from __future__ import annotations

from lottery_pools.data import shifts
from lottery_pools.data.dataset import Split
from lottery_pools.experiment.run import Run

Condition = tuple[str, str, int]
"""What a network is measured on: (split, corruption, severity)."""
CLEAN: tuple[Condition, ...] = (("validation", "none", 0), ("test", "none", 0))


def of(run: Run) -> tuple[Condition, ...]:
    """Everything that a run's networks are measured on: the clean splits, then every corruption at every severity."""
    evaluation = run.config.evaluation
    names = shifts.names(run.config.data, evaluation.corruptions)
    return (*CLEAN, *(("test", name, severity) for name in names for severity in evaluation.severities))


def samples_of(run: Run, condition: Condition) -> Split:
    """The samples of a condition."""
    split, corruption, severity = condition
    if severity:
        return shifts.shifted(run.dataset, run.config.data, run.config.evaluation, corruption, severity)
    return run.dataset.validation if split == "validation" else run.dataset.test


def size_of(run: Run, condition: Condition) -> int:
    """How many samples a condition has; makes none of them."""
    split, _, severity = condition
    if split == "validation":
        return len(run.dataset.validation)
    everything = len(run.dataset.test)
    return min(run.config.evaluation.corrupted or everything, everything) if severity else everything


def is_ready(run: Run, condition: Condition) -> bool:
    """Whether the samples of a condition need no work that is worth sharing out over workers."""
    _, corruption, severity = condition
    if not severity:
        return True
    cached = shifts.cached(run.dataset, run.config.data, run.config.evaluation, corruption, severity)
    return cached is None or cached.exists()

"""What a report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lottery_pools.config.schema import Config
from lottery_pools.reporting.diagnosis import Diagnoses
from lottery_pools.reporting.table import Table
from lottery_pools.runs.rows import Accuracy, Gain, PoolRow, Row
from lottery_pools.runs.speeds import SpeedRow


@dataclass(frozen=True)
class ReportContent:
    """One experiment as read from its folder: rows of all its seeds, and what follows from them."""

    title: str
    rows: Sequence[Row]
    gains: Sequence[Gain]
    """Of every method over every baseline, by level and over all levels: `metrics.gains`."""
    pools: Sequence[PoolRow]
    config: Config
    diagnoses: Diagnoses = ()
    """One a seed; none where the experiment was not diagnosed."""
    extra: Sequence[Table] = ()
    """Tables that not every report has, such as `corruption_tables.mce_by_level`."""
    comparable: Sequence[Gain] = ()
    """Gains over the levels that all methods have: `metrics.comparable`."""
    accuracies: Sequence[Accuracy] = ()
    """Of every method at every level: `metrics.accuracies`."""
    speeds: Sequence[SpeedRow] = ()
    """Of the networks that were compiled (`lottery-pools compile`)."""

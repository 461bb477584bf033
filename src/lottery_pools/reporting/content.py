"""What a report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lottery_pools.config.schema import Config
from lottery_pools.reporting.diagnosis import Found
from lottery_pools.reporting.tables import Table
from lottery_pools.runs.rows import Accuracy, Gain, PoolRow, Row


@dataclass(frozen=True)
class Report:
    """One experiment as read from its folder."""

    title: str
    rows: Sequence[Row]
    gains: Sequence[Gain]
    pools: Sequence[PoolRow]
    config: Config
    diagnosis: Found = ()
    """One a seed; none where it was not diagnosed."""
    extra: Sequence[Table] = ()
    """Tables that not every report has, such as `tables.mce_by_level`."""
    comparable: Sequence[Gain] = ()
    """`metrics.comparable`."""
    accuracies: Sequence[Accuracy] = ()
    """`metrics.accuracies`."""

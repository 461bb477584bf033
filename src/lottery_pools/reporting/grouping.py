"""Rows in groups: by method in their order, by level, and those that all methods have, over which means compare."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from lottery_pools.reporting.names import place
from lottery_pools.reporting.words import plural
from lottery_pools.runs.rows import AnyRow, MetricRow, Row, common_rows


def in_order(methods: Iterable[str]) -> list[str]:
    """The methods, each once, in the order in which they are shown."""
    return sorted(dict.fromkeys(methods), key=place)


def level_densities(rows: Sequence[Row]) -> dict[int, float]:
    """The density of each level that was measured: of its own tickets and pools, not of a sparser ticket taken over."""
    return {row.level: row.density for row in rows if row.method != "admissible"}


def by_method_and_level(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    """The rows of each method at each level."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.level), []).append(row)
    return groups


def shared(rows: Sequence[AnyRow]) -> dict[str, list[AnyRow]]:
    """Each method's rows among those that all methods have (`common_rows`), as only their means compare."""
    groups: dict[str, list[AnyRow]] = {method: [] for method in in_order(row.method for row in rows)}
    for row in common_rows(rows):
        groups[row.method].append(row)
    return groups


def what_all_have(rows: Sequence[AnyRow]) -> str:
    """Over what the means of a table are: how many levels all methods have, and of what else they do not have all.

    Such as `the 9 levels, 3 of 4 seeds that all have`.
    """
    reads: tuple[Callable[[Row | MetricRow], Hashable], ...] = (
        lambda row: row.level,
        lambda row: row.seed,
        lambda row: (row.corruption, row.severity),
    )
    (levels, seeds, cells), (_, of_seeds, of_cells) = (
        [len({read(row) for row in group}) for read in reads] for group in (common_rows(rows), rows)
    )
    words = [f"the {plural(levels, 'level')}"]
    words += [f"{seeds} of {of_seeds} seeds"] * (seeds < of_seeds)
    words += [f"{cells} of {of_cells} corruptions and severities"] * (cells < of_cells)
    return f"{', '.join(words)} that all have"

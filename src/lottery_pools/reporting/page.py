"""A whole report as one HTML page that needs nothing else, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined

from lottery_pools.config import Config, to_toml
from lottery_pools.reporting import figures, tables
from lottery_pools.reporting.tables import CONTROLS, PAPER, Table, clean, corrupted, featured, label, pooled
from lottery_pools.runs.results import Gain, PoolRow, Row


def headline(gains: Sequence[Gain]) -> Gain | None:
    """The gain over the recalibrated ticket of the last of the two featured methods, over all levels, on clean test
    samples."""
    found = {g.method: g for g in gains if (g.level, g.corruption, g.against) == (None, "none", "recalibrated")}
    methods = featured(found, 2)
    return found[methods[-1]] if methods else None


def verdict(gain: Gain | None) -> str:
    """What a headline gain means, in one plain sentence that claims no more than its interval allows."""
    if gain is None:
        return "No pooling method has been compared with the recalibrated ticket yet."
    name = label(gain.method)
    if gain.low <= 0 <= gain.high:
        return (
            f"No gain shown: the 95 % interval includes zero, so {name} may be no better than the recalibrated ticket "
            "of the same density."
        )
    direction = "more" if gain.gain > 0 else "fewer"
    return (
        f"Of 100 test samples, {name} predicts {abs(gain.gain):.2f} {direction} correctly than the recalibrated ticket "
        "of the same density, averaged over levels and seeds."
    )


def render(
    title: str,
    rows: Sequence[Row],
    gains: Sequence[Gain],
    pools: Sequence[PoolRow],
    config: Config,
    extra: Sequence[Table] = (),
) -> str:
    """The report as a page of HTML: no request leaves it, and equal input gives equal bytes.

    `extra` are tables that not every report has, such as `tables.mce_by_level`.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    gain = headline(gains)
    measured, shifted = clean(rows), corrupted(rows)
    by_level = any(g.density is not None and (g.against, g.corruption) == ("recalibrated", "none") for g in gains)
    methods = pooled(row.method for row in measured)
    mapped = gain.method if gain and tables.differences(shifted, lambda row: row.method) else None
    return template.render(
        title=title,
        headline=gain,
        verdict=verdict(gain),
        basis=_basis(gain) if gain else "",
        label=label,
        model=config.model.name,
        data=config.data.name,
        seeds=len({row.seed for row in measured}),
        levels=len({row.level for row in measured}),
        samples=max((row.n for row in measured), default=0),
        shift=_shift(shifted),
        accuracy=figures.accuracy(rows) if measured else "",
        corrupted=figures.accuracy(rows, under_corruption=True) if shifted else "",
        gains=figures.gains(gains) if by_level else "",
        heat_map=figures.heat_map(rows, mapped) if mapped else "",
        tables=[*_tables(rows, gains, pools), *extra],
        methods=methods,
        more=[method for method in methods if method not in (*PAPER, *CONTROLS)],
        settings=to_toml(config),
    )


def markdown(
    title: str,
    rows: Sequence[Row],
    gains: Sequence[Gain],
    pools: Sequence[PoolRow],
    config: Config,
    extra: Sequence[Table] = (),
) -> str:
    """The report as Markdown: its headline and its tables."""
    gain = headline(gains)
    number = f"**{tables.interval(gain)}** percentage points (95 % interval; {_basis(gain)}). " if gain else ""
    parts = [*_tables(rows, gains, pools), *extra, tables.settings(config)]
    return "\n".join([f"# {title}\n", f"{number}{verdict(gain)}\n", *map(tables.markdown, parts)])


def _basis(gain: Gain) -> str:
    return f"{gain.seeds} seed{'' if gain.seeds == 1 else 's'}, {gain.n:,} test samples each"


def _shift(rows: Sequence[Row]) -> str:
    """The corruptions of the rows in words."""
    corruptions, severities = len({row.corruption for row in rows}), len({row.severity for row in rows})
    kinds = f"{corruptions} corruption{'' if corruptions == 1 else 's'}"
    return f"{kinds} at {severities} severit{'y' if severities == 1 else 'ies'}"


def _tables(rows: Sequence[Row], gains: Sequence[Gain], pools: Sequence[PoolRow]) -> list[Table]:
    """The tables of a report that have a line, in order."""
    methods = pooled(row.method for row in clean(rows))
    every = [tables.by_level(rows, gains), tables.summary(rows, gains)]
    if methods != featured(methods, 2):  # otherwise the first table has them all
        every += [
            tables.accuracy_by_level("All methods: clean test accuracy by level (%)", clean(rows)),
            tables.gains_by_level("All methods: clean gain by level (percentage points)", gains, "none"),
        ]
    shifted = corrupted(rows)
    every += [
        tables.accuracy_by_level(f"Accuracy under corruption by level (%, mean over {_shift(shifted)})", shifted),
        tables.gains_by_level("Gain under corruption by level (percentage points)", gains, "all"),
        tables.by_corruption(rows),
        tables.by_severity(rows),
        tables.overall(gains),
        tables.recipes(pools),
    ]
    return [table for table in every if table.rows]

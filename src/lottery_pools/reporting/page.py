"""A whole report as one HTML page that needs nothing else, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined

from lottery_pools.config import Config, to_toml
from lottery_pools.reporting import figures, tables
from lottery_pools.reporting.tables import BASELINES, Table, clean, label
from lottery_pools.runs.results import Gain, PoolRow, Row


def headline(gains: Sequence[Gain]) -> Gain | None:
    """The last pooling method's gain over the recalibrated ticket, over all levels, on clean test samples."""
    found = [
        gain
        for gain in gains
        if gain.level is None
        and gain.corruption == "none"
        and gain.against == "recalibrated"
        and gain.method not in BASELINES
    ]
    return found[-1] if found else None


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


def render(title: str, rows: Sequence[Row], gains: Sequence[Gain], pools: Sequence[PoolRow], config: Config) -> str:
    """The report as a page of HTML: no request leaves it, and equal input gives equal bytes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    gain = headline(gains)
    measured = clean(rows)
    by_level = any(g.density is not None and g.against == "recalibrated" for g in gains)
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
        accuracy=figures.accuracy(rows) if measured else "",
        gains=figures.gains(gains) if by_level else "",
        tables=_tables(rows, gains, pools),
        settings=to_toml(config),
    )


def markdown(title: str, rows: Sequence[Row], gains: Sequence[Gain], pools: Sequence[PoolRow], config: Config) -> str:
    """The report as Markdown: its headline and its tables."""
    gain = headline(gains)
    number = f"**{tables.interval(gain)}** percentage points (95 % interval; {_basis(gain)}). " if gain else ""
    parts = [*_tables(rows, gains, pools), tables.settings(config)]
    return "\n".join([f"# {title}\n", f"{number}{verdict(gain)}\n", *map(tables.markdown, parts)])


def _basis(gain: Gain) -> str:
    return f"{gain.seeds} seed{'' if gain.seeds == 1 else 's'}, {gain.n:,} test samples each"


def _tables(rows: Sequence[Row], gains: Sequence[Gain], pools: Sequence[PoolRow]) -> list[Table]:
    """The tables of a report that have a line, in order."""
    every = (
        tables.by_level(rows, gains),
        tables.overall(gains),
        tables.calibration(rows),
        tables.recipes(pools),
        tables.costs(rows),
    )
    return [table for table in every if table.rows]

"""One table of text: what it holds, which columns matter most, and how it is written as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from lottery_pools.errors import inert
from lottery_pools.reporting.words import DASH

_NUMBER = re.compile(r"[+−-]?[\d,]+(\.\d+)?( ?[%kMGT])?( \[.*\])?( \*)?( of \d+)?")


@dataclass(frozen=True)
class Table:
    """Text in columns.

    >>> Table("Density", ("Level", "Density"), (("0", "100 %"), ("1", "80.0 %"))).numeric
    (True, True)
    """

    title: str
    columns: tuple[str, ...]
    """The headings."""
    rows: tuple[tuple[str, ...], ...]
    """One line each, with a cell for every column."""
    note: str = ""
    """What a reader has to know to read the numbers rightly; shown with the table."""
    groups: tuple[tuple[int, ...], ...] = ()
    """Columns, by their place, that are shown together or not at all, the most important first: a narrow terminal
    leaves out the last. Empty: a narrow terminal wraps the words of cells, then leaves out columns from the right."""

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers only: those are set flush right. A page asks for every cell, so it is kept."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return tuple(bool(cells) and all(c == DASH or _NUMBER.fullmatch(c) for c in cells) for cells in columns)


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown, under a heading of the third level, with its note."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(inert(' '.join(cell.split())).replace('|', chr(92) + '|') for cell in cells)} |"

    rule = ("---:" if numeric else "---" for numeric in table.numeric)
    note = [table.note, ""] if table.note else []
    lines = [f"### {inert(table.title)}", "", *note, line(table.columns), line(rule), *map(line, table.rows)]
    return "\n".join(lines) + "\n"

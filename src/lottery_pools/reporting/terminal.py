"""Tables and sentences in a terminal, never broken within a word or a number."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from lottery_pools.errors import plain
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.words import JOINED, MINUS, unbroken

_UNBOUNDED = 10_000
"""Columns given to a table that goes to a file or a pipe."""

_GAP = 3
"""Characters between two columns."""

_NAME = 30
"""Characters up to which a cell of words stays on one line, where columns can be left out instead."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of these headings and lines, as `show` does."""
    show(Table(title, tuple(columns), tuple(map(tuple, rows))))


def show(content: Table) -> None:
    """Print a table to standard output, no wider than the terminal.

    Headings, and cells of words, wrap between words. Where that is not enough, the least important columns are left
    out, and a line below names them (`Table.groups` says what is important). A number, a word and an interval are
    never broken. Where the output is not a terminal but a file or a pipe, it is plain text with every column on one
    line, whatever its width and whatever `COLUMNS` says: what reads it can cut a line, but not restore one.
    """
    terminal = Console()
    room = terminal.width if terminal.is_terminal else _UNBOUNDED
    widths = _widths(content, room)
    numeric = content.numeric

    def text(words: str, width: int) -> Text:
        return Text(_printable(_wrap(words, width), terminal))

    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False)
    for place, width in widths.items():
        grid.add_column(text(content.columns[place], width), justify="right" if numeric[place] else "left", width=width)
    for row in content.rows:
        grid.add_row(*(text(row[place], width) for place, width in widths.items()))
    console = Console(width=_UNBOUNDED)  # the layout is made: nothing is to be squeezed
    console.print(Text(_printable(_wrap(content.title, room), terminal), "bold"))
    console.print(grid)
    if content.note:
        say(content.note)
    left_out = [name for place, name in enumerate(content.columns) if place not in widths]
    if left_out:
        say(f"No room here for: {', '.join(left_out)}. A wider terminal shows them, and so does a pipe (`| less -S`).")


def say(*sentences: str) -> None:
    """Print sentences to standard output, a paragraph each: in a terminal wrapped between words, else as they are."""
    console = Console()
    for sentence in sentences:
        text = _wrap(sentence, console.width) if console.is_terminal else sentence
        print(_printable(text, console))


def _widths(content: Table, room: int) -> dict[int, int]:
    """The width of each column that fits into `room` characters, the most important ones, by its place.

    A column is as wide as its numbers and its longest word, or wider where room is left.
    """
    cells = [[heading, *column] for heading, column in zip(content.columns, _columns(content), strict=True)]
    natural = [max(map(len, column)) for column in cells]
    narrow = [_narrowest(content, place, natural[place]) for place in range(len(content.columns))]
    groups = content.groups or tuple((place,) for place in range(len(content.columns)))
    if _total(narrow[place] for place in groups[0]) > room:
        groups = tuple((place,) for place in groups[0])
    chosen: list[int] = []
    for group in groups:
        if chosen and _total(narrow[place] for place in (*chosen, *group)) > room:
            break
        chosen += group
    return _widened({place: narrow[place] for place in sorted(chosen)}, content, natural, room)


def _widened(narrow: Mapping[int, int], content: Table, natural: Sequence[int], room: int) -> dict[int, int]:
    """The widths with what room is left: for headings of two lines, then of one, then for cells of words."""
    widths = dict(narrow)
    left = room - _total(widths.values())
    for lines in (2, 1):
        for place, width in widths.items():
            heading = content.columns[place]
            wider = range(width, max(width, len(heading)) + 1)
            more = next(enough for enough in wider if _wrap(heading, enough).count("\n") < lines) - width
            if more <= left:
                widths[place], left = width + more, left - more
    for place, width in widths.items():
        more = 0 if content.numeric[place] else min(left, natural[place] - width)
        widths[place], left = width + more, left - more
    return widths


def _columns(content: Table) -> list[tuple[str, ...]]:
    """The cells of each column."""
    return list(zip(*content.rows, strict=True)) if content.rows else [()] * len(content.columns)


def _narrowest(content: Table, place: int, natural: int) -> int:
    """The characters that a column needs at least, so that no word and no number breaks."""
    heading, cells = content.columns[place], _columns(content)[place]
    words = [word for text in (heading, *cells) for word in _words(text)]
    longest = max([1, *map(len, words)])
    if content.numeric[place]:
        return max([*map(len, cells), *map(len, _words(heading)), 1])
    return max(longest, min(natural, _NAME)) if content.groups else longest


def _total(widths: Iterable[int]) -> int:
    """The characters that columns of these widths need side by side."""
    widths = list(widths)
    return sum(widths) + _GAP * len(widths) - 1


def _words(text: str) -> list[str]:
    """The parts of a text between which a line may break."""
    return re.split(r"[ \n]+", unbroken(text))


def _wrap(text: str, width: int) -> str:
    """The text in lines of at most `width` characters, broken between words only."""
    lines = textwrap.wrap(unbroken(text), width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(JOINED, " ")


def _printable(text: str, console: Console) -> str:
    """The text as it can be shown: without control characters, and with a hyphen for the minus sign where the output's
    encoding lacks it, so that no sign is lost."""
    text = "\n".join(map(plain, text.split("\n")))
    try:
        MINUS.encode(console.encoding)
    except UnicodeEncodeError:
        return text.replace(MINUS, "-")
    return text

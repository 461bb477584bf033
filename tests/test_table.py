"""A table of text: which columns are numbers, and its Markdown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.reporting.table import Table, markdown
from lottery_pools.reporting.words import DASH


def test_numbers_are_told_from_words() -> None:
    rows = (("1", "4 (0.60)", "−0.25 [−0.50, +0.00]", "32.8 %"), ("2,000", "x", DASH, "1.50 G"))
    assert Table("t", ("a", "b", "c", "d"), rows).numeric == (True, False, True, True)


def test_all_cells_are_looked_at_once_however_often_a_page_asks() -> None:
    """A page asks for every cell: a table of 2,300 lines took a minute."""
    table = Table("t", ("a",), (("1",),))
    assert table.numeric is table.numeric


def test_markdown_aligns_and_escapes() -> None:
    text = markdown(Table("Title", ("Name", "n"), (("a|b\nc", "1"),)))
    assert text == "### Title\n\n| Name | n |\n| --- | ---: |\n| a\\|b c | 1 |\n"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_markdown_has_one_line_a_row_and_as_many_cells_as_columns(rows: list[tuple[str, str]]) -> None:
    lines = markdown(Table("Title", ("a", "b"), tuple(rows))).rstrip("\n").split("\n")[2:]
    assert len(lines) == 2 + len(rows)
    assert all(line.count("|") - line.count("\\|") == 3 for line in lines)


def test_the_note_stands_between_heading_and_table() -> None:
    text = markdown(Table("Title", ("n",), (("1",),), "A note."))
    assert text == "### Title\n\nA note.\n\n| n |\n| ---: |\n| 1 |\n"

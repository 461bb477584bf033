"""Several runs side by side."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from lottery_pools.config.schema import Config
from lottery_pools.reporting import comparison
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.names import label
from lottery_pools.reporting.words import DASH
from tests.test_tables import make_gain, make_rows, make_shifted

ADMISSIBLE = replace(make_gain(gain=0.25), against="admissible")
CORRUPTED = replace(make_gain(gain=0.125), corruption="all")
GAINS = [make_gain(), make_gain("average", gain=-2), ADMISSIBLE, make_gain(level=1)]
ONE = ReportContent("one", make_rows(), GAINS, [], Config(), comparable=GAINS[:3])
SHIFTED = [make_gain(gain=3), CORRUPTED]
TWO = ReportContent("two", make_rows(levels=1) + make_shifted(levels=1), SHIFTED, [], Config(), comparable=SHIFTED)
EMPTY = ReportContent("none", [], [], [], Config())


def test_a_run_is_told_by_its_setting_and_its_dense_ticket() -> None:
    rows = comparison.runs({"a": ONE, "b": EMPTY}).rows
    assert rows[0] == ("a", "mnist1d", Config().model.name, "2", "4", "51.2 %", "1,000", "50.20")
    assert rows[1] == ("b", "mnist1d", Config().model.name, "0", "0", DASH, "0", DASH)


def test_gains_are_over_both_baselines_and_corrupted_where_any_run_is() -> None:
    table = comparison.methods({"a": ONE, "b": TWO})
    assert table.columns[2:5] == ("Over recalibrated", "Over best admissible", "Over recalibrated, corrupted")
    cells = {line[:2]: line[2:] for line in table.rows}
    assert cells["a", "Interpolation"] == (
        *("+1.00 [+0.50, +1.50]", "+0.25 [−0.25, +0.75]", DASH),
        *("2.50 M", "8,000", "0.320 %", "5.00 M"),
    )
    assert cells["b", "Interpolation"][:3] == ("+3.00 [+2.50, +3.50]", DASH, "+0.12 [−0.38, +0.62]")
    assert "Over recalibrated, corrupted" not in comparison.methods({"a": ONE}).columns
    assert {method for _, method in cells}.isdisjoint({"Ticket", "Recalibrated", "Best admissible"})


def test_the_figure_has_a_point_a_run_and_method() -> None:
    (figure,) = comparison.figures({"a": ONE, "b": TWO, "c": EMPTY})
    assert [row[:3] for row in figure.rows] == [
        *(("a", "Average", -2), ("a", "Interpolation", 1.0), ("b", "Interpolation", 3.0))
    ]
    for text in ("a", "b", "c", "Interpolation", "Average"):
        assert f">{text}</text>" in figure.svg
    assert comparison.figures({"c": EMPTY}) == []


def test_what_was_trained_has_a_figure_of_its_own_and_no_colour_comes_twice() -> None:
    methods = ("admissible", "average", "interpolation", "trimmed-soup", "best")
    trained = ("sparse-model-soups", "swamp-equal-cost", "swa-training", "ema-training", "longer")
    gains = [make_gain(method) for method in (*methods, *trained)]
    report = ReportContent("three", make_rows(), gains, [], Config(), comparable=gains)
    pooling, training = comparison.figures({"a": report, "b": ONE})
    assert {row[0] for row in training.rows} == {"a"}
    assert ">b</text>" in pooling.svg
    assert ">b</text>" not in training.svg
    assert {row[1] for row in training.rows} == set(map(label, trained))
    assert {row[1] for row in pooling.rows}.isdisjoint(row[1] for row in training.rows)
    for figure in (pooling, training):
        colours = set(re.findall(r"<use [^>]*style=\"fill: (#\w+)", figure.svg))
        assert len(colours) == len({row[1] for row in figure.rows})


def test_a_run_that_looks_under_trained_is_named() -> None:
    note = comparison.methods({"a": ONE, "b": TWO}).note
    assert note.startswith("a: A sign of under-training")
    assert "b: " not in note


def test_plain_values_are_ready_for_json() -> None:
    plain = json.loads(json.dumps(comparison.plain("a", ONE)))
    assert plain["dense_accuracy"] == pytest.approx(0.502)
    assert [gain["gain"] for gain in plain["gains"]] == [1.0, -2, 0.25]
    assert comparison.plain("c", EMPTY)["dense_accuracy"] is None

"""Studies f1 to f4: what the page of answers says of them, from rows of another study under other names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools.experiment import report as reports
from lottery_pools.reporting.words import interval
from lottery_pools.runs.rows import Row
from studies import answers, labels
from studies.answers import Study
from studies.plan import FADING

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Rows of study a, in which the trimmed soup stands for the fading soup with labels."""
    wanted = {"ticket", "recalibrated", "fading-soup", "trimmed-soup"}
    of_study = [row for row in reports.read(ROOT / "docs/results/mnist1d")[1] if row.method in wanted]
    return [replace(row, method={"trimmed-soup": labels.LABELS}.get(row.method, row.method)) for row in of_study]


def test_nothing_is_said_before_a_study_was_run(rows: list[Row]) -> None:
    studies = dict.fromkeys((*labels.STUDIES, *labels.EXISTING))
    assert labels.page(studies) == ""
    assert labels.page(studies | {name: Study.of(name, rows) for name in labels.EXISTING}) == ""


def test_the_planned_tests_are_corrected_for_their_number(rows: list[Row]) -> None:
    studies = dict.fromkeys((*labels.STUDIES, *labels.EXISTING))
    first = Study.of(labels.SHORT[0], rows)
    gain = answers.gain_over(first, labels.LABELS, FADING)
    assert gain is not None
    waiting = labels.page({**studies, labels.SHORT[0]: first})
    assert f"- `{labels.SHORT[0]}`: no, equivalent: {interval(gain)}, n = 10; p = 0.003.\n" in waiting
    assert f"- `{labels.SHORT[1]}`: not yet run.\n" in waiting
    assert "- eleven earlier seeds: not yet run.\n" in waiting
    both = labels.page({**studies, **{name: Study.of(name, rows) for name in labels.SHORT}})
    assert both.count(f"no, equivalent: {interval(gain)}, n = 10; p = 0.003.\n") == 2


def test_of_earlier_studies_only_the_named_seeds_count(rows: list[Row]) -> None:
    """Seeds 25 and 26 helped to design the method."""
    seeds = {10 + place: seed for place, seed in enumerate(range(25, 35))}
    moved = [replace(row, seed=seeds[row.seed]) for row in rows]
    studies = {name: Study.of(name, moved) for name in (*labels.STUDIES, *labels.EXISTING)}
    chosen = [Study.of("", (row for row in moved if row.seed in range(27, 30)))] * 2
    chosen.append(Study.of("", (row for row in moved if row.seed in range(30, 35))))
    gain = answers.over_all_seeds(chosen, labels.LABELS, FADING)
    assert gain is not None
    said = re.search(r"- eleven earlier seeds: (.*)\.\n", labels.page(studies))
    assert said
    assert said[1] == answers.said(gain, answers.word(gain))
    assert gain.seeds == 11
    without = studies | {"cifar10-resnet20-fit-costs": Study.of("", (r for r in moved if r.method != labels.LABELS))}
    assert "- eleven earlier seeds: not yet run.\n" in labels.page(without)

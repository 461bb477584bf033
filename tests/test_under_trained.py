"""Studies f1 to f4 and g1 to g4: what the page of answers says of them, from another study's rows under other names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools.experiment import report as reports
from lottery_pools.reporting.words import interval
from lottery_pools.runs.rows import Row
from studies import answers, under_trained
from studies.answers import Study
from studies.plan import FADING
from studies.under_trained import EXISTING, LABELS, STUDIES, WITH_LABELS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Rows of study a, in which the trimmed soup stands for the fading soup with labels."""
    wanted = {"ticket", "recalibrated", "fading-soup", "trimmed-soup"}
    of_study = [row for row in reports.read(ROOT / "docs/results/mnist1d")[1] if row.method in wanted]
    return [replace(row, method={"trimmed-soup": LABELS}.get(row.method, row.method)) for row in of_study]


def test_nothing_is_said_before_a_study_was_run(rows: list[Row]) -> None:
    studies = dict.fromkeys((*STUDIES, *EXISTING))
    assert under_trained.page(studies) == ""
    assert under_trained.page(studies | {name: Study.of(name, rows) for name in EXISTING}) == ""


def test_the_planned_tests_are_corrected_for_their_number(rows: list[Row]) -> None:
    studies = dict.fromkeys((*STUDIES, *EXISTING))
    first = Study.of(WITH_LABELS.short[0], rows)
    gain = answers.gain_over(first, LABELS, FADING)
    assert gain is not None
    waiting = under_trained.page({**studies, WITH_LABELS.short[0]: first})
    assert (
        f"- `{WITH_LABELS.short[0]}`, over Fading soup (ours): no, equivalent: {interval(gain)}, n = 10; p = 0.003.\n"
        in waiting
    )
    assert f"- `{WITH_LABELS.short[1]}`, over Fading soup (ours): not yet run.\n" in waiting
    assert "- eleven earlier seeds, over Fading soup (ours): not yet run.\n" in waiting
    both = under_trained.page({**studies, **{name: Study.of(name, rows) for name in WITH_LABELS.short}})
    assert both.count(f"no, equivalent: {interval(gain)}, n = 10; p = 0.003.\n") == 2


def test_of_earlier_studies_only_the_named_seeds_count(rows: list[Row]) -> None:
    """Seeds 25 and 26 helped to design the method."""
    seeds = {10 + place: seed for place, seed in enumerate(range(25, 35))}
    moved = [replace(row, seed=seeds[row.seed]) for row in rows]
    studies = {name: Study.of(name, moved) for name in (*STUDIES, *EXISTING)}
    chosen = [Study.of("", (row for row in moved if row.seed in range(27, 30)))] * 2
    chosen.append(Study.of("", (row for row in moved if row.seed in range(30, 35))))
    gain = answers.over_all_seeds(chosen, LABELS, FADING)
    assert gain is not None
    said = re.search(r"- eleven earlier seeds, over Fading soup \(ours\): (.*)\.\n", under_trained.page(studies))
    assert said
    assert said[1] == answers.said(gain, answers.word(gain))
    assert gain.seeds == 11
    without = studies | {"cifar10-resnet20-fit-costs": Study.of("", (r for r in moved if r.method != LABELS))}
    assert "- eleven earlier seeds, over Fading soup (ours): not yet run.\n" in under_trained.page(without)

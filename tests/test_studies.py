"""The studies: their settings are read, and their answers follow from committed rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools import reports, settings
from lottery_pools.runs.results import Gain
from studies import questions, small

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_settings_of_studies_are_as_the_issue_wants(path: Path) -> None:
    found = settings.read_toml(path)
    assert len(found.seeds) >= 3
    schedule = found.pruning.schedule()
    assert len(schedule) >= 9
    assert schedule[-1] <= 0.06
    assert found.name == path.stem


def make_gain(low: float, high: float, level: int | None = None) -> Gain:
    density = None if level is None else 0.5**level
    return Gain("average", "recalibrated", level, density, "none", (low + high) / 2, low, high, 3, 1000)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.4, "yes"),
        (0.1, 0.2, "partly (by less than 0.25 points)"),
        (-0.1, 0.2, "no"),
        (-0.4, -0.1, "no"),
        (-0.1, 0.4, "not shown"),
    ],
)
def test_an_answer_is_what_the_interval_allows(low: float, high: float, said: str) -> None:
    assert questions.answer(make_gain(low, high)) == said


def test_a_gain_at_some_levels_is_a_part_of_an_answer() -> None:
    levels = [make_gain(0.1, 0.5, 1), make_gain(-0.1, 0.5, 2), make_gain(0.2, 0.5, 3)]
    assert questions.answer(make_gain(-0.1, 0.4), levels) == "partly (at 50.0 %, 12.5 %)"
    assert questions.answer(make_gain(-0.1, 0.4), levels[:2]) == "not shown"
    assert questions.answer(make_gain(-0.1, 0.2), levels) == "no"


def test_answers_follow_from_rows() -> None:
    """The demo's, for every question that its rows can answer."""
    text = questions.answers([ROOT / "docs/results/demo-all"])
    assert "| Does averaging neighbours help? | yes: +0.53 [+0.02, +1.15], n = 4 | 10,000 |" in text
    assert "| Is the pooled dense network better than the dense one? Interpolation | yes: +1.67" in text


def test_what_was_not_tried_at_all_levels_has_no_answer() -> None:
    _, rows, _ = reports.read(ROOT / "docs/results/demo-all")
    clean = [row for row in rows if not row.severity and row.method in ("recalibrated", "ticket", "average", "longer")]
    found = questions.questions([row for row in clean if row.level == 0 or row.method in ("recalibrated", "ticket")])
    assert not any("averaging" in text for text in found)
    found = questions.questions(
        [replace(row, method="interpolation") if row.method == "average" else row for row in clean if row.level < 2]
    )
    assert any(text.startswith("Does interpolation, the paper's rule, help") for text in found)
    few = [row for row in clean if row.level == 0 or row.method == "ticket"]
    few = [replace(row, method="interpolation") if row.method == "average" else row for row in few]
    said, _ = questions.questions(few)["Is it more than training for longer at equal cost? Interpolation"]
    assert "(at 100 %)" in said


def test_committed_answers_follow_from_committed_rows() -> None:
    results = ROOT / "docs/results"
    names = ("cifar10-resnet", "cifar100-resnet", "cifar10-vgg", "cifar10-longer")
    text = questions.answers(results / name for name in names)
    assert text == (results / "questions.md").read_text(encoding="utf-8")


def test_a_run_beside_itself_is_alike() -> None:
    folder = ROOT / "docs/results/demo-all"
    lines = small.lines(folder, folder)
    assert len(lines) == 2 * 9 * 4
    assert {line[-1] for line in lines} == {"yes"}

"""The studies: their settings are read, and their answers follow from committed rows."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_pools.config import toml
from lottery_pools.experiment import report as reports
from lottery_pools.runs.rows import Gain
from studies import questions, small

ROOT = Path(__file__).parents[1]


FIRST = ("cifar10-longer", "cifar10-resnet", "cifar10-vgg", "cifar100-resnet")
"""The studies that were made before there was a plan."""


@pytest.mark.parametrize("name", FIRST)
def test_settings_of_the_first_studies(name: str) -> None:
    path = ROOT / "studies" / f"{name}.toml"
    found = toml.read_toml(path)
    assert len(found.seeds) >= 3
    schedule = found.pruning.schedule()
    assert len(schedule) >= 9
    assert schedule[-1] <= 0.06
    assert found.name == path.stem


@pytest.mark.parametrize(
    "path",
    sorted(path for path in (ROOT / "studies").rglob("*.toml") if path.stem not in FIRST),
    ids=lambda path: path.stem,
)
def test_settings_of_planned_studies_are_as_the_plan_says(path: Path) -> None:
    config = toml.read_toml(path)
    plan = (ROOT / "studies" / "PLAN.md").read_text(encoding="utf-8")
    assert f"`{path.relative_to(ROOT / 'studies').as_posix()}`" in plan
    assert config.name == path.stem
    assert min(config.seeds) >= 10
    assert config.data.train is not None
    assert 9 * config.data.validation <= config.data.train, "at most a tenth of the labelled samples is held out"
    assert config.data.draw == "per-seed"
    assert config.data.test_part == ("all" if config.data.name == "mnist1d" else "final")
    assert config.training.keep == "last"
    assert len(config.pruning.schedule()) in (9, 19)


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
    _, rows, _ = reports.read(ROOT / "docs/results/demo-all")
    few = [
        row for row in rows if not row.severity and row.method in ("ticket", "recalibrated", "interpolation", "average")
    ]
    found = questions.questions(few)
    assert found["Does averaging neighbours help?"] == ("yes: +0.53 [+0.02, +1.15], n = 4", "10,000")
    assert found["Is the pooled dense network better than the dense one? Interpolation"][0].startswith("yes: +1.67")
    assert found["At which densities does a gain show by itself? Interpolation"][0].startswith("100 %")
    assert not any("default" in text or "corruption" in text for text in found)


def test_what_was_not_tried_at_all_levels_has_no_answer() -> None:
    _, rows, _ = reports.read(ROOT / "docs/results/demo-all")
    clean = [row for row in rows if not row.severity and row.method in ("recalibrated", "ticket", "average", "swa")]
    few = [row for row in clean if row.level < 3]
    assert any("averaging" in text for text in questions.questions(few))
    found = questions.questions([row for row in few if row.level == 0 or row.method != "average"])
    assert found
    assert not any("averaging" in text for text in found)
    # a study of one target answers nothing here
    assert questions.questions([row for row in few if row.level == 0 or row.method in ("recalibrated", "ticket")]) == {}


def test_trained_baselines_are_compared_where_they_cost_as_much() -> None:
    _, rows, _ = reports.read(ROOT / "docs/results/demo-all")
    clean = [row for row in rows if not row.severity and row.method in ("ticket", "interpolation", "longer", "sms")]
    found = questions.at_equal_cost(clean)
    # two copies a level cost less than the pool but at the end; training longer costs as much everywhere
    assert found["Does the paper's rule beat two short rewound copies?"][0].startswith(
        "yes (at 13.4 %, 10.0 %): +6.73 ["
    )
    assert "(at 100 %, 75.0 %, " in found["Does the paper's rule beat training one network for longer?"][0]
    assert not any("corruption" in text or "default" in text for text in found)
    cheap = [replace(row, train_images=1) if row.method == "sms" else row for row in clean]
    assert not any("copies" in text for text in questions.at_equal_cost(cheap))


def test_networks_fit_their_training_data() -> None:
    """As the studies claim: at least 90 % dense and 95 % by level 2, every seed of which rows are committed."""
    lines = list(csv.DictReader((ROOT / "docs/results/fit.csv").read_text(encoding="utf-8").splitlines()))
    fit = {
        (line["study"], int(line["seed"]), int(line["level"])): int(line["correct"]) / int(line["n"]) for line in lines
    }
    assert fit.keys() == {
        (name, row.seed, row.level)
        for name in ("cifar10-resnet", "cifar100-resnet", "cifar10-vgg")
        for row in reports.read(ROOT / "docs/results" / name)[1]
    }
    for (_, _, level), share in fit.items():
        assert share >= {0: 0.90, 2: 0.95}.get(level, 0)


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

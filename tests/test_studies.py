"""The studies: their settings are read, and their answers follow from committed rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Container
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from statistics import fmean

import pytest

from lottery_pools.config import toml
from lottery_pools.evaluation.intervals import student
from lottery_pools.experiment import report as reports
from lottery_pools.reporting.words import interval
from lottery_pools.runs.rows import Gain
from studies import answers, plan, questions, small
from studies.answers import Study

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
    words = (ROOT / "studies" / "PLAN.md").read_text(encoding="utf-8")
    assert f"`{path.relative_to(ROOT / 'studies').as_posix()}`" in words
    assert config.name == path.stem
    assert min(config.seeds) >= 10
    assert config.data.train is not None
    assert 9 * config.data.validation <= config.data.train, "at most a tenth of the labelled samples is held out"
    assert config.data.draw == "per-seed"
    assert config.data.test_part == ("all" if config.data.name == "mnist1d" else "final")
    assert config.training.keep == "last"
    assert len(config.pruning.schedule()) in (9, 19)


def make_gain(gain: float, error: float, level: int | None = None, seeds: int = 5) -> Gain:
    half = student(seeds - 1) * error
    density = None if level is None else 0.5**level
    ends = gain - half, gain + half
    return Gain("average", "recalibrated", level, density, "none", gain, *ends, seeds, 1000, error, 9, 2)


@pytest.mark.parametrize(
    ("gain", "error", "said"),
    [
        (0.5, 0.1, "yes"),
        (0.2, 0.02, "yes, equivalent"),
        (-0.5, 0.1, "no"),
        (-0.2, 0.02, "no, equivalent"),
        (0.1, 0.05, "equivalent"),
        (0.1, 0.5, "not shown"),
        (0.5, 0.25, "not shown"),
    ],
)
def test_a_word_is_what_the_plan_says(gain: float, error: float, said: str) -> None:
    assert answers.word(make_gain(gain, error)) == said


def test_primary_questions_are_corrected_for_their_number() -> None:
    """Student's p of t = 3 with 4 degrees of freedom is 0.04: enough for one study, not for three."""
    barely = make_gain(0.9, 0.3)
    assert answers.word(barely) == "yes"
    assert answers.corrected([barely]) == ["yes"]
    assert answers.corrected([barely, None, make_gain(0.1, 0.5), make_gain(5, 0.1)]) == [
        *("not shown", "", "not shown", "yes")
    ]


def test_levels_that_gain_and_lose_are_those_that_holms_method_leaves() -> None:
    family = [
        make_gain(1, 0.01, 0),
        make_gain(1, 0.3, 1),
        make_gain(-1, 0.01, 2),
        make_gain(-0.1, 0.3, 3),
        make_gain(0, 1),
    ]
    assert answers.gaining(family) == "100 %"
    assert answers.losses(family) == "2 of 9 cells; means below zero: 25.0 %, 12.5 %; shown: 25.0 %"
    assert answers.gaining(family[1:2]) == "50.0 %"


def demo(*methods: str) -> Study:
    _, rows, _ = reports.read(ROOT / "docs/results/demo-all")
    return Study.of("demo-all", [row for row in rows if not row.severity and row.method in ("ticket", *methods)])


def ask(text: str, study: Study) -> str:
    return next(question for question in plan.QUESTIONS if question.text.startswith(text)).answer(study)


def test_answers_follow_from_rows() -> None:
    study = demo("recalibrated", "interpolation")
    answer = ask("Does the paper's rule help?", study)
    gain = answers.over_all_levels(study.compared("interpolation", "recalibrated"))
    assert gain is not None
    assert answer == f"not shown: {interval(gain)}, n = 4"
    assert gain.gain == pytest.approx(0.55, abs=0.01)
    assert ask("Where does the paper's rule lose?", study).startswith("9 of 36 cells")
    assert ask("What would one have claimed on the held-out images? Interpolation", study).startswith("+1.17")
    assert ask("Does the trimmed soup help?", study) == "", "it has no rows here"


def test_what_was_not_tried_at_all_levels_has_no_answer() -> None:
    study = demo("recalibrated", "interpolation")
    few = Study.of("few", [row for row in study.rows if row.method != "interpolation" or row.level == 0])
    assert ask("Does the paper's rule help?", few) == ""


def test_trained_baselines_are_compared_where_they_cost_as_much() -> None:
    study = demo("trimmed-soup", "longer", "sms")
    # two copies a level cost less than the pool but at the end; training longer costs as much everywhere
    gain = answers.at_equal_cost(study, "sms", "trimmed-soup")
    assert gain is not None
    assert gain.cells == 2 * 4
    longer = answers.at_equal_cost(study, "longer", "trimmed-soup")
    assert longer is not None
    assert longer.cells == 9 * 4
    cheap = Study.of("", [replace(row, train_images=1) if row.method == "sms" else row for row in study.rows])
    assert answers.at_equal_cost(cheap, "sms", "trimmed-soup") is None


def test_all_seeds_of_several_studies_count_each_once() -> None:
    study = demo("recalibrated", "interpolation")
    alone = answers.over_all_levels(study.compared("interpolation", "recalibrated"))
    assert alone is not None
    twice = answers.over_all_seeds([study, study], "interpolation", "recalibrated")
    assert twice is not None
    assert (twice.seeds, twice.cells, twice.losses) == (8, 72, 2 * alone.losses)
    assert twice.gain == pytest.approx(alone.gain, abs=1e-3)
    assert twice.high - twice.low < alone.high - alone.low
    assert answers.over_all_seeds([study], "best", "recalibrated") is None


def test_studies_without_rows_are_not_yet_run(tmp_path: Path) -> None:
    studies = questions.read(questions.PLANNED, tmp_path)
    table = questions.table("t", studies, questions.PRIMARY, questions.NOT_RUN)
    retired = {question.text for question in plan.QUESTIONS if question.retired}
    assert len(retired) >= 3
    for line in table.rows:
        assert set(line[2:]) == {"–" if line[1] in retired else questions.NOT_RUN}
    assert {int(line[0]) for line in table.rows} == set(range(1, 16))
    assert questions.table("t", studies, (), "").rows == ()


def test_every_question_of_the_plan_is_asked() -> None:
    words = (ROOT / "studies" / "PLAN.md").read_text(encoding="utf-8")
    numbers = {int(line.split(".")[0]) for line in words.splitlines() if line.split(".")[0].isdecimal()}
    assert numbers == {question.number for question in plan.QUESTIONS} | {16, 17}


FITTING = {
    "cifar10-resnet20-fit": 0.95,
    "cifar10-resnet20-19-levels": 0.80,
    "cifar100-vgg-small": 0.95,
    "cifar100-vgg-small-gpu": 0.95,
}
"""Planned studies whose fit is known: the least share of training images that any network of them fits."""
LOST = ("cifar10-resnet20-19-levels", 22)
"""A study and a seed whose tickets were lost before their fit was measured."""


def test_networks_fit_their_training_data() -> None:
    """As the studies claim: the first ones 90 % dense and 95 % by level 2 at least."""
    lines = list(csv.DictReader((ROOT / "docs/results/fit.csv").read_text(encoding="utf-8").splitlines()))
    fit = {
        (line["study"], int(line["seed"]), int(line["level"])): int(line["correct"]) / int(line["n"]) for line in lines
    }
    assert fit.keys() == {
        (name, row.seed, row.level)
        for name in ("cifar10-resnet", "cifar100-resnet", "cifar10-vgg", *FITTING)
        for row in reports.read(ROOT / "docs/results" / name)[1]
        if (name, row.seed) != LOST
    }
    for (name, _, level), share in fit.items():
        assert share >= FITTING.get(name, {0: 0.90, 2: 0.95}.get(level, 0))


def test_committed_answers_follow_from_committed_rows() -> None:
    assert questions.page() == (ROOT / "docs/results/questions.md").read_text(encoding="utf-8")


COMPARED = {
    "the paper's rule": ("interpolation", "recalibrated"),
    "trimmed soup": ("trimmed-soup", "recalibrated"),
    "our default": ("consensus-soup", "recalibrated"),
    "consensus soup, our default": ("consensus-soup", "recalibrated"),
    "our default over the rule": ("consensus-soup", "interpolation"),
    "the plain mean of all sparser tickets": ("sparser-soup", "recalibrated"),
    "the tenth trains too": ("held-out-training", "recalibrated"),
    "tuned on the tenth": ("tuned-ticket", "recalibrated"),
}
"""Columns of tables that are written by hand: which difference they show."""
SECOND_RUN = " (second run)"
"""Ends a cell that is of the study's second run, on a GPU."""


def read_study(name: str, seeds: Container[int] = ()) -> Study:
    """A committed study: some seeds of it, or all where none are named."""
    _, rows, _ = reports.read(ROOT / "docs/results" / name)
    return Study.of(name, [row for row in rows if not seeds or row.seed in seeds])


@pytest.mark.parametrize("page", ["README.md", "docs/results/README.md"])
def test_tables_of_gains_follow_from_committed_rows(page: str) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    header = next(place for place, line in enumerate(lines) if "| the paper's rule |" in line)
    columns = [cell.strip() for cell in lines[header].split("|")[1:-1]]
    compared = 0
    for line in takewhile(lambda line: line.startswith("|"), lines[header + 2 :]):
        cells = dict(zip(columns, (cell.strip(" *") for cell in line.split("|")[1:-1]), strict=True))
        name = line.partition("/report.md")[0].rpartition("(")[2].removeprefix("docs/results/")
        seeds = {int(seed) for seed in re.findall(r"\d+", cells["seeds"])} if "seeds" in cells else set()
        if "to" in cells.get("seeds", ""):
            seeds = set(range(min(seeds), max(seeds) + 1))
        study = read_study(name, seeds)
        if "the ticket's accuracy" in cells:
            tickets = [row for row in study.rows if row.method == "recalibrated" and row.split == "test"]
            accuracies = [row.accuracy for row in tickets if not row.severity]
            assert cells["the ticket's accuracy"] == f"{100 * fmean(accuracies):.2f} %"
        for column in COMPARED.keys() & cells.keys():
            if "[" in cells[column]:
                of_study = read_study(f"{name}-gpu") if cells[column].endswith(SECOND_RUN) else study
                gain = answers.over_all_levels(of_study.compared(*COMPARED[column]))
                assert gain is not None
                cell = cells[column].removesuffix(SECOND_RUN)
                assert cell == interval(gain).replace("\N{MINUS SIGN}", "-"), (name, column)
                compared += 1
    assert compared >= 6


def test_a_run_beside_itself_is_alike() -> None:
    folder = ROOT / "docs/results/demo-all"
    lines = small.lines(folder, folder)
    assert len(lines) == 2 * 9 * 4
    assert {line[-1] for line in lines} == {"yes"}

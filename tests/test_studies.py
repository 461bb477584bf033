"""The studies: their settings are read, and their answers follow from committed rows."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice, permutations, takewhile
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from docs.figures import draw
from lottery_pools.config import toml
from lottery_pools.evaluation.intervals import is_equivalent, student
from lottery_pools.experiment import report as reports
from lottery_pools.reporting.words import interval
from lottery_pools.runs.rows import Gain, Row
from studies import answers, plan, questions, small, under_trained
from studies.answers import Study

ROOT = Path(__file__).parents[1]
Interval = tuple[float, float, float]
"""A difference, and the ends of its interval."""


FIRST = ("cifar10-longer", "cifar10-resnet", "cifar10-vgg", "cifar100-resnet")
"""The studies that were made before there was a plan."""


@pytest.mark.parametrize("name", FIRST)
def test_settings_of_the_first_studies(name: str) -> None:
    path = ROOT / "studies" / f"{name}.toml"
    config = toml.read_toml(path)
    assert len(config.seeds) >= 3
    schedule = config.pruning.schedule()
    assert len(schedule) >= 9
    assert schedule[-1] <= 0.06
    assert config.name == path.stem


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


def test_the_default_is_held_against_the_rule_in_each_confirming_study_that_was_run() -> None:
    study = read_study("mnist1d")
    gain = answers.gain_over(study, plan.FADING, plan.RULE)
    assert gain is not None
    assert questions.confirmed({"one": None, "other": None}, []) == ""
    said = questions.confirmed({"one": None, "other": study}, [])
    assert "The planned tests, not yet corrected for their number, which is 2: `one` is not run yet.\n" in said
    assert f"- `other`: Fading soup (ours) over Interpolation: yes: {interval(gain)}, n = 10; p = 0.000.\n" in said
    words = "Fading soup (ours) over Interpolation by agreement"
    assert re.search(rf"^- {re.escape(words)}: .*, n = 10\.$", said, re.M)
    twice = questions.confirmed({"one": study, "other": study}, [study])
    assert "corrected for their number by Holm's method" in twice
    assert re.search(rf"^- {re.escape(words)}: .*, n = 30\.$", twice, re.M)


ASKED = (
    "1 Does the trimmed soup help?",
    "2 Does the trimmed soup beat the paper's rule?",
    "3 Does the paper's rule help?",
    "4 Where does the trimmed soup lose?",
    "4 Where does the paper's rule lose?",
    "5 Does `best` beat the trimmed soup?",
    "6 Is the paper's rule better by likelihood?",
    "6 Is the trimmed soup better than the paper's rule by likelihood?",
    "6 Is the paper's rule better by agreement?",
    "6 Is the consensus soup better than the paper's rule by agreement?",
    "6 Is the fading soup better than the paper's rule by agreement?",
    "7 Is the trimmed soup more than taking over a better, sparser ticket?",
    "7 Is the paper's rule more than taking over a better, sparser ticket?",
    "8 Is simple averaging better than the trimmed soup? Average",
    "8 Is simple averaging better than the trimmed soup? Uniform soup",
    *(f"9 Is another method better than the trimmed soup? {name}" for name in ("Model Stock", "Consensus soup (ours)")),
    *(f"9 Is another method better than the consensus soup? {name}" for name in ("Average", "Fading soup (ours)")),
    "9 Does the consensus soup help?",
    "9 Does the consensus soup beat the paper's rule?",
    "9 Does the fading soup beat the paper's rule?",
    "9 Is the fading soup better than the uniform soup of all tickets?",
    "9 Where does the consensus soup lose?",
    "10 At which densities does the consensus soup gain?",
    "10 At which densities does the paper's rule gain?",
    "11 Are the held-out labels worth more otherwise? Trained on held-out too (control)",
    "11 Are the held-out labels worth more otherwise? Ticket tuned on held-out (control)",
    "11 Are the held-out labels worth more otherwise? Trimmed soup tuned on held-out (control)",
    *(
        f"12 Does it gain more at equal training cost? {name}"
        for name in ("Trained for longer", "Sparse Model Soups (3 copies)", "SWAMP (2 particles)", "RigL (moving mask)")
    ),
    *(
        f"12 Does it gain more than the fading soup at equal cost? {name}"
        for name in ("Trained for longer", "RigL (moving mask)")
    ),
    "12 Does SWAMP gain more than the fading soup at four times the cost?",
    "12 Do such soups beat the paper's rule on the study's own tickets?",
    "13 What does the search cost, beside the paper's? Trimmed soup (ours)",
    "13 What does the search cost, beside the paper's? Consensus soup (ours)",
    "14 What would one have claimed on the held-out images? Trimmed soup (ours)",
    "14 What would one have claimed on the held-out images? Interpolation",
    "15 Does the trimmed soup hold under corruption?",
    "15 Does the fading soup hold under corruption?",
    "15 Does the paper's rule hold under corruption?",
    "15 Does the fading soup beat the paper's rule under corruption?",
)
"""What the plan asks, question by question, with what was added to it under its changes."""


def test_every_question_of_the_plan_is_asked() -> None:
    assert {f"{question.number} {question.text}" for question in plan.QUESTIONS} >= set(ASKED)
    words = (ROOT / "studies" / "PLAN.md").read_text(encoding="utf-8")
    numbers = {int(line.split(".")[0]) for line in words.splitlines() if line.split(".")[0].isdecimal()}
    assert numbers == {question.number for question in plan.QUESTIONS} | {16, 17}


FITTING = {
    "cifar10-resnet20-fit": 0.95,
    "cifar10-resnet20-19-levels": 0.80,
    "cifar100-vgg-small": 0.95,
    "cifar100-vgg-small-gpu": 0.95,
    "cifar100-vgg-small-confirm": 0.95,
    "cifar10-resnet20-fit-confirm": 0.95,
    "cifar10-resnet20-fit-costs": 0.95,
    "cifar100-vgg-small-costs": 0.95,
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
    assert all(share >= 0.95 for (name, _, level), share in fit.items() if name in FITTING and not level)
    for (name, _, level), share in fit.items():
        assert share >= FITTING.get(name, {0: 0.90, 2: 0.95}.get(level, 0))


def test_committed_answers_follow_from_committed_rows() -> None:
    assert questions.page() == (ROOT / "docs/results/questions.md").read_text(encoding="utf-8")


COMPARED = {
    "the paper's rule": ("interpolation", "recalibrated"),
    "trimmed soup": ("trimmed-soup", "recalibrated"),
    "our fading soup": ("fading-soup", "recalibrated"),
    "consensus soup": ("consensus-soup", "recalibrated"),
    "consensus soup over the rule": ("consensus-soup", "interpolation"),
    "fading soup over the consensus soup": ("fading-soup", "consensus-soup"),
    "fading soup over the uniform soup": ("fading-soup", "uniform-soup"),
    "control: trained on the tenth too": ("held-out-training", "recalibrated"),
    "control: tuned on the tenth": ("tuned-ticket", "recalibrated"),
    "our fading soup over the paper's rule": ("fading-soup", "interpolation"),
    "fading soup with labels": ("fading-soup-labels", "recalibrated"),
    "with labels over without": ("fading-soup-labels", "fading-soup"),
    "with labels over the trimmed soup": ("fading-soup-labels", "trimmed-soup"),
    "with labels over the paper's rule": ("fading-soup-labels", "interpolation"),
    "our balanced soup": ("balanced-soup", "recalibrated"),
    "balanced soup over the fading soup": ("balanced-soup", "fading-soup"),
    "balanced soup over the trimmed soup": ("balanced-soup", "trimmed-soup"),
    "balanced soup over the paper's rule": ("balanced-soup", "interpolation"),
    "mean of sparser tickets": ("sparser-soup", "recalibrated"),
    "mean of all tickets": ("uniform-soup", "recalibrated"),
    "our fading soup over the plain mean": ("fading-soup", "sparser-soup"),
    "the plain mean of all sparser tickets": ("sparser-soup", "recalibrated"),
    "consensus soup over it": ("consensus-soup", "sparser-soup"),
    "trimmed soup over it": ("trimmed-soup", "sparser-soup"),
    "paper's rule over it": ("interpolation", "sparser-soup"),
    "training on all samples, over the ticket": ("held-out-training", "recalibrated"),
    "the same over our consensus soup": ("held-out-training", "consensus-soup"),
    "plain mean of these tickets, over them": ("held-out-training+sparser-soup", "held-out-training"),
    "that mean over our consensus soup": ("held-out-training+sparser-soup", "consensus-soup"),
    "that mean over the paper's rule": ("held-out-training+sparser-soup", "interpolation"),
}
"""Columns of tables that are written by hand: which difference they show."""
SHORT = {
    "MNIST-1D": "mnist1d",
    "CIFAR-10": "cifar10-resnet20-fit",
    "CIFAR-100": "cifar100-vgg-small",
    "CIFAR-100 (on a GPU)": "cifar100-vgg-small-gpu",
    "CIFAR-10, 19 levels": "cifar10-resnet20-19-levels",
}
"""Lines of tables without a link: the study that they are of."""
OTHER_RUN, EARLIER = " (other run)", " (consensus soup)"
"""End a cell that is of another run of these settings; of the earlier default, where today's is not run."""
TRAINED, TUNED = "control: trained on the tenth too", "control: tuned on the tenth"
OTHER_RUNS = {
    ("cifar10-resnet20-fit-confirm", TRAINED): "cifar10-resnet20-fit-costs",
    ("cifar10-resnet20-fit-confirm", TUNED): "cifar10-resnet20-fit",
    ("cifar100-vgg-small-confirm", TRAINED): "cifar100-vgg-small-costs",
}
"""The runs that those cells are of, by study and column."""


def has_rows(name: str) -> bool:
    return (ROOT / "docs/results" / name / "config.toml").exists()


OF_THE_PLAN = (
    *(*questions.PLANNED, *questions.FRESH, *questions.CONFIRMING, *questions.REPEATING),
    *under_trained.STUDIES,
)
WITH_ROWS = [name for name in OF_THE_PLAN if has_rows(name)]
"""The studies of the plan that have been run."""


def read_study(name: str, seeds: Container[int] = ()) -> Study:
    """A committed study: some seeds of it, or all where none are named."""
    return Study.of(name, [row for row in rows_of(name) if not seeds or row.seed in seeds])


@cache
def rows_of(name: str) -> Sequence[Row]:
    return reports.read(ROOT / "docs/results" / name)[1]


def tables(page: str) -> Iterator[list[dict[str, str]]]:
    """The tables of a page in Markdown: a list of lines, each a dictionary of cells by column."""
    lines = iter((ROOT / page).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("|"):
            columns = cells_of(line)
            body = takewhile(lambda line: line.startswith("|"), lines)
            yield [dict(zip(columns, cells_of(line), strict=True)) for line in islice(body, 1, None)]


def cells_of(line: str) -> list[str]:
    return [cell.strip(" *") for cell in line.strip().strip("|").split("|")]


def study_of_line(cells: dict[str, str]) -> Study:
    """The study that a line of a table links to or names, with the seeds that its column `seeds` names."""
    first = next(iter(cells.values()))
    name = SHORT.get(first) or first.partition("/report.md")[0].rpartition("(")[2].removeprefix("docs/results/")
    seeds = {int(seed) for seed in re.findall(r"\d+", cells.get("seeds", ""))}
    if "to" in cells.get("seeds", ""):
        seeds = set(range(min(seeds), max(seeds) + 1))
    return read_study(name, seeds)


@pytest.mark.parametrize(
    ("page", "count"), [("README.md", 23), ("docs/results/README.md", 147), ("docs/results/first-studies.md", 6)]
)
def test_tables_of_gains_follow_from_committed_rows(page: str, count: int) -> None:
    compared = 0
    for cells in (line for table in tables(page) for line in table if len(COMPARED.keys() & line.keys()) > 1):
        study = study_of_line(cells)
        if page == "README.md":
            assert study.name in (*questions.PLANNED, *questions.CONFIRMING), (
                "README has studies alone whose seeds chose nothing"
            )
        if "the ticket's accuracy" in cells:
            tickets = [row for row in study.rows if row.method == "recalibrated" and row.split == "test"]
            accuracies = [row.accuracy for row in tickets if not row.severity]
            assert cells["the ticket's accuracy"] == f"{100 * fmean(accuracies):.2f} %"
        for column in (column for column in COMPARED.keys() & cells.keys() if "[" in cells[column]):
            is_other = cells[column].endswith(OTHER_RUN)
            of_study = read_study(OTHER_RUNS[study.name, column]) if is_other else study
            method, against = COMPARED[column]
            method = "consensus-soup" if cells[column].endswith(EARLIER) else method
            gain = answers.over_all_levels(of_study.compared(method, against))
            assert gain is not None
            cell = cells[column].removesuffix(OTHER_RUN).removesuffix(EARLIER).removesuffix(", equivalent")
            assert is_equivalent(gain) or not cells[column].endswith(", equivalent")
            assert cell == interval(gain).replace("\N{MINUS SIGN}", "-"), (study.name, column)
            compared += 1
    assert compared == count


@pytest.mark.parametrize("name", WITH_ROWS)
def test_rows_have_the_seeds_of_the_settings(name: str) -> None:
    settings = next((ROOT / "studies").rglob(f"{name.removesuffix('-gpu')}.toml"))
    assert {row.seed for row in read_study(name).rows} == set(toml.read_toml(settings).seeds)


def test_figures_of_the_readme_show_planned_studies() -> None:
    assert set(draw.STUDIES) <= {*questions.PLANNED, *questions.CONFIRMING}


def differences(study: Study) -> Iterator[Interval]:
    """All differences between two methods over the levels that both have, with Student's intervals over the seeds.

    On clean test samples; then on corrupted ones, if it was measured there.
    """
    for corrupted in (False, True):
        rows = [row for row in study.rows if row.split == "test" and bool(row.severity) == corrupted]
        seeds = sorted({row.seed for row in rows})
        accuracies: dict[str, dict[tuple[int, str, int], dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        for row in rows:
            accuracies[row.method][row.level, row.corruption, row.severity][row.seed] = 100 * row.accuracy
        for first, second in permutations(accuracies.values(), 2):
            shared = [(first[cell], second[cell]) for cell in first.keys() & second.keys()]
            if not shared or any(left.keys() != set(seeds) or right.keys() != set(seeds) for left, right in shared):
                continue
            of_seeds = np.array([fmean(left[seed] - right[seed] for left, right in shared) for seed in seeds])
            mean, spread = float(of_seeds.mean()), float(of_seeds.std(ddof=1))
            width = student(len(seeds) - 1) * spread / math.sqrt(len(seeds))
            yield mean, mean - width, mean + width


OTHERWISE: dict[Interval, str] = {
    (2.17, 1.22, 3.13): "cifar10-longer, seeds 1 and 2",
    (0.06, -0.18, 0.30): "the fading soup on two seeds of the study of 19 levels, whose rows are not kept",
}
"""Differences on these pages that are neither of a planned study nor in questions.md."""


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (
            "README.md",
            "forwards {mnist_fading:.0f} times as many images on MNIST-1D, "
            "{resnet_fading:.0f} on CIFAR-10 and {vgg_fading:.0f} on CIFAR-100",
        ),
        ("README.md", "our fading soup forwards {resnet:,.0f} images for one target"),
        ("README.md", "and our balanced soup {balanced:,.0f}; the paper's rule {rule:,.0f}."),
        ("docs/results/README.md", "(+0.02 [-0.05, +0.08]), for {mnist_consensus:.0f} times its images"),
        ("docs/results/README.md", "between them), for {resnet_fading:.0f} and {vgg_fading:.0f} times its images"),
    ],
)
def test_costs_of_searches_follow_from_committed_rows(page: str, words: str) -> None:
    def images(name: str, method: str) -> float:
        return fmean(row.search_images for row in rows_of(name) if row.method == method)

    def times(name: str, method: str) -> float:
        return images(name, plan.BY_AGREEMENT) / images(name, method)

    expected = words.format(
        mnist_fading=times("mnist1d", plan.FADING),
        mnist_consensus=times("mnist1d", plan.CONSENSUS),
        resnet_fading=times("cifar10-resnet20-fit-confirm", plan.FADING),
        vgg_fading=times("cifar100-vgg-small-confirm", plan.FADING),
        resnet=round(images("cifar10-resnet20-fit-confirm", plan.FADING), -2),
        balanced=round(images("cifar10-resnet20-fit-confirm", plan.BALANCED), -2),
        rule=round(images("cifar10-resnet20-fit-confirm", plan.RULE), -2),
    )
    assert expected in " ".join((ROOT / page).read_text(encoding="utf-8").split())


def over_samples(study: Study) -> Iterator[Interval]:
    """All differences between two methods of a study of one seed, with intervals over its test samples."""
    methods = sorted({row.method for row in study.rows if study.whole(row.method)})
    for first, second in permutations(methods, 2):
        for corruption in ("none", "all"):
            if gain := answers.over_all_levels(study.compared(first, second), corruption):
                yield gain.gain, gain.low, gain.high


def written_in(page: str) -> set[Interval]:
    """All differences with an interval that a page states, but for those in its examples of commands."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    number = r"([+-]?\d+\.\d\d)"
    return {
        (float(mean), float(low), float(high))
        for mean, low, high in re.findall(rf"{number}\s+\[{number},\s+{number}\]", text.replace("\N{MINUS SIGN}", "-"))
    }


def test_every_difference_of_the_pages_of_results_is_one_of_committed_rows() -> None:
    answered = written_in("docs/results/questions.md")
    known = answered | {(-mean, -high, -low) for mean, low, high in answered} | OTHERWISE.keys()
    for study in map(read_study, WITH_ROWS):
        several = len({row.seed for row in study.rows}) > 1
        for mean, low, high in differences(study) if several else over_samples(study):
            known.add((round(mean, 2), round(low, 2), round(high, 2)))
    for page, least in (("README.md", 30), ("docs/results/README.md", 150)):
        written = written_in(page)
        assert len(written) > least
        assert written - known == set(), page


def test_a_run_beside_itself_is_alike() -> None:
    folder = ROOT / "docs/results/demo-all"
    lines = small.lines(folder, folder)
    assert len(lines) == 2 * 9 * 4
    assert {line[-1] for line in lines} == {"yes"}

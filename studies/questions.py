"""The questions of PLAN.md, answered from committed rows.

    python -m studies.questions > docs/results/questions.md

A study whose rows are not in docs/results yet is answered "not yet run".
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lottery_pools.experiment import report as reports
from lottery_pools.reporting.names import label, pooled
from lottery_pools.reporting.table import Table, markdown
from lottery_pools.reporting.words import interval
from studies import answers, under_trained
from studies.answers import Study
from studies.plan import BY_AGREEMENT, CONSENSUS, FADING, QUESTIONS, RULE, TRIMMED, Question

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PLANNED = (
    "mnist1d",
    "mnist1d-costs",
    "cifar10-resnet20",
    "cifar10-resnet20-fit",
    "cifar100-vgg-small",
    "cifar100-vgg-small-gpu",
    "cifar10-resnet20-19-levels",
    "cifar100-vgg16",
    "cifar100-resnet18",
    "cifar100-vgg16-default",
)
"""The studies of PLAN.md, in its order: a to e3, a2 after a, and the second run of c, on a GPU, after the first."""
PRIMARY = ("mnist1d", "cifar10-resnet20", "cifar10-resnet20-fit", "cifar100-vgg-small")
"""The studies for whose number questions 1 and 2 are corrected."""
FRESH = ("cifar10-resnet20-fit-fresh", "cifar100-vgg-small-fresh")
"""Studies b3 and c2 of PLAN.md, which decide about the fading soup."""
CONFIRMING = ("cifar10-resnet20-fit-confirm", "cifar100-vgg-small-confirm")
"""Studies b4 and c3 of PLAN.md, which hold the default against the paper's rule."""
REPEATING = ("cifar10-resnet20-fit-costs", "cifar100-vgg-small-costs")
"""Studies b5 and c4 of PLAN.md, on a GPU, which have controls and other training beside the default."""
FIRST = ("cifar10-resnet", "cifar100-resnet", "cifar10-vgg", "cifar10-vgg-fresh", "cifar10-longer")
"""The studies that were made before the plan."""
NOT_RUN = "not yet run"

INTRODUCTION = """\
The questions are those of `studies/PLAN.md`, which was committed before the numbers of its studies existed. It also
says what the words mean. In short: differences are percentage points of accuracy on test samples, means over all levels
of a study, with Student's 95 % interval over n seeds, on these test samples.

- **yes**: the interval lies above zero.
- **no**: it lies below zero.
- **equivalent**: two one-sided tests, each at 5 %, show that the difference is smaller than 0.3 points.
- **not shown**: none of these.
- **–**: the study will not answer it: the method is retired, or the study was not measured under corruption.

Questions 1 and 2 of the plan's studies a, b, b2 and c are corrected for their number, and claims about single levels
for the number of levels, by Holm's method. The rows of each study are tables in its report: {reports}.
"""

OVER_THE_RULE = """\
The gain of every method over the paper's rule of the same study, over all levels. Nothing is corrected for the number
of methods. "Learning-rate rewinding: Interpolation" means pools of the tickets of that trained baseline."""

DECIDING = """\
Two of the studies above, on seeds 15 to 19. They decided whether the fading soup becomes the default. The test that was
planned is the first line below the table. All else describes, and nothing is corrected."""

CONFIRMED = """\
Two of the studies above, on seeds 25 to 29, which chose no method and did not decide about the default. The tests that
were planned are below the table, one a study. All else describes, and nothing is corrected."""

REPEATED = """\
Two of the studies above, on seeds 30 to 34, trained on a GPU, with controls and with training at the cost of all
tickets. RigL was trained for the last level alone. Nothing is corrected."""

TOUCHED = """\
These studies came before the plan. They hold out as many images as they train on, or more. Two are touched by
selection: `cifar10-vgg`, whose seeds chose the rule that lets denser tickets join, and `cifar10-resnet` (and
`cifar10-longer`, which has its tickets), whose seed 0 chose constants of the trimmed soup. So their answers are no
confirmation. `cifar100-resnet` and `cifar10-vgg-fresh` have seeds that chose nothing. Nothing is corrected for the
number of studies."""


def read(names: Sequence[str], root: Path = RESULTS) -> dict[str, Study | None]:
    """The studies of these names, from the rows below `root`; None where there are no rows yet."""
    return {
        name: Study.of(name, reports.read(root / name)[1]) if (root / name / "config.toml").exists() else None
        for name in names
    }


def answered(question: Question, studies: dict[str, Study | None], primary: Sequence[str] = ()) -> list[str]:
    """The answers of some studies to one question; empty where a study lacks rows.

    Args:
        question: One of `QUESTIONS`.
        studies: The studies by name.
        primary: The studies that a primary question is corrected for.
    """
    cells = {name: question.answer(study) if study else "" for name, study in studies.items()}
    if question.number in (1, 2):
        against = "recalibrated" if question.number == 1 else RULE
        asked = [study for name in primary if (study := studies[name]) and cells[name]]
        over_all = [answers.over_all_levels(study.compared(TRIMMED, against)) for study in asked]
        for study, gain, word in zip(asked, over_all, answers.corrected(over_all), strict=True):
            if gain:
                cells[study.name] = answers.said(gain, word)
    return list(cells.values())


def table(title: str, studies: dict[str, Study | None], primary: Sequence[str], missing: str) -> Table:
    """A line a question, a column a study; questions that no study answers are left out where `missing` is empty."""
    lines = []
    for question in QUESTIONS:
        cells = answered(question, studies, primary)
        if any(cells) or missing:
            row = [
                cell or _empty(question, study, missing) for cell, study in zip(cells, studies.values(), strict=True)
            ]
            lines.append((str(question.number), question.text, *row))
    return Table(title, ("No.", "Question", *studies), tuple(lines))


def _empty(question: Question, study: Study | None, missing: str) -> str:
    """What stands where a study has no answer."""
    never = question.retired or (question.optional and study is not None)
    return "–" if never or not missing else missing


def over_the_rule(studies: dict[str, Study | None]) -> Table:
    """All that was tried beside the paper's rule: a line a method, a column a study that has the rule."""
    measured = [study for study in studies.values() if study and study.whole(RULE)]
    methods = pooled(row.method for study in measured for row in study.rows)
    lines = []
    for method in methods:
        gains = [answers.gain_over(study, method, RULE) for study in measured]
        if method != RULE and any(gains):
            cells = (f"{answers.word(gain)}: {interval(gain)}" if gain else "not run" for gain in gains)
            lines.append((label(method), *cells))
    columns = ("Method", *(study.name for study in measured))
    return Table("All that was tried, over the paper's rule", columns, tuple(lines), note=OVER_THE_RULE)


def together(studies: Sequence[Study | None], pairs: Sequence[tuple[str, str]]) -> str:
    """Differences between two methods over all seeds of some studies, a line each; none where a study has no rows."""
    measured = [study for study in studies if study]
    lines = []
    for method, against in pairs if len(measured) == len(studies) else ():
        if gain := answers.over_all_seeds(measured, method, against):
            words = f"{label(method)} over {label(against)}"
            lines.append(f"- {words}: {answers.answered(gain)}.\n")
    return "".join(lines)


def confirmed(studies: dict[str, Study | None], others: Sequence[Study | None]) -> str:
    """The studies that hold the default against the paper's rule, as far as they have been run; empty if none has.

    Args:
        studies: These studies by name.
        others: The studies of the plan with the same settings and other seeds.
    """
    run = {name: study for name, study in studies.items() if study}
    if not run:
        return ""
    pairs = (
        *((FADING, RULE), ("uniform-soup", RULE), (BY_AGREEMENT, RULE)),
        *((FADING, BY_AGREEMENT), (FADING, CONSENSUS), (FADING, "uniform-soup")),
    )
    alike = [study for study in (*others, *run.values()) if study]
    return "\n".join(
        (
            markdown(replace(table("Confirming seeds", {**run}, (), ""), note=CONFIRMED)),
            *_planned_tests(studies),
            "Over all seeds of studies with these settings that have both methods:\n",
            together(alike, pairs),
            *(part for name in run for part in _with_settings_of(name.removesuffix("-confirm"), alike, pairs)),
        )
    )


def _planned_tests(studies: dict[str, Study | None]) -> tuple[str, str]:
    """The default over the paper's rule in each study, corrected once all are run, and what stands before it."""
    over_rule = {name: answers.gain_over(study, FADING, RULE) for name, study in studies.items() if study}
    waiting = [f"`{name}`" for name in studies if name not in over_rule]
    words = answers.corrected([*over_rule.values()])
    tests = "".join(
        f"- `{name}`: {label(FADING)} over {label(RULE)}: {answers.tested(gain, answer)}.\n"
        for (name, gain), answer in zip(over_rule.items(), words, strict=True)
        if gain
    )
    if not waiting:
        return "The planned tests, corrected for their number by Holm's method (p is not corrected):\n", tests
    number = f"corrected for their number, which is {len(studies)}"
    return f"The planned tests, not yet {number}: {' and '.join(waiting)} is not run yet.\n", tests


def _with_settings_of(name: str, studies: Sequence[Study], pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The differences over all seeds of those studies that have the settings of one, and what stands before them."""
    chosen = [study for study in studies if study.name.startswith(name)]
    return f"Over those that have the settings of `{name}`:\n", together(chosen, pairs)


def page(root: Path = RESULTS) -> str:
    """All answers as a page in Markdown."""
    planned, fresh, confirming = read(PLANNED, root), read(FRESH, root), read(CONFIRMING, root)
    repeating, first, short = read(REPEATING, root), read(FIRST, root), read(under_trained.STUDIES, root)
    of_plan = {**planned, **fresh, **confirming, **repeating, **short}
    with_rows = [name for name, study in {**of_plan, **first}.items() if study]
    earlier = [planned[name.removesuffix("-fresh")] for name in FRESH]
    of_soups = ((FADING, CONSENSUS), (FADING, "uniform-soup"), (FADING, RULE), (CONSENSUS, RULE))
    of_first = ((TRIMMED, "recalibrated"), (TRIMMED, RULE), (RULE, "recalibrated"))
    return "\n".join(
        (
            "# Questions and answers\n",
            INTRODUCTION.format(reports=", ".join(f"[{name}]({name}/report.md)" for name in with_rows)),
            markdown(table("Studies of the plan", planned, PRIMARY, NOT_RUN)),
            markdown(over_the_rule(of_plan)),
            markdown(replace(table("Fresh seeds", fresh, (), ""), note=DECIDING)),
            "Over all ten of these seeds:\n",
            together([*fresh.values()], of_soups),
            "Over these and the seeds of the two studies that they repeat:\n",
            together([*earlier, *fresh.values()], of_soups),
            *filter(None, [confirmed(confirming, [*earlier, *fresh.values(), *repeating.values()])]),
            *(
                [markdown(replace(table("Repeated on a GPU", repeating, (), ""), note=REPEATED))]
                if any(repeating.values())
                else []
            ),
            *filter(None, [under_trained.page({**short, **confirming, **repeating})]),
            markdown(replace(table("The first studies", first, (), ""), note=TOUCHED)),
            f"Over all seeds of {', '.join(f'`{name}`' for name in FIRST[:4])}, whatever the study:\n",
            together([first[name] for name in FIRST[:4]], of_first),
        )
    )


if __name__ == "__main__":
    sys.stdout.write(page())

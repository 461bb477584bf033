"""The questions of PLAN.md, answered from committed rows.

    python -m studies.questions > docs/results/questions.md

A study whose rows are not in docs/results yet is answered "not yet run".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lottery_pools.experiment import report as reports
from lottery_pools.pooling.methods import METHODS, RETIRED_METHODS
from lottery_pools.reporting.names import label
from lottery_pools.reporting.table import Table, markdown
from lottery_pools.runs.rows import Gain, pooled_by
from lottery_pools.tickets.trained_baselines import RETIRED as RETIRED_BASELINES
from studies import answers
from studies.answers import Study

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TRIMMED, RULE = "trimmed-soup", "interpolation"
"""The methods of the primary questions: the default when the plan was written, and the paper's."""
CONSENSUS = "consensus-soup"
"""The default since."""
FADING = "fading-soup"
"""The consensus soup with denser tickets too."""
WITHOUT_LABELS = {
    CONSENSUS: "the consensus soup",
    FADING: "the fading soup",
    "consensus-soup-training": "the consensus soup on training inputs",
    "sparser-soup": "the plain mean of all sparser tickets",
}
"""The methods that need no labels, and how a question calls them."""
PLANNED = (
    "mnist1d",
    "cifar10-resnet20",
    "cifar10-resnet20-fit",
    "cifar100-vgg-small",
    "cifar100-vgg-small-gpu",
    "cifar10-resnet20-19-levels",
    "cifar100-vgg16",
    "cifar100-resnet18",
)
"""The studies of PLAN.md, in its order: a to e2, with the second run of c, on a GPU, after the first."""
PRIMARY = PLANNED[:4]
"""The studies for whose number questions 1 and 2 are corrected."""
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
for the number of levels, by Holm's method.
"""

TOUCHED = """\
These studies came before the plan. They hold out as many images as they train on, or more. Two are touched by
selection: `cifar10-vgg`, whose seeds chose the rule that lets denser tickets join, and `cifar10-resnet` (and
`cifar10-longer`, which has its tickets), whose seed 0 chose constants of the trimmed soup. So their answers are no
confirmation. `cifar100-resnet` and `cifar10-vgg-fresh` have seeds that chose nothing. Nothing is corrected for the
number of studies.
"""


@dataclass(frozen=True)
class Question:
    """A question of the plan: its number and words, and what answers it from a study; an empty answer: no rows."""

    number: int
    text: str
    answer: Callable[[Study], str]
    retired: bool = False
    """Whether it is about a method that is gone, so that no further study can answer it."""
    optional: bool = False
    """Whether the plan leaves it out where a study was not measured for it."""


def pair(number: int, text: str, method: str, against: str, corruption: str = "none") -> Question:
    """A question that a difference between two methods answers, over all levels."""

    def answer(study: Study) -> str:
        if not (study.whole(method) and study.whole(against)):
            return ""
        gain = answers.over_all_levels(study.compared(method, against), corruption)
        return answers.said(gain, answers.word(gain)) if gain else ""

    return Question(number, text, answer, method in RETIRED_METHODS, optional=corruption != "none")


def of_gains(number: int, text: str, method: str, words: Callable[[list[Gain]], str]) -> Question:
    """A question about the gains of a method over the recalibrated ticket at single levels."""

    def answer(study: Study) -> str:
        return words(study.compared(method, "recalibrated")) if study.whole(method) else ""

    return Question(number, text, answer)


def selected(method: str) -> Question:
    """What one would have claimed on the samples that chose the pools."""

    def answer(study: Study) -> str:
        gain = answers.on_held_out(study, method) if study.whole(method) else None
        return answers.said(gain) if gain else ""

    return Question(14, f"What would one have claimed on the held-out images? {label(method)}", answer)


def cost(method: str) -> Question:
    """What a search costs beside that of the paper's rule."""
    text = f"What does the search cost, beside the paper's? {label(method)}"
    return Question(13, text, lambda study: answers.cost(study, method, RULE))


def equal_cost(baseline: str) -> Question:
    """Whether what was trained instead gains more at equal cost."""

    def answer(study: Study) -> str:
        gain = answers.at_equal_cost(study, baseline, TRIMMED)
        return answers.said(gain, answers.word(gain)) if gain else ""

    text = f"Does it gain more at equal training cost? {label(baseline)}"
    return Question(12, text, answer, baseline in RETIRED_BASELINES)


def is_any(number: int, text: str, names: Sequence[str], against: str = TRIMMED) -> tuple[Question, ...]:
    """The same question of several methods, each held against one: the trimmed soup unless another is named."""
    return tuple(pair(number, f"{text} {label(name)}", name, against) for name in names if name != against)


SIMPLE = ("average", "uniform-soup")
ASKED_APART = (TRIMMED, RULE, "best", "interpolation-likelihood", *SIMPLE)
OTHERS = tuple(name for name in (*METHODS, *RETIRED_METHODS) if name not in ASKED_APART)
CONTROLS = ("held-out-training", "tuned-ticket", "tuned-pool")
NOTHING_HELD_OUT = tuple(pooled_by(CONTROLS[0], method) for method in ("consensus-soup-training", "sparser-soup"))
"""Pools of tickets that were trained on every labelled sample."""
REWOUND = pooled_by("learning-rate-rewinding", CONSENSUS)
"""The default's pools of tickets of which each level goes on from its weights: only the learning rate is rewound."""
TRAINED = (
    *("longer", "sparse-model-soups", "swamp-equal-cost", "learning-rate-rewinding", "rigl", "lawa", "tail-ema"),
    *("swa-training", "ema-training", "sms", "swamp"),
    *(pooled_by("learning-rate-rewinding", method) for method in (RULE, TRIMMED)),
    REWOUND,
)
"""Trained baselines, two of them of earlier versions, and pools of tickets that are trained by another rule."""

QUESTIONS = (
    pair(1, "Does the trimmed soup help?", TRIMMED, "recalibrated"),
    pair(2, "Does the trimmed soup beat the paper's rule?", TRIMMED, RULE),
    pair(3, "Does the paper's rule help?", RULE, "recalibrated"),
    of_gains(4, "Where does the trimmed soup lose?", TRIMMED, answers.losses),
    of_gains(4, "Where does the paper's rule lose?", RULE, answers.losses),
    pair(5, "Does `best` beat the trimmed soup?", "best", TRIMMED),
    pair(6, "Is the paper's rule better by likelihood?", "interpolation-likelihood", RULE),
    pair(6, "Is the trimmed soup better than the paper's rule by likelihood?", TRIMMED, "interpolation-likelihood"),
    pair(7, "Is the trimmed soup more than taking over a better, sparser ticket?", TRIMMED, "admissible"),
    pair(7, "Is the paper's rule more than taking over a better, sparser ticket?", RULE, "admissible"),
    *is_any(8, "Is simple averaging better than the trimmed soup?", SIMPLE),
    *is_any(9, "Is another method better than the trimmed soup?", OTHERS),
    *is_any(9, "Is another method better than the consensus soup?", (*SIMPLE, *OTHERS), CONSENSUS),
    *(
        pair(9, text.format(words), method, against)
        for text, against in (
            ("Does {} help?", "recalibrated"),
            ("Does {} beat the paper's rule?", RULE),
            ("Is {} more than a better ticket?", "admissible"),
        )
        for method, words in WITHOUT_LABELS.items()
    ),
    *(of_gains(9, f"Where does {words} lose?", method, answers.losses) for method, words in WITHOUT_LABELS.items()),
    *(
        of_gains(10, f"At which densities does {words} gain?", method, answers.gaining)
        for method, words in ((TRIMMED, "the trimmed soup"), *WITHOUT_LABELS.items())
    ),
    of_gains(10, "At which densities does the paper's rule gain?", RULE, answers.gaining),
    *is_any(11, "Are the held-out labels worth more otherwise?", CONTROLS),
    pair(11, "Are they worth more for training than the consensus soup?", CONTROLS[0], CONSENSUS),
    *(
        pair(11, f"Does pooling help with nothing held out? {label(pool)}", pool, CONTROLS[0])
        for pool in NOTHING_HELD_OUT
    ),
    *(
        pair(11, f"Is that better than {words} with a tenth held out? {label(pool)}", pool, name)
        for pool in NOTHING_HELD_OUT
        for words, name in (
            ("the trimmed soup", TRIMMED),
            ("the consensus soup", CONSENSUS),
            ("the paper's rule", RULE),
        )
    ),
    *map(equal_cost, TRAINED),
    pair(12, "Do tickets whose learning rate alone was rewound make better consensus soups?", REWOUND, CONSENSUS),
    pair(12, "Do such soups beat the paper's rule on the study's own tickets?", REWOUND, RULE),
    cost(TRIMMED),
    *map(cost, WITHOUT_LABELS),
    selected(TRIMMED),
    selected(CONSENSUS),
    selected(FADING),
    selected(RULE),
    pair(15, "Does the trimmed soup hold under corruption?", TRIMMED, "recalibrated", "all"),
    pair(15, "Does the paper's rule hold under corruption?", RULE, "recalibrated", "all"),
)
"""All questions but 16 and 17, which are questions 1 to 4 in the columns of studies d and e."""


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
    names = (f"[{name}]({name}/report.md)" if study else name for name, study in studies.items())
    return Table(title, ("No.", "Question", *names), tuple(lines))


def _empty(question: Question, study: Study | None, missing: str) -> str:
    """What stands where a study has no answer."""
    never = question.retired or (question.optional and study is not None)
    return "–" if never or not missing else missing


def together(studies: Sequence[Study]) -> list[str]:
    """The three first questions, from all seeds of some studies, a line each."""
    lines = []
    for question, method, against in ((1, TRIMMED, "recalibrated"), (2, TRIMMED, RULE), (3, RULE, "recalibrated")):
        if gain := answers.over_all_seeds(studies, method, against):
            words = f"{label(method)} over {label(against)}"
            lines.append(f"- {question}. {words}: {answers.said(gain, answers.word(gain))}.\n")
    return lines


def page(root: Path = RESULTS) -> str:
    """All answers as a page in Markdown."""
    planned, first = read(PLANNED, root), read(FIRST, root)
    return "\n".join(
        (
            "# Questions and answers\n",
            INTRODUCTION,
            markdown(table("Studies of the plan", planned, PRIMARY, NOT_RUN)),
            TOUCHED,
            markdown(table("The first studies", first, (), "")),
            f"Over all seeds of {', '.join(f'`{name}`' for name in FIRST[:4])}, whatever the study:\n",
            "".join(together([study for name in FIRST[:4] if (study := first[name])])),
        )
    )


if __name__ == "__main__":
    sys.stdout.write(page())

"""The questions of PLAN.md, and what answers each from the rows of one study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lottery_pools.pooling.methods import METHODS, RETIRED_METHODS, is_retired
from lottery_pools.reporting.names import label
from lottery_pools.runs.rows import Gain, pooled_by
from lottery_pools.tickets.trained_baselines import RETIRED as RETIRED_BASELINES
from studies import answers
from studies.answers import Study

TRIMMED, RULE = "trimmed-soup", "interpolation"
"""The methods of the primary questions: the default when the plan was written, and the paper's."""
CONSENSUS = "consensus-soup"
"""The default since."""
FADING = "fading-soup"
"""The consensus soup with denser tickets too."""
BALANCED = "balanced-soup"
"""The fading soup with labels in its score."""
WITHOUT_LABELS = {
    CONSENSUS: "the consensus soup",
    FADING: "the fading soup",
    "consensus-soup-training": "the consensus soup on training inputs (retired)",
    "sparser-soup": "the plain mean of all sparser tickets",
}
"""The methods that need no labels, and how a question calls them."""
SINCE = {**WITHOUT_LABELS, BALANCED: "the balanced soup"}
"""The methods that came after the trimmed soup, with the one that needs labels."""


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
        return answers.answered(answers.gain_over(study, method, against, corruption))

    return Question(number, text, answer, _is_retired(method), optional=corruption != "none")


def of_gains(number: int, text: str, method: str, words: Callable[[list[Gain]], str]) -> Question:
    """A question about the gains of a method over the recalibrated ticket at single levels."""

    def answer(study: Study) -> str:
        return words(study.compared(method, "recalibrated")) if study.whole(method) else ""

    return Question(number, text, answer, _is_retired(method))


def selected(method: str) -> Question:
    """What one would have claimed on the samples that chose the pools."""

    def answer(study: Study) -> str:
        gain = answers.on_held_out(study, method) if study.whole(method) else None
        return answers.said(gain) if gain else ""

    return Question(14, f"What would one have claimed on the held-out images? {label(method)}", answer)


def cost(method: str) -> Question:
    """What a search costs beside that of the paper's rule."""
    text = f"What does the search cost, beside the paper's? {label(method)}"
    return Question(13, text, lambda study: answers.cost(study, method, RULE), _is_retired(method))


def equal_cost(baseline: str, pool: str = TRIMMED, text: str = "Does it gain more at equal training cost?") -> Question:
    """Whether what was trained instead gains more than a pool at equal cost."""

    def answer(study: Study) -> str:
        return answers.answered(answers.at_equal_cost(study, baseline, pool))

    return Question(12, f"{text} {label(baseline)}", answer, baseline in RETIRED_BASELINES)


def is_any(number: int, text: str, names: Sequence[str], against: str = TRIMMED) -> tuple[Question, ...]:
    """The same question of several methods, each held against one: the trimmed soup unless another is named."""
    return tuple(pair(number, f"{text} {label(name)}", name, against) for name in names if name != against)


def _is_retired(method: str) -> bool:
    """Whether a method of pooling is gone, or rows are of its pools of a trained baseline's tickets."""
    return is_retired(method.rpartition("+")[2])


SIMPLE = ("average", "uniform-soup")
BY_LIKELIHOOD, BY_AGREEMENT = "interpolation-likelihood", "interpolation-agreement"
"""The paper's search with the scores of the trimmed and of the consensus soup."""
ASKED_APART = (TRIMMED, RULE, "best", BY_LIKELIHOOD, BY_AGREEMENT, *SIMPLE)
OTHERS = tuple(name for name in (*METHODS, *RETIRED_METHODS) if name not in ASKED_APART)
CONTROLS = ("held-out-training", "tuned-ticket", "tuned-pool")
NOTHING_HELD_OUT = tuple(pooled_by(CONTROLS[0], method) for method in ("consensus-soup-training", "sparser-soup"))
"""Pools of tickets that were trained on every labelled sample."""


def rewound(method: str) -> str:
    """What rows call a method's pools of tickets of which each level goes on from its weights: only the learning rate
    is rewound."""
    return pooled_by("learning-rate-rewinding", method)


TRAINED = (
    *("longer", "sparse-model-soups", "swamp-equal-cost", "learning-rate-rewinding", "rigl", "lawa", "tail-ema"),
    *("swa-training", "ema-training", "sms", "swamp"),
    *map(rewound, (RULE, TRIMMED, CONSENSUS, FADING, BALANCED)),
)
"""Trained baselines, two of them of earlier versions, and pools of tickets that are trained by another rule."""

QUESTIONS = (
    pair(1, "Does the trimmed soup help?", TRIMMED, "recalibrated"),
    pair(2, "Does the trimmed soup beat the paper's rule?", TRIMMED, RULE),
    pair(3, "Does the paper's rule help?", RULE, "recalibrated"),
    of_gains(4, "Where does the trimmed soup lose?", TRIMMED, answers.losses),
    of_gains(4, "Where does the paper's rule lose?", RULE, answers.losses),
    pair(5, "Does `best` beat the trimmed soup?", "best", TRIMMED),
    pair(6, "Is the paper's rule better by likelihood?", BY_LIKELIHOOD, RULE),
    pair(6, "Is the trimmed soup better than the paper's rule by likelihood?", TRIMMED, BY_LIKELIHOOD),
    pair(6, "Is the paper's rule better by agreement?", BY_AGREEMENT, RULE),
    pair(6, "Is the consensus soup better than the paper's rule by agreement?", CONSENSUS, BY_AGREEMENT),
    pair(6, "Is the fading soup better than the paper's rule by agreement?", FADING, BY_AGREEMENT),
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
        for method, words in SINCE.items()
    ),
    pair(9, "Is the fading soup better than the uniform soup of all tickets?", FADING, "uniform-soup"),
    *(of_gains(9, f"Where does {words} lose?", method, answers.losses) for method, words in WITHOUT_LABELS.items()),
    *(
        of_gains(10, f"At which densities does {words} gain?", method, answers.gaining)
        for method, words in ((TRIMMED, "the trimmed soup"), *WITHOUT_LABELS.items())
    ),
    of_gains(10, "At which densities does the paper's rule gain?", RULE, answers.gaining),
    *is_any(11, "Are the held-out labels worth more otherwise?", CONTROLS),
    pair(11, "Are they worth more for training than the consensus soup?", CONTROLS[0], CONSENSUS),
    pair(11, "Are they worth more for training than the fading soup?", CONTROLS[0], FADING),
    pair(11, "Are they worth more for tuning than the fading soup?", CONTROLS[1], FADING),
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
    *(
        equal_cost(name, FADING, "Does it gain more than the fading soup at equal cost?")
        for name in ("longer", "rigl", "sparse-model-soups", "swamp-equal-cost", "learning-rate-rewinding", "lawa")
    ),
    pair(12, "Does SWAMP gain more than the fading soup at four times the cost?", "swamp-full", FADING),
    pair(
        12,
        "Do tickets whose learning rate alone was rewound make better consensus soups?",
        rewound(CONSENSUS),
        CONSENSUS,
    ),
    pair(12, "Do such soups beat the paper's rule on the study's own tickets?", rewound(CONSENSUS), RULE),
    pair(12, "Do such tickets make better fading soups?", rewound(FADING), FADING),
    pair(12, "Do such fading soups beat the paper's rule on the study's own tickets?", rewound(FADING), RULE),
    pair(12, "Do such tickets make better balanced soups?", rewound(BALANCED), BALANCED),
    *(
        pair(12, f"Of such tickets, is {SINCE[method]} better than the paper's rule?", rewound(method), rewound(RULE))
        for method in (CONSENSUS, FADING, BALANCED)
    ),
    cost(TRIMMED),
    *map(cost, SINCE),
    selected(TRIMMED),
    selected(CONSENSUS),
    selected(FADING),
    selected(RULE),
    pair(15, "Does the trimmed soup hold under corruption?", TRIMMED, "recalibrated", "all"),
    pair(15, "Does the fading soup hold under corruption?", FADING, "recalibrated", "all"),
    pair(15, "Does the paper's rule hold under corruption?", RULE, "recalibrated", "all"),
    pair(15, "Does the fading soup beat the paper's rule under corruption?", FADING, RULE, "all"),
    pair(15, "Does the balanced soup beat the paper's rule under corruption?", BALANCED, RULE, "all"),
)
"""All questions but 16 and 17, which are questions 1 to 4 in the columns of studies d and e."""

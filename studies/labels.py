"""Studies f1 to f4 of PLAN.md: does it help to hold the fading soup to half by labels?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lottery_pools.evaluation.intervals import p_value
from lottery_pools.reporting.names import label
from lottery_pools.reporting.table import Table, markdown
from lottery_pools.runs.rows import Gain
from studies import answers
from studies.answers import Study
from studies.plan import CONTROLS, FADING, RULE, TRIMMED

LABELS = "fading-soup-labels"
"""The method that is asked about."""
SHORT = ("cifar100-vgg-small-short", "mnist1d-short")
"""Studies f1 and f2, whose tickets are under-trained."""
LONG = "mnist1d-labels"
"""Study f3, whose tickets fit their samples."""
STUDIES = (*SHORT, LONG)
EXISTING = {
    "cifar100-vgg-small-confirm": range(27, 30),
    "cifar10-resnet20-fit-confirm": range(27, 30),
    "cifar10-resnet20-fit-costs": range(30, 35),
}
"""Study f4: the seeds of earlier studies, whose tickets were there, on which the method was never run."""
PAIRS = (
    *((LABELS, FADING), (LABELS, TRIMMED), (LABELS, "sparser-soup"), (LABELS, "uniform-soup"), (LABELS, RULE)),
    *((LABELS, "recalibrated"), (LABELS, "admissible"), (FADING, "recalibrated"), (TRIMMED, "recalibrated")),
    *((RULE, "recalibrated"), *((control, LABELS) for control in CONTROLS[:2])),
)
"""The differences of the table: (method, against)."""

INTRODUCTION = """\
Two of these studies train their tickets for too short a time, so that tickets get better with sparsity. The others have
tickets that fit their samples: `mnist1d-labels`, and in the last column eleven seeds of earlier studies on images,
whose tickets were there. The tests that were planned are below the table. All else describes, and nothing is
corrected."""


def page(studies: Mapping[str, Study | None]) -> str:
    """The part of the page of answers that is about these studies; empty where none has been run.

    Args:
        studies: those of `STUDIES` and of `EXISTING`, by name; none where there are no rows.
    """
    if not any(studies[name] for name in STUDIES):
        return ""
    columns, existing = (*STUDIES, "eleven earlier seeds"), _existing(studies)
    rows = []
    for method, against in PAIRS:
        gains = (*(_gain(studies[name], method, against) for name in STUDIES), _on_existing(existing, method, against))
        if any(gains):
            cells = (answers.said(gain, answers.word(gain)) if gain else "–" for gain in gains)
            rows.append((f"{label(method)} over {label(against)}", *cells))
    table = Table("Tickets that are under-trained", ("Difference", *columns), tuple(rows), note=INTRODUCTION)
    return "\n".join(
        (
            markdown(table),
            "The planned tests, corrected for their number by Holm's method (p is not corrected):\n",
            _tests([_gain(studies[name], LABELS, FADING) for name in SHORT]),
            "That it harms nowhere else, which was to be equivalent:\n",
            "".join(_harmless(studies[LONG], existing)),
            "Where the fading soup with labels loses, and the fading soup:\n",
            "".join(_losses(studies)),
        )
    )


def _gain(study: Study | None, method: str, against: str) -> Gain | None:
    return answers.gain_over(study, method, against) if study else None


def _existing(studies: Mapping[str, Study | None]) -> list[Study]:
    """The seeds of earlier studies that study f4 is about, as studies."""
    return [
        Study.of(name, (row for row in study.rows if row.seed in seeds))
        for name, seeds in EXISTING.items()
        if (study := studies[name]) and study.whole(LABELS)
    ]


def _on_existing(existing: Sequence[Study], method: str, against: str) -> Gain | None:
    """The gain over all seeds of study f4; none where one of its studies lacks the methods."""
    measured = [study for study in existing if study.whole(method) and study.whole(against)]
    return answers.over_all_seeds(measured, method, against) if len(measured) == len(EXISTING) else None


def _tests(gains: Sequence[Gain | None]) -> str:
    words = answers.corrected(gains)
    return "".join(
        f"- `{name}`: {answers.said(gain, said)}; p = {p_value(gain):.3f}.\n" if gain else f"- `{name}`: not yet run.\n"
        for name, gain, said in zip(SHORT, gains, words, strict=True)
    )


def _harmless(long: Study | None, existing: Sequence[Study]) -> list[str]:
    gains = (_gain(long, LABELS, FADING), _on_existing(existing, LABELS, FADING))
    return [
        f"- {name}: {answers.said(gain, answers.word(gain))}.\n" if gain else f"- {name}: not yet run.\n"
        for name, gain in zip((f"`{LONG}`", "eleven earlier seeds"), gains, strict=True)
    ]


def _losses(studies: Mapping[str, Study | None]) -> list[str]:
    lines = []
    for name in (*STUDIES, *EXISTING):
        study = studies[name]
        for method in (LABELS, FADING):
            if study and study.whole(method):
                lost = answers.losses(study.compared(method, "recalibrated"))
                lines.append(f"- `{name}`, {label(method)}: {lost}.\n")
    return lines

"""The questions that the studies answer, from committed rows: yes, partly, no or not shown, with interval and n.

    python -m studies.questions docs/results/cifar10-resnet docs/results/cifar100-resnet

An answer is about the mean over all levels and n seeds, unless it says otherwise, and comes from its 95 % interval;
where a method was not tried at all levels, it has none.

- yes: it lies above zero.
- partly: it lies above zero but below `WORTH`, a difference that is there and too small to matter; or it includes
  zero, while those of two levels or more, which are named, lie above (of nine levels independent of one another, two
  would do so by chance in one study of fifty).
- no: it lies below `WORTH`.
- not shown: none of these, which mostly says that there are too few seeds.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lottery_pools import reports
from lottery_pools.evaluation.metrics import BASELINES, gains
from lottery_pools.reporting.names import label, percent
from lottery_pools.reporting.tables import DASH, Table, interval, markdown
from lottery_pools.runs.results import Gain, Row

PAIRS = (
    ("Does averaging neighbours help?", "average", "recalibrated", "none"),
    ("Does interpolation, the paper's rule, help?", "interpolation", "recalibrated", "none"),
    ("Does interpolation beat averaging?", "interpolation", "average", "none"),
    ("Does our default help?", "trimmed-soup", "recalibrated", "none"),
    ("Does our default beat the paper's rule?", "trimmed-soup", "interpolation", "none"),
    ("Does `best` help?", "best", "recalibrated", "none"),
    ("Does `best` beat the paper's rule?", "best", "interpolation", "none"),
    ("Is the paper's rule more than taking over a better, sparser ticket?", "interpolation", "admissible", "none"),
    ("Is our default more than taking over a better, sparser ticket?", "trimmed-soup", "admissible", "none"),
    ("Is the plain mean of all tickets enough?", "uniform-soup", "recalibrated", "none"),
    ("Does the paper's rule hold under corruption?", "interpolation", "recalibrated", "all"),
    ("Does our default hold under corruption?", "trimmed-soup", "recalibrated", "all"),
    ("Is it BatchNorm: does recalibration alone help?", "recalibrated", "ticket", "none"),
    ("Is it more than training for longer at equal cost? Interpolation", "interpolation", "longer", "none"),
    ("Is it more than training for longer at equal cost? Our default", "trimmed-soup", "longer", "none"),
    ("Does the paper's rule beat Sparse Model Soups at equal cost?", "interpolation", "sms", "none"),
    ("Does our default beat Sparse Model Soups at equal cost?", "trimmed-soup", "sms", "none"),
    ("Does the paper's rule beat SWAMP at equal cost?", "interpolation", "swamp", "none"),
    ("Does our default beat SWAMP at equal cost?", "trimmed-soup", "swamp", "none"),
    ("Is a greedy soup better than our default?", "greedy-soup", "trimmed-soup", "none"),
    ("Is a learned soup better than our default?", "learned-soup-layers", "trimmed-soup", "none"),
    ("Is SWA over neighbours better than the paper's rule?", "swa", "interpolation", "none"),
    ("Is EMA over neighbours better than the paper's rule?", "ema", "interpolation", "none"),
    ("Is an ensemble of all tickets, nine passes, better still?", "ensemble", "trimmed-soup", "none"),
)
DENSE = (("Is the pooled dense network better than the dense one?", ("interpolation", "trimmed-soup", "best")),)

CHOSEN = ("What would its gain be on the samples that chose it?", ("interpolation", "trimmed-soup", "best"))
"""Asked of validation rows: what a report gains that is made on the selection split, as of the published script."""

WORTH = 0.25
"""Percentage points of which less would not be worth a search."""


def answer(gain: Gain, levels: Sequence[Gain] = ()) -> str:
    """Yes, partly, no or not shown, by the interval of `gain`, a mean over levels, and by those of `levels`."""
    if gain.low > 0:
        return "yes" if gain.high >= WORTH else f"partly (by less than {WORTH} points)"
    if gain.high < WORTH:
        return "no"
    above = [percent(level.density) for level in levels if level.density is not None and level.low > 0]
    return f"partly (at {', '.join(above)})" if len(above) > 1 else "not shown"


def measured(gain: Gain) -> str:
    """A gain, its interval and the number of its seeds."""
    return f"{interval(gain)}, n = {gain.seeds}"


def questions(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """The questions that the rows can answer; of each the answer in words, and samples a seed."""
    pairs = dict.fromkeys(against for _, _, against, _ in PAIRS if against not in BASELINES)
    found = gains(rows) + [gain for against in pairs for gain in gains(rows, (against,))]
    by_key = {(g.method, g.against, g.level, g.corruption): g for g in found}
    answers = {}
    places, count = {(row.method, row.level) for row in rows}, len({row.level for row in rows})
    whole = [name for name, levels in Counter(name for name, _ in places).items() if levels == count]
    for text, method, against, corruption in PAIRS:
        if gain := by_key.get((method, against, None, corruption)):
            levels = [g for g in found if (g.method, g.against, g.corruption) == (method, against, corruption)]
            if method in whole and against in whole:
                answers[text] = answer(gain, levels), gain
            elif against == "longer":
                tried = [percent(level.density) for level in levels if level.density is not None]
                answers[text] = f"{answer(gain)} (at {', '.join(tried)})", gain
    for text, methods in DENSE:
        for method in methods:
            if gain := by_key.get((method, "recalibrated", 0, "none")):
                answers[f"{text} {label(method)}"] = answer(gain), gain
    validation = [replace(row, split="test") for row in rows if row.split == "validation"]
    chosen = {gain.method: gain for gain in gains(validation, ("recalibrated",)) if gain.level is None}
    said = {text: (f"{word}: {measured(gain)}", f"{gain.n:,}") for text, (word, gain) in answers.items()}
    for method in CHOSEN[1]:
        if (gain := chosen.get(method)) and method in whole:
            said[f"{CHOSEN[0]} {label(method)}"] = measured(gain), f"{gain.n:,}"
    for method in ("interpolation", "trimmed-soup"):
        levels = [g for g in found if (g.method, g.against, g.corruption) == (method, "recalibrated", "none")]
        shown = [percent(g.density) for g in levels if g.density is not None and g.low > 0]
        if method in whole:
            said[f"At which densities does a gain show by itself? {label(method)}"] = ", ".join(shown) or "none", ""
    return said


def answers(folders: Iterable[Path]) -> str:
    """A Markdown table: a line a question, a column a study."""
    studies = {}
    for folder in folders:
        config, rows, _ = reports.read(folder)
        studies[config.name] = questions(rows)
    lines = []
    for text in order(studies.values()):
        found = [study.get(text, (DASH, "")) for study in studies.values()]
        sizes = " or ".join(dict.fromkeys(size for _, size in found if size))
        lines.append((text, *(said for said, _ in found), sizes))
    return markdown(Table("Questions", ("Question", *studies, "Samples"), tuple(lines)))


def order(studies: Iterable[Iterable[str]]) -> list[str]:
    """Every question that any study answers, as they come above."""
    asked = dict.fromkeys(text for study in studies for text in study)
    texts = [text for text, *_ in PAIRS] + [text for text, _ in (*DENSE, CHOSEN)] + ["At which densities"]
    return sorted(asked, key=lambda text: next(i for i, start in enumerate(texts) if text.startswith(start)))


if __name__ == "__main__":
    print(answers(map(Path, sys.argv[1:])), end="")

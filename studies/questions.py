"""The questions that the studies answer, from committed rows: yes, partly, no or not shown, with interval and n.

    python -m studies.questions docs/results/cifar10-resnet docs/results/cifar100-resnet > docs/results/questions.md

`INTRODUCTION` has the rules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lottery_pools.evaluation.metrics import gains
from lottery_pools.experiment import report as reports
from lottery_pools.pooling.methods import METHODS
from lottery_pools.reporting.names import label, percent
from lottery_pools.reporting.table import Table, markdown
from lottery_pools.reporting.words import DASH, interval
from lottery_pools.runs.rows import Gain, Row

WORTH = 0.25
"""Percentage points of which less would not be worth a search."""

ALIKE = 0.15
"""Share by which the training images of two networks may differ at equal cost."""

INTRODUCTION = f"""\
Differences are percentage points of accuracy on test samples, means over all levels and n seeds, with 95 % intervals
over seeds and samples. A gain is over the recalibrated ticket of the same density unless a question says otherwise.

- **yes**: the interval lies above zero.
- **partly**: it lies above zero but ends below {WORTH} points, a difference that is there and too small to matter; or
  it includes zero, while those of two levels or more, which are named, lie above (of nine levels independent of one
  another, two would do so by chance in one study of fifty).
- **no**: it ends below {WORTH} points.
- **not shown**: none of these, which mostly says that there are too few seeds. It does not say that there is no
  difference.

A method that was not tried at all levels of a study has no answer there.
"""

COST = f"""\
Only levels at which a trained baseline was trained on as many images as all tickets of the pool, within
{100 * ALIKE:.0f} %; they are named. (Short rewound copies train two networks a level from the rewind point and average
them, all levels for about half the epochs, the dense one too: neither Sparse Model Soups nor SWAMP as published. Those
of dense levels cost a fraction, so nothing can be said of them.)
"""

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
    ("Is a greedy soup better than our default?", "greedy-soup", "trimmed-soup", "none"),
    ("Is a learned soup better than our default?", "learned-soup-layers", "trimmed-soup", "none"),
    ("Is SWA over neighbours better than the paper's rule?", "swa", "interpolation", "none"),
    ("Is EMA over neighbours better than the paper's rule?", "ema", "interpolation", "none"),
    ("Is an ensemble of all tickets, nine passes, better still?", "ensemble", "trimmed-soup", "none"),
)
EQUAL = tuple(
    (f"Does {words} beat {trained_baseline}{under}?", method, against, corruption)
    for against, trained_baseline in (
        ("longer", "training one network for longer"),
        ("sms", "two short rewound copies"),
        ("swamp", "two short rewound SWA copies"),
    )
    for corruption, under in (("none", ""), ("all", " under corruption"))
    for method, words in (("interpolation", "the paper's rule"), ("trimmed-soup", "our default"))
)
"""Asked at the levels where both cost about the same."""

DENSE = ("Is the pooled dense network better than the dense one?", ("interpolation", "trimmed-soup", "best"))
CHOSEN = ("What would a pool gain on the samples that chose it?", ("interpolation", "trimmed-soup", "best"))
"""Asked of validation rows: what a report gains that is made on the selection split, as of the published script."""
ENDS = ("At which densities does a gain show by itself?", ("interpolation", "trimmed-soup"))

Answers = dict[str, tuple[str, str]]
"""Of each question that a study can answer: what is said, and the samples a seed."""


def answer(gain: Gain, levels: Sequence[Gain] = ()) -> str:
    """Yes, partly, no or not shown, by the interval of `gain`, a mean over levels, and by those at single `levels`."""
    if gain.low > 0:
        return "yes" if gain.high >= WORTH else f"partly (by less than {WORTH} points)"
    if gain.high < WORTH:
        return "no"
    above = _densities(gain for gain in levels if gain.low > 0)
    return f"partly (at {above})" if above.count("%") > 1 else "not shown"


def compared(rows: Sequence[Row], against: str, methods: Iterable[str]) -> dict[str, list[Gain]]:
    """The gains of some methods over another, each at every level and over all, clean and corrupted."""
    methods = {*methods}
    all_gains = gains([row for row in rows if row.method in methods | {against, "ticket"}], (against,))
    return {method: [gain for gain in all_gains if gain.method == method] for method in methods}


def questions(rows: Sequence[Row]) -> Answers:
    """What pooling adds, and to what; nothing where no method pooled all levels."""
    whole = _at_all_levels(rows)
    if not whole & METHODS.keys():
        return {}
    by_pair = {
        (method, against): pair_gains
        for against in dict.fromkeys(pair[2] for pair in PAIRS if pair[2] in whole)
        for method, pair_gains in compared(rows, against, whole & _asked_against(against)).items()
    }
    said: Answers = {}
    for text, method, against, corruption in PAIRS:
        of_pair = [gain for gain in by_pair.get((method, against), ()) if gain.corruption == corruption]
        if gain := _at(of_pair, None):
            said[text] = _said(gain, answer(gain, of_pair))
    clean = {
        method: [gain for gain in of_pair if gain.corruption == "none"]
        for (method, against), of_pair in by_pair.items()
        if against == "recalibrated"
    }
    return said | _of_the_dense_network(clean) | _of_the_selection_split(rows, whole) | _of_each_density(clean)


def _at_all_levels(rows: Sequence[Row]) -> set[str]:
    """The methods that were measured at every level."""
    levels = {row.level for row in rows}
    places = {(row.method, row.level) for row in rows}
    return {method for method, _ in places if all((method, level) in places for level in levels)}


def _asked_against(against: str) -> set[str]:
    """The methods that a question holds against another."""
    return {method for _, method, reference, _ in PAIRS if reference == against}


def _of_the_dense_network(clean: Mapping[str, Sequence[Gain]]) -> Answers:
    """Answers to `DENSE`, from each method's clean gains over the recalibrated ticket."""
    text, methods = DENSE
    at_dense = {method: _at(clean.get(method, ()), 0) for method in methods}
    return {f"{text} {label(method)}": _said(gain, answer(gain)) for method, gain in at_dense.items() if gain}


def _of_the_selection_split(rows: Sequence[Row], whole: set[str]) -> Answers:
    """Answers to `CHOSEN`, from validation rows."""
    text, methods = CHOSEN
    validation = [replace(row, split="test") for row in rows if row.split == "validation"]
    on_chosen = compared(validation, "recalibrated", whole & {*methods})
    over_all = {method: _at(on_chosen.get(method, ()), None) for method in methods}
    return {f"{text} {label(method)}": _said(gain) for method, gain in over_all.items() if gain}


def _of_each_density(clean: Mapping[str, Sequence[Gain]]) -> Answers:
    """Answers to `ENDS`, from each method's clean gains over the recalibrated ticket."""
    text, methods = ENDS
    return {
        f"{text} {label(method)}": (_densities(gain for gain in clean[method] if gain.low > 0) or "none", "")
        for method in methods
        if clean.get(method)
    }


def at_equal_cost(rows: Sequence[Row]) -> Answers:
    """Pools beside what trains instead, at the levels where both took about as many training images."""
    said: Answers = {}
    for baseline in dict.fromkeys(pair[2] for pair in EQUAL):
        alike = _costing_as_much(rows, baseline)
        comparable = [row for row in rows if row.method in (baseline, "ticket") or (row.method, row.level) in alike]
        by_method = compared(comparable, baseline, {method for method, _ in alike})
        for text, method, against, corruption in EQUAL:
            of_pair = [gain for gain in by_method.get(method, ()) if gain.corruption == corruption]
            if against == baseline and (gain := _at(of_pair, None)):
                said[text] = _said(gain, f"{answer(gain)} (at {_densities(of_pair)})")
    return said


def _costing_as_much(rows: Sequence[Row], baseline: str) -> set[tuple[str, int]]:
    """(method, level) of the pools that took about as many training images as a trained baseline there."""
    images = {(row.method, row.level): row.train_images for row in rows}
    methods = dict.fromkeys(pair[1] for pair in EQUAL)
    return {
        (method, level)
        for (name, level), count in images.items()
        for method in methods
        if name == baseline and abs(images.get((method, level), 0) - count) <= ALIKE * count
    }


def answers(folders: Iterable[Path]) -> str:
    """A page in Markdown: of each section a table, a line a question, a column a study."""
    rows = {folder.name: reports.read(folder)[1] for folder in folders}
    adds = _answered({name: questions(of_study) for name, of_study in rows.items()})
    costs = _answered({name: at_equal_cost(of_study) for name, of_study in rows.items()})
    return "\n".join(
        (
            "# Questions and answers\n",
            INTRODUCTION,
            _table("What pooling adds", adds),
            COST if costs else "",
            _table("At equal training cost", costs) if costs else "",
        )
    )


def _answered(studies: Mapping[str, Answers]) -> dict[str, Answers]:
    """The studies that answer any question."""
    return {name: said for name, said in studies.items() if said}


def _table(title: str, studies: Mapping[str, Answers]) -> str:
    texts = [text for text, *_ in (*PAIRS, *EQUAL, DENSE, CHOSEN, ENDS)]
    asked = dict.fromkeys(text for study in studies.values() for text in study)
    lines = []
    for text in sorted(asked, key=lambda text: next(i for i, start in enumerate(texts) if text.startswith(start))):
        cells = [study.get(text, (DASH, "")) for study in studies.values()]
        sizes = " or ".join(dict.fromkeys(size for _, size in cells if size))
        lines.append((text, *(said for said, _ in cells), sizes))
    names = (f"[{name}]({name}/report.md)" for name in studies)
    return markdown(Table(title, ("Question", *names, "Samples"), tuple(lines)))


def _said(gain: Gain, word: str = "") -> tuple[str, str]:
    """The answer's word, if it has one, with the gain that it rests on; and the samples a seed."""
    start = f"{word}: " if word else ""
    return f"{start}{interval(gain)}, n = {gain.seeds}", f"{gain.n:,}"


def _at(gains: Iterable[Gain], level: int | None) -> Gain | None:
    """The gain at a level; none: the one over all."""
    return next((gain for gain in gains if gain.level == level), None)


def _densities(gains: Iterable[Gain]) -> str:
    return ", ".join(percent(gain.density) for gain in gains if gain.density is not None)


if __name__ == "__main__":
    print(answers(map(Path, sys.argv[1:])), end="")

"""The questions that the studies answer, from committed rows: yes, no or not shown, with interval and n.

    python -m studies.questions docs/results/cifar10-resnet docs/results/cifar100-resnet

Every answer is about the mean over levels and seeds, unless it says otherwise. "Yes" and "no" need a 95 % interval
that excludes zero.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lottery_pools import experiment
from lottery_pools.evaluation.metrics import BASELINES, gains
from lottery_pools.reporting.tables import Table, interval, label, markdown
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
    ("Is our default more than that?", "trimmed-soup", "admissible", "none"),
    ("Is the plain mean of all tickets enough?", "uniform-soup", "recalibrated", "none"),
    ("Does the paper's rule hold under corruption?", "interpolation", "recalibrated", "all"),
    ("Does our default hold under corruption?", "trimmed-soup", "recalibrated", "all"),
    ("Is it BatchNorm: does recalibration alone help?", "recalibrated", "ticket", "none"),
    ("Is an ensemble of all tickets, nine passes, better still?", "ensemble", "trimmed-soup", "none"),
)
DENSE = (("Is the pooled dense network better than the dense one?", ("interpolation", "trimmed-soup", "best")),)


def answer(gain: Gain) -> str:
    """Yes, no or not shown, by the interval."""
    return "yes" if gain.low > 0 else "no" if gain.high < 0 else "not shown"


def questions(rows: Sequence[Row]) -> Table:
    """One line a question that the rows can answer."""
    pairs = dict.fromkeys(against for _, _, against, _ in PAIRS if against not in BASELINES)
    found = gains(rows) + [gain for against in pairs for gain in gains(rows, (against,))]
    by_key = {(g.method, g.against, g.level, g.corruption): g for g in found}

    def said(text: str, gain: Gain) -> tuple[str, str, str, str]:
        return text, answer(gain), interval(gain), f"{gain.seeds} × {gain.n:,}"

    lines = []
    for text, method, against, corruption in PAIRS:
        if gain := by_key.get((method, against, None, corruption)):
            lines.append(said(text, gain))
    for text, methods in DENSE:
        dense = [(method, by_key.get((method, "recalibrated", 0, "none"))) for method in methods]
        lines += [said(f"{text} {label(method)}", gain) for method, gain in dense if gain]
    for method in ("interpolation", "trimmed-soup"):
        levels = [g for g in found if (g.method, g.against, g.corruption) == (method, "recalibrated", "none")]
        shown = [f"{100 * g.density:.3g} %" for g in levels if g.density is not None and g.low > 0]
        if levels:
            answered = ", ".join(shown) or "none"
            lines.append((f"At which densities does a gain show by itself? {label(method)}", answered, "", ""))
    return Table("Questions", ("Question", "Answer", "Points [95 % interval]", "Seeds × test samples"), tuple(lines))


def answers(folders: Iterable[Path]) -> str:
    """Markdown: a table a study."""
    parts = []
    for folder in folders:
        config, rows, _ = experiment.read(folder)
        parts.append(f"# {config.name}\n\n{markdown(questions(rows))}")
    return "\n".join(parts)


if __name__ == "__main__":
    print(answers(map(Path, sys.argv[1:])), end="")

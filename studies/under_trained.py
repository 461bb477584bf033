"""Studies f1 to f4 and g1 to g4 of PLAN.md: do labels help the fading soup, and by how much should they count?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lottery_pools.reporting.names import label
from lottery_pools.reporting.table import Table, markdown
from lottery_pools.runs.rows import Gain
from studies import answers
from studies.answers import Study
from studies.plan import BALANCED, CONTROLS, FADING, RULE, TRIMMED

LABELS = "fading-soup-labels"
"""The fading soup whose score had labels for half."""
EXISTING = {
    "cifar100-vgg-small-confirm": range(27, 30),
    "cifar10-resnet20-fit-confirm": range(27, 30),
    "cifar10-resnet20-fit-costs": range(30, 35),
}
"""Studies f4 and g4: the seeds of earlier studies, whose tickets were there, on which neither method was ever run."""
EARLIER = "eleven earlier seeds"
"""How the page calls these together."""


@dataclass(frozen=True)
class Inquiry:
    """What is asked about one method, of which studies."""

    title: str
    method: str
    short: tuple[str, ...]
    """The studies whose tickets are under-trained."""
    long: str
    """The study whose tickets fit their samples."""
    over: tuple[str, ...]
    """What the method is held against, in the order of the table."""
    tests: tuple[tuple[str, str], ...]
    """The planned tests, which are corrected for their number: (study, against)."""
    harmless: tuple[tuple[str, str], ...]
    """Where the method is to do no harm: (study or `EARLIER`, against)."""
    others: tuple[str, ...]
    """The methods whose gains over the ticket stand in the table beside those of this one."""
    introduction: str

    @property
    def studies(self) -> tuple[str, ...]:
        """The studies that were made for it."""
        return (*self.short, self.long)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The differences of the table: (method, against)."""
        controls = ((control, self.method) for control in CONTROLS[:2])
        gains = ((method, "recalibrated") for method in self.others)
        return (*((self.method, against) for against in self.over), *gains, *controls)


WITH_LABELS = Inquiry(
    "Tickets that are under-trained",
    LABELS,
    short=("cifar100-vgg-small-short", "mnist1d-short"),
    long="mnist1d-labels",
    over=(FADING, TRIMMED, "sparser-soup", "uniform-soup", RULE, "recalibrated", "admissible"),
    tests=(("cifar100-vgg-small-short", FADING), ("mnist1d-short", FADING)),
    harmless=(("mnist1d-labels", FADING), (EARLIER, FADING)),
    others=(FADING, TRIMMED, RULE),
    introduction="""\
Two of these studies train their tickets for too short a time, so that tickets get better with sparsity. The others have
tickets that fit their samples: `mnist1d-labels`, and in the last column eleven seeds of earlier studies on images,
whose tickets were there. The tests that were planned are below the table. All else describes, and nothing is
corrected.""",
)
WITH_BALANCE = Inquiry(
    "How much labels should count",
    BALANCED,
    short=("cifar100-vgg-small-short-fresh", "mnist1d-short-fresh"),
    long="mnist1d-labels-fresh",
    over=(LABELS, FADING, TRIMMED, "sparser-soup", "uniform-soup", RULE, "recalibrated", "admissible"),
    tests=(("cifar100-vgg-small-short-fresh", LABELS), ("cifar100-vgg-small-short-fresh", RULE)),
    harmless=(
        *(("mnist1d-short-fresh", LABELS), ("mnist1d-labels-fresh", LABELS), (EARLIER, LABELS)),
        *(("mnist1d-labels-fresh", FADING), (EARLIER, FADING)),
    ),
    others=(LABELS, FADING, TRIMMED, RULE),
    introduction="""\
The same settings on fresh seeds, and the same eleven earlier seeds, for the balanced soup. The tests that were planned
are below the table. All else describes, and nothing is corrected.""",
)
INQUIRIES = (WITH_LABELS, WITH_BALANCE)
STUDIES = tuple(name for inquiry in INQUIRIES for name in inquiry.studies)
"""The studies that were made for these inquiries."""


def page(studies: Mapping[str, Study | None]) -> str:
    """The parts of the page of answers that are about these inquiries; empty where none of their studies has been run.

    Args:
        studies: those of `STUDIES` and of `EXISTING`, by name; none where there are no rows.
    """
    return "\n".join(
        _answered(inquiry, studies) for inquiry in INQUIRIES if any(studies[name] for name in inquiry.studies)
    )


@dataclass(frozen=True)
class _Measured:
    """The rows that answer an inquiry."""

    studies: Mapping[str, Study | None]
    existing: Sequence[Study]
    """The seeds of `EXISTING` on which the method was run."""

    @classmethod
    def of(cls, inquiry: Inquiry, studies: Mapping[str, Study | None]) -> _Measured:
        """Those of an inquiry among the studies, by name."""
        existing = [
            Study.of(name, (row for row in study.rows if row.seed in seeds))
            for name, seeds in EXISTING.items()
            if (study := studies[name]) and study.whole(inquiry.method)
        ]
        return cls(studies, existing)

    def gain(self, name: str, method: str, against: str) -> Gain | None:
        """The gain of a method over another in one study, or over the seeds of `EARLIER`; none where rows are missing.

        Earlier seeds have an answer where all of their studies have both methods.
        """
        if name == EARLIER:
            measured = [study for study in self.existing if study.whole(method) and study.whole(against)]
            return answers.over_all_seeds(measured, method, against) if len(measured) == len(EXISTING) else None
        study = self.studies[name]
        return answers.gain_over(study, method, against) if study else None


def _answered(inquiry: Inquiry, studies: Mapping[str, Study | None]) -> str:
    """The part about one inquiry: a table of differences, the planned tests, and where pools lose."""
    rows, measured = [], _Measured.of(inquiry, studies)
    for method, against in inquiry.pairs:
        gains = [measured.gain(name, method, against) for name in (*inquiry.studies, EARLIER)]
        if any(gains):
            cells = (answers.answered(gain, "–") for gain in gains)
            rows.append((f"{label(method)} over {label(against)}", *cells))
    columns = ("Difference", *inquiry.studies, EARLIER)
    return "\n".join(
        (
            markdown(Table(inquiry.title, columns, tuple(rows), note=inquiry.introduction)),
            "The planned tests, corrected for their number by Holm's method (p is not corrected):\n",
            _tests(inquiry, measured),
            "That it harms nowhere else:\n",
            _harmless(inquiry, measured),
            f"Where {label(inquiry.method)} and {label(FADING)} lose:\n",
            _losses(inquiry, studies),
        )
    )


def _tests(inquiry: Inquiry, measured: _Measured) -> str:
    gains = [measured.gain(name, inquiry.method, against) for name, against in inquiry.tests]
    return "".join(
        f"- `{name}`, over {label(against)}: {answers.tested(gain, word) if gain else 'not yet run'}.\n"
        for (name, against), gain, word in zip(inquiry.tests, gains, answers.corrected(gains), strict=True)
    )


def _harmless(inquiry: Inquiry, measured: _Measured) -> str:
    lines = []
    for name, against in inquiry.harmless:
        answer = answers.answered(measured.gain(name, inquiry.method, against), "not yet run")
        lines.append(f"- {name if name == EARLIER else f'`{name}`'}, over {label(against)}: {answer}.\n")
    return "".join(lines)


def _losses(inquiry: Inquiry, studies: Mapping[str, Study | None]) -> str:
    lines = []
    for name in (*inquiry.studies, *EXISTING):
        study = studies[name]
        for method in (inquiry.method, FADING):
            if study and study.whole(method):
                lost = answers.losses(study.compared(method, "recalibrated"))
                lines.append(f"- `{name}`, {label(method)}: {lost}.\n")
    return "".join(lines)

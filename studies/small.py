"""Holds the tickets of a run beside those of a study: the same levels of the same seed, trained again.

    python -m studies.small runs/study-small docs/results/cifar10-resnet

On the kind of machine that the study was made on, with one thread, the rows are equal to the sample; on another,
arithmetic differs in the last bits, training amplifies that, and accuracies differ as seeds do.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lottery_pools.experiment import report as reports
from lottery_pools.reporting import terminal


def lines(again: Path, study: Path) -> list[tuple[str, ...]]:
    """(level, method, accuracy of the study, accuracy here, whether every prediction's hit is the same) a row."""
    of_study = {(row.seed, *row.key): row for row in reports.read(study)[1]}
    result: list[tuple[str, ...]] = []
    for row in reports.read(again)[1]:
        known = of_study.get((row.seed, *row.key))
        if row.method in ("ticket", "recalibrated") and (row.split, row.corruption) == ("test", "none") and known:
            same = "yes" if row.hits == known.hits else "no"
            result.append((str(row.level), row.method, f"{known.accuracy:.2%}", f"{row.accuracy:.2%}", same))
    return result


if __name__ == "__main__":
    columns = ("Level", "Network", "Study", "Here", "Every sample alike")
    terminal.table("Test accuracy, trained again", columns, lines(Path(sys.argv[1]), Path(sys.argv[2])))

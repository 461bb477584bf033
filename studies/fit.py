"""How well the tickets of studies fit the images that they were trained on, as CSV.

    python -m studies.fit runs/cifar10-resnet runs/cifar100-resnet runs/cifar10-vgg > docs/results/fit.csv

Training images as they are, not augmented. `data` begins the SHA-256 of their pixels, at the size that the network
sees and in their order: a run on other files, or on the same ones shuffled, has other training images.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from lottery_pools.config import toml
from lottery_pools.experiment import opening
from lottery_pools.experiment.selection import logits
from lottery_pools.tickets.measures import hits
from lottery_pools.tickets.ticket import load_into

COLUMNS = ("study", "seed", "level", "density", "correct", "n", "data")


def rows(folder: Path) -> Iterator[tuple[str, int, int, float, int, int, str]]:
    """One row a ticket of the study in `folder`, as `COLUMNS` says."""
    config = toml.of_folder(folder)
    for run in opening.resolve(config, folder).runs:
        model, train = run.network(), run.dataset.train
        data = hashlib.sha256(train.images.cpu().numpy().tobytes()).hexdigest()[:16]
        for ticket in run.tickets(model):
            load_into(model, ticket.weights)
            correct = int(hits(logits(model, config, run.dataset, train), train.labels).sum())
            yield config.name, run.seed, ticket.level, round(ticket.density, 4), correct, len(train), data


if __name__ == "__main__":
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    for folder in sys.argv[1:]:
        table.writerows(rows(Path(folder)))

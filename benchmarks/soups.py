"""What chooses among means of consecutive tickets: nothing, labels, or agreement with all tickets together.

    python -m benchmarks.soups runs/mnist1d

For every target the soup is trimmed as by `trimmed-soup`, without denser tickets, by several scores. The networks are
the same for all of them: the mean of levels lo to hi, for all lo and hi, with BatchNorm re-estimated on all images of
`pooling.recalibration`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lottery_pools.config import toml
from lottery_pools.evaluation.intervals import paired_intervals
from lottery_pools.experiment import opening
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.selection import logits
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.likelihood import log_likelihood
from lottery_pools.runs.engine import Machine
from lottery_pools.tickets.measures import hits
from lottery_pools.tickets.ticket import load_into

Soup = tuple[int, int]
"""Its densest and its sparsest level."""
Score = Callable[[Soup], Tensor]
"""One value a sample, higher is better."""
MARGIN = 0.5
"""Standard errors by which the score must rise for a ticket to leave the soup."""


def soups(levels: int) -> Iterator[Soup]:
    """All soups of consecutive levels."""
    return ((lo, hi) for lo in range(levels) for hi in range(lo, levels))


def outputs(run: Run) -> dict[str, dict[Soup, Tensor]]:
    """The logits of every soup on validation, test and training samples, by split."""
    model, dataset = run.network(), run.dataset
    splits = {"validation": dataset.validation, "test": dataset.test, "training": dataset.train}
    tickets, result = run.tickets(model), {name: dict[Soup, Tensor]() for name in splits}
    for lo, hi in soups(len(tickets)):
        members = [ticket.weights for ticket in tickets[lo : hi + 1]]
        load_into(model, arithmetic.weighted(tickets[lo].weights, members, [1 / len(members)] * len(members)))
        run.recalibrate(model)
        for name, split in splits.items():
            result[name][lo, hi] = logits(model, run.config, dataset, split)
    return result


def trimmed(score: Score, target: int, last: int) -> Soup:
    """The soup of the target and all sparser tickets, trimmed at its ends while its score rises by the margin."""
    lo, hi = target, last
    while lo < hi:
        better = [soup for soup in ((lo + 1, hi), (lo, hi - 1)) if _is_better(score(soup), score((lo, hi)), MARGIN)]
        if not better:
            break
        lo, hi = better[0]
    alone = (target, target)
    return alone if _is_better(score(alone), score((lo, hi)), 0.0) else (lo, hi)


def _is_better(first: Tensor, second: Tensor, margin: float) -> bool:
    difference = (first - second).double()
    return float(difference.mean()) > margin * float(difference.std()) / math.sqrt(len(difference))


def scores(run: Run, by_split: dict[str, dict[Soup, Tensor]]) -> dict[str, Score]:
    """What soups are compared by."""
    labels, last = run.dataset.validation.labels, max(hi for _, hi in by_split["test"])

    def agreement(split: str) -> Score:
        of_split = by_split[split]
        everything = torch.stack([of_split[level, level].softmax(1) for level in range(last + 1)]).mean(0)
        return lambda soup: log_likelihood(of_split[soup], everything)

    held_out = by_split["validation"]
    return {
        "accuracy on validation samples": lambda soup: hits(held_out[soup], labels).float(),
        "likelihood of validation samples": lambda soup: log_likelihood(held_out[soup], labels),
        "agreement on validation inputs": agreement("validation"),
        "agreement on training inputs": agreement("training"),
    }


def gains(run: Run) -> dict[str, list[Tensor]]:
    """For each way to choose, by target: each test sample's hit less the ticket's."""
    by_split, labels = outputs(run), run.dataset.test.labels
    last = max(hi for _, hi in by_split["test"])
    correct = {soup: hits(logits, labels).double() for soup, logits in by_split["test"].items()}
    chosen: dict[str, list[Soup]] = {"nothing: all sparser tickets": [(target, last) for target in range(last + 1)]}
    for name, score in scores(run, by_split).items():
        chosen[name] = [trimmed(score, target, last) for target in range(last + 1)]
    admissible = [[soup for soup in correct if soup[0] >= target] for target in range(last + 1)]
    chosen["test samples: the best possible"] = [
        max(of_target, key=lambda soup: float(correct[soup].mean())) for of_target in admissible
    ]
    return {
        name: [correct[soup] - correct[target, target] for target, soup in enumerate(of_targets)]
        for name, of_targets in chosen.items()
    }


def table(by_seed: Sequence[dict[str, list[Tensor]]]) -> str:
    """Markdown: for each way to choose the mean gain over targets, with its interval over seeds, and by level."""
    levels = len(next(iter(by_seed[0].values())))
    heads = ["chosen by", "test gain [95 % interval]", "losses", *(f"level {level}" for level in range(levels))]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name in by_seed[0]:
        samples = torch.stack([torch.stack(of_seed[name]) for of_seed in by_seed])  # (seeds, levels, samples)
        mean, low, high = paired_intervals(100 * samples.mean(1).numpy()[None])
        cells = 100 * samples.mean(2)
        by_level = [f"{value:+.2f}" for value in cells.mean(0).tolist()]
        interval = f"{float(mean[0]):+.2f} [{float(low[0]):+.2f}, {float(high[0]):+.2f}]"
        lines.append(f"| {' | '.join([name, interval, f'{int((cells < 0).sum())} of {cells.numel()}', *by_level])} |")
    return "\n".join(lines)


def runs_of(folder: Path, seeds: Sequence[int] = ()) -> list[Run]:
    """The runs of an experiment's folder, of some seeds or, where none are named, of all."""
    experiment = opening.resolve(toml.of_folder(folder), folder, Machine(device="cpu"))
    by_seed = {run.seed: run for run in experiment.runs}
    return [by_seed[seed] for seed in seeds or by_seed]


if __name__ == "__main__":
    print(table([gains(run) for run in runs_of(Path(sys.argv[1]))]))

"""Our searches beside the paper's, on the tickets of finished runs: images, time and test accuracy, target by target.

    python -m benchmarks.search runs/cifar100-resnet runs/cifar10-resnet --out search.jsonl --targets 1 4 7 \
        --selection 1000 2000 5000 --exact

All searches of a target are made in turn in one process. `--selection` are the validation samples that choose, for the
trimmed soup too, which takes 1,000 by itself. `--exact` adds the paper's search to the letter:
BatchNorm re-estimated on the whole augmented training set for every coefficient, all validation samples. What is in
`--out` already is not made again; without folders the tables of `--out` are printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.soups import runs_of
from lottery_pools.data.sources import stratified
from lottery_pools.evaluation.intervals import paired_intervals
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.selection import Selection, logits
from lottery_pools.pooling.methods import BY_SCORE, find
from lottery_pools.runs import engine
from lottery_pools.runs.rows import pack_hits, unpack
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import files
from lottery_pools.tickets.measures import hits
from lottery_pools.tickets.ticket import Ticket, load_into

PAPER, EXACT, TICKET = "interpolation", "interpolation, exact", "recalibrated"


@dataclass(frozen=True)
class Outcome:
    """One search of one target, or the recalibrated ticket that it is compared with."""

    run: str
    search: str
    selection: int
    """Validation samples that it might choose by."""
    level: int
    seed: int
    images: int
    """Forwarded; one whose loss is differentiated counts as three."""
    seconds: float
    n: int
    hits: str
    """Which test samples are predicted correctly, one bit each, base64."""

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """What was done."""
        return self.run, self.search, self.selection, self.level, self.seed

    @property
    def target(self) -> tuple[str, int, int]:
        """What was searched for: (run, seed, level)."""
        return self.run, self.seed, self.level

    @property
    def correct(self) -> NDArray[np.float64]:
        """(n,), 1 where the prediction is correct."""
        return unpack(self.hits, self.n).astype(float)


@dataclass(frozen=True)
class Searches:
    """What is tried on every target."""

    names: Sequence[str]
    """Methods, and `EXACT`."""
    selections: Sequence[int]
    """Numbers of validation samples that choose."""

    def of(self, validation: int) -> list[tuple[str, int]]:
        """(search, validation samples), the recalibrated ticket first."""
        methods = [name for name in self.names if name != EXACT]
        tried = [(name, min(n, validation)) for n in self.selections for name in methods]
        exact = [(EXACT, validation)] if EXACT in self.names else []
        return [(TICKET, validation), *tried, *exact]


def outcomes(run: Run, targets: Sequence[int], searches: Searches, done: set[tuple[object, ...]]) -> Iterator[Outcome]:
    """Every search of every target of one seed that is not `done`, each target's recalibrated ticket first."""
    model, dataset = run.network(), run.dataset
    tickets = run.tickets(model)
    for target in targets:
        for name, n in searches.of(len(dataset.validation)):
            if (run.config.name, name, n, target, run.seed) in done:
                continue
            start, images = time.perf_counter(), 0
            if name == TICKET:
                load_into(model, tickets[target].weights)
            else:
                images = _search(run, model, tickets, _selection(run, name, n, target))
            seconds = time.perf_counter() - start
            run.recalibrate(model)  # all alike
            correct = hits(logits(model, run.config, dataset, dataset.test), dataset.test.labels).cpu().numpy()
            yield Outcome(run.config.name, name, n, target, run.seed, images, seconds, len(correct), pack_hits(correct))


def _selection(run: Run, name: str, n: int, target: int) -> Selection:
    """What a search is scored on that may choose by `n` validation samples."""
    dataset, config = run.dataset, run.config
    chosen = stratified(dataset.validation.labels.cpu(), n, generator(run.seed, "selection", n))
    smaller = replace(dataset, validation=dataset.validation.take(chosen.to(dataset.device)))
    recalibration = "all" if name == EXACT else config.pooling.recalibration
    pooling = replace(config.pooling, recalibration=recalibration, selection=n)
    return Selection(replace(config, pooling=pooling), smaller, run.seed, find(name.partition(",")[0]), target)


def _search(run: Run, model: nn.Module, tickets: Sequence[Ticket], selection: Selection) -> int:
    """Search, and leave the pooled network in `model`; returns the images that were forwarded."""
    base = files.load(run.folder.rewind, model).weights
    pooled, images = selection.pool(model, tickets, base=base)
    load_into(model, pooled.ticket.weights)
    return images


def gain(outcomes: Sequence[Outcome], against: Sequence[Outcome]) -> tuple[float, float, float, int]:
    """Mean difference in test accuracy over targets and seeds, percentage points, with its 95 % interval; seeds.

    A seed of another run is another seed; test sets are of one size.
    """
    references = {outcome.target: outcome.correct for outcome in against}
    differences: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: (outcome.run, outcome.seed)):
        difference = outcome.correct - references[outcome.target]
        differences.setdefault((outcome.run, outcome.seed), []).append(difference)
    by_seed = np.stack([np.mean(targets, axis=0) for targets in differences.values()])
    mean, low, high = paired_intervals(100 * by_seed[None])
    return float(mean[0]), float(low[0]), float(high[0]), len(by_seed)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown for one run: for each search its gain over the recalibrated ticket, overall and by level, and cost."""
    tickets = [outcome for outcome in outcomes if outcome.search == TICKET]
    levels = sorted({outcome.level for outcome in outcomes})
    heads = ("search", "selection samples", "seeds", "test gain [95 % interval]", "images a target", "seconds a target")
    lines = [
        f"| {' | '.join([*heads, *(f'level {level}' for level in levels)])} |",
        "|---|" + "---:|" * (len(heads) - 1 + len(levels)),
    ]
    by_search: dict[tuple[str, int], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.search != TICKET:
            by_search.setdefault((outcome.search, outcome.selection), []).append(outcome)
    for (name, n), searched in by_search.items():
        mean, low, high, seeds = gain(searched, tickets)
        by_level = [_gain_at(searched, tickets, level) for level in levels]
        images = np.mean([outcome.images for outcome in searched])
        seconds = np.mean([outcome.seconds for outcome in searched])
        interval = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
        lines.append(
            f"| {' | '.join([name, f'{n:,}', str(seeds), interval, f'{images:,.0f}', f'{seconds:.2f}', *by_level])} |"
        )
    return "\n".join(lines)


def _gain_at(searched: Sequence[Outcome], tickets: Sequence[Outcome], level: int) -> str:
    """The gain at one level; nothing where it was not searched."""
    at_level = [outcome for outcome in searched if outcome.level == level]
    return f"{gain(at_level, tickets)[0]:+.2f}" if at_level else ""


def compared(outcomes: Sequence[Outcome]) -> str:
    """The trimmed soup as it is against the exact search, on the targets and seeds that both have."""
    exact = {outcome.target: outcome for outcome in outcomes if outcome.search == EXACT}
    of_ours = [outcome for outcome in outcomes if outcome.search == BY_SCORE]
    samples = min((outcome.selection for outcome in of_ours), default=0)
    searched = [outcome for outcome in of_ours if outcome.selection == samples and outcome.target in exact]
    return _against(BY_SCORE, searched, [exact[outcome.target] for outcome in searched]) if searched else ""


def _against(name: str, searched: Sequence[Outcome], exact: Sequence[Outcome]) -> str:
    """One search beside the exact one, on the same targets, in a sentence."""
    mean, low, high, seeds = gain(searched, exact)
    images = np.mean([outcome.images for outcome in exact]) / np.mean([outcome.images for outcome in searched])
    seconds = np.sum([outcome.seconds for outcome in exact]) / np.sum([outcome.seconds for outcome in searched])
    return (
        f"{name} against the exact search ({len(searched)} targets of {seeds} seeds): {images:.0f}× fewer images, "
        f"{seconds:.0f}× less time, test accuracy {mean:+.2f} [{low:+.2f}, {high:+.2f}] points."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", help="folders of finished runs")
    parser.add_argument("--out", type=Path, required=True, help="rows, one a line; what is there is not made again")
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 4, 7])
    parser.add_argument("--selection", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--searches", nargs="+", default=[BY_SCORE, PAPER])
    parser.add_argument("--exact", action="store_true", help="the paper's search to the letter too")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Search what is not in `--out` yet, then print the tables."""
    options = _options()
    engine.prepare(options.threads)
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    known = [Outcome(**json.loads(line)) for line in lines]
    searches = Searches([*options.searches, *([EXACT] if options.exact else [])], options.selection)
    for folder in options.folders:
        for run in runs_of(folder, options.seeds or ()):
            done: set[tuple[object, ...]] = {outcome.key for outcome in known}
            for outcome in outcomes(run, options.targets, searches, done):
                known.append(outcome)
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
    runs = list(dict.fromkeys(outcome.run for outcome in known))
    for name in [*runs, *(["all runs"] if len(runs) > 1 else [])]:
        of_run = [outcome for outcome in known if name in (outcome.run, "all runs")]
        print(f"## {name}\n\n{table(of_run)}\n\n{compared(of_run)}\n", flush=True)


if __name__ == "__main__":
    main()

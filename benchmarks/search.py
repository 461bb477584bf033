"""Our searches beside the paper's, on the tickets of finished runs: images, time and test accuracy, target by target.

    python -m benchmarks.search runs/cifar100-resnet runs/cifar10-resnet --out search.jsonl --targets 1 4 7 \
        --selection 1000 2000 5000 --exact

All searches of a target are made in turn in one process. `--selection` are the validation samples that choose, for the
default method too, which takes 1,000 by itself. `--exact` adds the paper's search to the letter:
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

from lottery_pools.config import toml
from lottery_pools.data.sources import stratified
from lottery_pools.evaluation.metrics import paired_intervals
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.selection import Selection, hits, logits
from lottery_pools.pooling.methods import DEFAULT, find
from lottery_pools.runs import engine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import pack_hits, unpack
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import load_into

PAPER, EXACT, TICKET = "interpolation", "interpolation, exact", "recalibrated"


@dataclass(frozen=True)
class Found:
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
        return self.run, self.search, self.selection, self.level, self.seed

    @property
    def correct(self) -> NDArray[np.float64]:
        """(n,), 1 where the prediction is correct."""
        return unpack(self.hits, self.n).astype(float)


def searches(
    run: Run, targets: Sequence[int], selections: Sequence[int], names: Sequence[str], done: set[tuple[object, ...]]
) -> Iterator[Found]:
    """Every search of every target of one seed that is not `done`, each target's recalibrated ticket first."""
    model, dataset, config = run.network(), run.dataset, run.config
    tickets = run.tickets(model)
    base = files.load(run.folder.rewind, model).weights
    most = len(dataset.validation)
    tasks = [(TICKET, most)]
    tasks += [(name, min(n, most)) for n in selections for name in names if name != EXACT]
    tasks += [(EXACT, most)] * (EXACT in names)

    for target in targets:
        for name, n in tasks:
            if (config.name, name, n, target, run.seed) in done:
                continue
            chosen = stratified(dataset.validation.labels.cpu(), n, generator(run.seed, "selection", n))
            few = replace(dataset, validation=dataset.validation.take(chosen.to(dataset.device)))
            pooling = replace(config.pooling, recalibration="all") if name == EXACT else config.pooling
            own = replace(config, pooling=replace(pooling, selection=n))
            start, images = time.perf_counter(), 0
            if name == TICKET:
                load_into(model, tickets[target].weights)
            else:
                selection = Selection(own, few, run.seed, find(name.partition(",")[0]), target)
                pooled, images = selection.pool(model, tickets, base=base)
                load_into(model, pooled.ticket.weights)
            seconds = time.perf_counter() - start
            run.recalibrate(model)  # all alike
            right = hits(logits(model, config, dataset, dataset.test), dataset.test).cpu().numpy()
            yield Found(config.name, name, n, target, run.seed, images, seconds, len(right), pack_hits(right))


def gain(found: Sequence[Found], against: Sequence[Found]) -> tuple[float, float, float, int]:
    """Mean difference in test accuracy over targets and seeds, percentage points, with its 95 % interval; seeds.

    A seed of another run is another seed; test sets are of one size.
    """
    other = {(one.run, one.level, one.seed): one.correct for one in against}
    seeds = sorted({(one.run, one.seed) for one in found})
    by_seed = [
        np.mean([o.correct - other[o.run, o.level, o.seed] for o in found if (o.run, o.seed) == seed], axis=0)
        for seed in seeds
    ]
    mean, low, high = paired_intervals(100 * np.stack(by_seed)[None])
    return float(mean[0]), float(low[0]), float(high[0]), len(seeds)


def table(found: Sequence[Found]) -> str:
    """Markdown for one run: for each search its gain over the recalibrated ticket, overall and by level, and cost."""
    tickets = [one for one in found if one.search == TICKET]
    levels = sorted({one.level for one in found})
    lines = [
        "| search | selection samples | seeds | test gain [95 % interval] | images a target | seconds a target | "
        + " | ".join(f"level {level}" for level in levels)
        + " |",
        "|---|---:|---:|---:|---:|---:|" + "---:|" * len(levels),
    ]
    for name, n in dict.fromkeys((one.search, one.selection) for one in found if one.search != TICKET):
        some = [one for one in found if (one.search, one.selection) == (name, n)]
        mean, low, high, seeds = gain(some, tickets)
        by_level = []
        for level in levels:
            here = [one for one in some if one.level == level]
            by_level.append(f"{gain(here, tickets)[0]:+.2f}" if here else "")
        lines.append(
            f"| {name} | {n:,} | {seeds} | {mean:+.2f} [{low:+.2f}, {high:+.2f}] "
            f"| {np.mean([one.images for one in some]):,.0f} | {np.mean([one.seconds for one in some]):.2f} | "
            + " | ".join(by_level)
            + " |"
        )
    return "\n".join(lines)


def compared(found: Sequence[Found]) -> str:
    """The default as it is and `best` against the exact search, on the targets and seeds that both have."""
    exact = {(one.run, one.seed, one.level): one for one in found if one.search == EXACT}
    lines = []
    for name, choose in ((DEFAULT, min), ("best", max)):
        samples = choose((one.selection for one in found if one.search == name), default=0)
        own = [o for o in found if (o.search, o.selection) == (name, samples) and (o.run, o.seed, o.level) in exact]
        if own:
            others = [exact[one.run, one.seed, one.level] for one in own]
            mean, low, high, seeds = gain(own, others)
            images = np.mean([one.images for one in others]) / np.mean([one.images for one in own])
            seconds = np.sum([one.seconds for one in others]) / np.sum([one.seconds for one in own])
            lines.append(
                f"{name} against the exact search ({len(own)} targets of {seeds} seeds): {images:.0f}× fewer images, "
                f"{seconds:.0f}× less time, test accuracy {mean:+.2f} [{low:+.2f}, {high:+.2f}] points."
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", help="folders of finished runs")
    parser.add_argument("--out", type=Path, required=True, help="rows, one a line; what is there is not made again")
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 4, 7])
    parser.add_argument("--selection", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--searches", nargs="+", default=[DEFAULT, "best", PAPER])
    parser.add_argument("--exact", action="store_true", help="the paper's search to the letter too")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    engine.prepare(options.threads)
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    found = [Found(**json.loads(line)) for line in lines]
    names = [*options.searches, *([EXACT] if options.exact else [])]
    for folder in options.folders:
        config = toml.of_folder(folder)
        for seed in options.seeds or config.seeds:
            path = folder if len(config.seeds) == 1 else folder / f"seed_{seed}"
            run = Run(replace(config, seeds=(seed,)), seed, RunFolder(path), "cpu")
            done: set[tuple[object, ...]] = {one.key for one in found}
            for one in searches(run, options.targets, options.selection, names, done):
                found.append(one)
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
    runs = list(dict.fromkeys(one.run for one in found))
    for name in [*runs, *(["all runs"] if len(runs) > 1 else [])]:
        some = [one for one in found if name in (one.run, "all runs")]
        print(f"## {name}\n\n{table(some)}\n\n{compared(some)}\n", flush=True)


if __name__ == "__main__":
    main()

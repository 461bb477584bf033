"""The paper's exact search beside the guarded soup, on the tickets of finished runs: images, time, test accuracy.

    python -m benchmarks.search runs/demo runs/cifar100-cpu --targets 1 4 7 --selection 1000 2000 5000 --exact 1

Every search of a target is made in turn in one process. `interpolation, exact` re-estimates BatchNorm on the whole
augmented training set for every coefficient, as the paper does, for the first `--exact` seeds; `interpolation` on as
many images as the run's settings say. `--selection` are the validation samples that choose.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lottery_pools import config as settings
from lottery_pools.data.dataset import Split
from lottery_pools.data.sources import stratified
from lottery_pools.evaluation.evaluate import evaluate
from lottery_pools.evaluation.metrics import paired_intervals
from lottery_pools.pooling.methods import pool
from lottery_pools.runs import engine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets.ticket import load_into
from lottery_pools.tickets.training import inputs, precision, predict
from lottery_pools.work import Run

BATCH = 64


@dataclass(frozen=True)
class Found:
    """One search of one target."""

    search: str
    selection: int
    level: int
    seed: int
    images: int
    """Forwarded; one that is differentiated counts as three."""
    seconds: float
    gain: NDArray[np.float64]
    """(n,) on test samples, over the recalibrated ticket."""


def searches(run: Run, targets: list[int], selections: list[int], exact: bool) -> Iterator[Found]:
    """Every search of every target of one seed."""
    model, dataset = run.network(), run.dataset
    tickets = run.tickets(model)
    tickets = [replace(ticket, weights=dict(ticket.weights), mask=dict(ticket.mask)) for ticket in tickets]

    def hits() -> NDArray[np.float64]:
        return evaluate(model, dataset, dataset.test, run.config.training).hits.astype(float)

    for target in targets:
        load_into(model, tickets[target].weights)
        run.recalibrate(model)
        before = hits()
        for n in selections:
            n = min(n, len(dataset.validation))
            chosen = stratified(dataset.validation.labels.cpu(), n, generator(run.seed, "selection", n))
            split = dataset.validation.take(chosen.to(dataset.device))
            kinds = [("guarded-soup", run), ("interpolation", run)]
            if exact and n == max(selections):
                whole = replace(run.config, pooling=replace(run.config.pooling, recalibration="all"))
                kinds.append(("interpolation, exact", replace(run, config=whole)))
            for name, own in kinds:
                start = time.perf_counter()
                pooled = pool(
                    model,
                    tickets,
                    target,
                    _score(run, split),
                    own.recalibrate,
                    method=name.partition(",")[0],
                    loss=_loss(run, split, target),
                    seed=run.seed,
                )
                seconds = time.perf_counter() - start
                images = pooled.looks * (own.recalibration_images + n) + 3 * BATCH * pooled.losses
                yield Found(name, n, target, run.seed, images, seconds, hits() - before)


def _score(run: Run, split: Split) -> Callable[[nn.Module], Tensor]:
    def score(model: nn.Module) -> Tensor:
        return torch.cat(list(predict(model, run.dataset, split, run.config.training))).argmax(1) == split.labels

    return score


def _loss(run: Run, split: Split, target: int) -> Callable[[nn.Module], Tensor]:
    draws = generator(run.seed, "losses", target)

    def loss(model: nn.Module) -> Tensor:
        batch = torch.randint(len(split), (BATCH,), generator=draws)
        with precision(run.config.training, run.dataset.device):
            output = model(inputs(run.dataset, split.batch(batch), run.config.training))
        return F.cross_entropy(output.float(), split.labels[batch.to(split.labels.device)])

    return loss


def table(found: list[Found]) -> str:
    """Markdown: for each search the mean over targets and seeds, its interval, what it cost, and gains by level."""
    levels = sorted({one.level for one in found})
    groups = list(dict.fromkeys((one.search, one.selection) for one in found))
    lines = [
        "| search | selection images | seeds | test gain [95 % interval] | images a target | seconds a target | "
        + " | ".join(f"level {level}" for level in levels)
        + " |",
        "|---|---:|---:|---:|---:|---:|" + "---:|" * len(levels),
    ]
    for name, n in groups:
        some = [one for one in found if (one.search, one.selection) == (name, n)]
        seeds = sorted({one.seed for one in some})
        by_seed = [np.mean([one.gain for one in some if one.seed == seed], axis=0) for seed in seeds]
        mean, low, high = paired_intervals(100 * np.stack(by_seed)[None])
        cells = (f"{100 * np.mean([one.gain.mean() for one in some if one.level == level]):+.2f}" for level in levels)
        lines.append(
            f"| {name} | {n:,} | {len(seeds)} | {mean[0]:+.2f} [{low[0]:+.2f}, {high[0]:+.2f}] "
            f"| {np.mean([one.images for one in some]):,.0f} | {np.mean([one.seconds for one in some]):.2f} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines)


def compared(found: list[Found]) -> str:
    """The guarded soup against the exact search, on the targets and seeds that both have."""
    exact = {(one.seed, one.level): one for one in found if one.search.endswith("exact")}
    most = max(one.selection for one in found)
    own = {(o.seed, o.level): o for o in found if o.search == "guarded-soup" and o.selection == most}
    if not exact:
        return ""
    pairs = [(own[key], exact[key]) for key in exact]
    seeds = sorted({one.seed for one, _ in pairs})
    differences = [np.mean([a.gain - b.gain for a, b in pairs if a.seed == seed], axis=0) for seed in seeds]
    mean, low, high = paired_intervals(100 * np.stack(differences)[None])
    images = np.mean([b.images for _, b in pairs]) / np.mean([a.images for a, _ in pairs])
    seconds = np.sum([b.seconds for _, b in pairs]) / np.sum([a.seconds for a, _ in pairs])
    return (
        f"Guarded soup against the exact search ({len(pairs)} targets of {len(seeds)} seeds): {images:.0f}× fewer "
        f"images, {seconds:.0f}× less time, test accuracy {mean[0]:+.2f} [{low[0]:+.2f}, {high[0]:+.2f}] points."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 4, 7])
    parser.add_argument("--selection", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--exact", type=int, default=0, help="seeds for which the paper's exact search is made")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    engine.prepare(options.threads)
    for folder in options.folders:
        config = settings.of_folder(folder)
        found: list[Found] = []
        for number, seed in enumerate(config.seeds):
            path = folder if len(config.seeds) == 1 else folder / f"seed_{seed}"
            run = Run(replace(config, seeds=(seed,)), seed, RunFolder(path), "cpu")
            found += searches(run, options.targets, options.selection, number < options.exact)
        print(f"## {config.name}\n\n{table(found)}\n\n{compared(found)}\n", flush=True)


if __name__ == "__main__":
    main()

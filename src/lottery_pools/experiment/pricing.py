"""What the tasks of a plan cost: images, mixtures and bytes, foreseen without doing any of the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from lottery_pools.errors import UserError
from lottery_pools.experiment import searches
from lottery_pools.experiment.conditions import Condition, size_of
from lottery_pools.experiment.networks import levels_of_rows, recalibrates
from lottery_pools.experiment.plan import Part
from lottery_pools.experiment.run import NetworkFacts, Run
from lottery_pools.experiment.searches import Search
from lottery_pools.experiment.selection import Selection, recalibration_images
from lottery_pools.experiment.timing import Cost
from lottery_pools.runs.rows import ENSEMBLE
from lottery_pools.tickets import held_out, training_costs

CORRUPTING = 10.0
"""Images that a small network forwards while one is corrupted, about."""
ROW_BYTES = 450
"""Of a result row without its hits, about."""
NOTHING = Cost()


def price(part: Part, network: NetworkFacts) -> list[Cost]:
    """What each task of a part costs that is left, in their order."""
    prices: dict[str, Callable[..., Cost]] = {
        "training": training,
        "pooling": pooling,
        "tuning": tuning,
        "corruption": corrupting,
        "evaluation": measuring,
    }
    return [prices[part.stage](network, *task.arguments) for task in part.left]


def logged(parts: Iterable[Part], network: NetworkFacts) -> dict[str, float]:
    """How much the runs' logs will count as done in each stage, to show live progress."""
    amounts = {}
    for part in parts:
        if not part.left:
            continue
        total = sum(price(part, network), NOTHING)
        amounts[part.stage] = {
            "training": 3.0 * total.trained,
            "pooling": total.recalibrated + total.forwarded + 3.0 * total.trained,
            "tuning": 3.0 * total.trained,
            "corruption": CORRUPTING * total.corrupted,
            "evaluation": float(total.forwarded),
        }[part.stage]
    return amounts


def training(network: NetworkFacts, run: Run) -> Cost:
    """The tickets of a run that are not there yet."""
    samples = run.dataset.epoch_size
    total = NOTHING if run.folder.rewind.exists() else Cost(written=network.ticket_bytes)
    images_before = 0
    for level in run.levels:
        images_after = training_costs.train_images(run.config, samples, level)
        if not run.folder.ticket(level).exists():
            total += _ticket(network, run, level, images_after - images_before)
        images_before = images_after
    return total


def _ticket(network: NetworkFacts, run: Run, level: int, images: int) -> Cost:
    """One ticket, trained on so many images."""
    samples, keep = run.dataset.epoch_size, run.config.training.keep
    copies = run.config.pruning.copies if level else 1
    refits = copies if keep in ("swa", "ema") else 0
    if copies > 1:
        refits += 1  # of the mean of the copies
    scored = len(run.dataset.epochs) * round(images / samples) if keep == "best" else 0
    return Cost(trained=images, recalibrated=refits * samples, forwarded=scored, written=network.ticket_bytes)


def pooling(network: NetworkFacts, run: Run, search: Search, target: int) -> Cost:
    """One pooled ticket. Raises UserError where the budget does not suffice."""
    selection, method = searches.selection(run, search, target), search.method
    count = evaluations(selection, selection.max_evaluations(network.has_batchnorm))
    return Cost(
        trained=method.gradient_steps * selection.batch,
        recalibrated=count * selection.images + selection.final_images if network.has_batchnorm else 0,
        forwarded=count * len(selection.split) + selection.sample_images,
        # to differentiate by a ticket's share costs about as much as to mix it in
        mixed=count + method.gradient_steps * len(run.levels),
        written=network.ticket_bytes,
    )


def evaluations(selection: Selection, limit: int | None) -> int:
    """How many networks a search evaluates, at most or about; no more than `limit`, where there is one.

    Raises UserError where a limit does not suffice for a method that cannot stop early.
    """
    method = selection.method
    needed = method.evaluations(selection.offer)
    if limit is None or needed <= limit:
        return needed
    if not method.stops_early:
        raise UserError(
            f"pooling.budget allows {limit} evaluations for level {selection.target}, {method.name} needs {needed}: "
            "raise it, or choose a method that stops in time (trimmed-soup, average, interpolation)"
        )
    return limit


def check_pooling(network: NetworkFacts, run: Run, methods: Sequence[str]) -> None:
    """Raise UserError before any work where pooling would fail.

    That is where there are too few tickets, a method is not for the task, or `pooling.budget` does not suffice.
    """
    if len(run.levels) < 2:
        raise UserError("a pool of one ticket: train at least two, with pruning.levels 1 or more, or import two")
    task = run.config.data.task
    named = [searches.find(run, name) for name in methods]
    for method in [search.method for search in named]:
        if method.classifies and task != "single-label":
            raise UserError(
                f"{method.name} needs one label a sample, and data.task is {task}: leave it out of pooling.methods, or "
                "choose trimmed-soup"
            )
    if run.config.pooling.budget is None:
        return
    for search in named:
        for target in run.targets:
            pooling(network, run, search, target)


def tuning(network: NetworkFacts, run: Run, name: str, level: int) -> Cost:
    """One network, fine-tuned on the held-out samples, at most."""
    images = held_out.most_images(run.config.training, len(run.dataset.validation))
    return Cost(trained=images, written=network.ticket_bytes)


def corrupting(network: NetworkFacts, run: Run, condition: Condition) -> Cost:
    """The test samples of one corruption, as cached."""
    samples = size_of(run, condition)
    return Cost(corrupted=samples, written=samples * math.prod(run.dataset.input_shape))


def measuring(network: NetworkFacts, run: Run, method: str, level: int, conditions: Sequence[Condition]) -> Cost:
    """The rows of one network, on the conditions on which it was not measured yet."""
    rows = len(levels_of_rows(run, method, level))
    sizes = [size_of(run, condition) for condition in conditions]
    recalibrated = 0
    if network.has_batchnorm and (method == ENSEMBLE or recalibrates(method)):
        recalibrated = rows * recalibration_images(run.config, run.dataset)
    written = rows * sum(ROW_BYTES + size // 6 for size in sizes)
    return Cost(recalibrated=recalibrated, forwarded=rows * sum(sizes), written=written)

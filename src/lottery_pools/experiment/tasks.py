"""One seed's work, in pieces that a worker process does by itself: train, pool one target, measure one network."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.evaluation import cost, ensemble
from lottery_pools.evaluation.evaluate import Measured, evaluate, measured
from lottery_pools.experiment import placement, ticket_cache
from lottery_pools.experiment.placement import Place
from lottery_pools.experiment.run import CLEAN, Condition, Run, Search, recalibrates
from lottery_pools.experiment.selection import logits, metric, metric_name
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.result import Pooled
from lottery_pools.runs.rows import ENSEMBLE, AnyRow, MetricRow, Row, merit, pack_hits, pack_values
from lottery_pools.tickets import files, held_out, imp, losses, measures, retraining, rigl
from lottery_pools.tickets.ticket import Ticket, load_into
from lottery_pools.tickets.training import Epoch


def train(run: Run) -> None:
    """Train the tickets of one seed, those that are not there yet."""
    images, densities = run.dataset.epoch_size, run.config.pruning.schedule()
    there = {level for level in run.levels if run.folder.ticket(level).exists()}

    def begin(level: int) -> None:
        if level in run.levels and level not in there:
            epochs = retraining.epochs(run.config, level)
            run.folder.event(stage="training", level=level, epochs=epochs, density=densities[level], done=0)

    def log(level: int, epoch: Epoch) -> None:
        epochs = retraining.epochs(run.config, level)
        values = dataclasses.asdict(epoch)
        values[measures.NAMES[run.dataset.task]] = values.pop("accuracy")
        run.folder.event(stage="training", level=level, epochs=epochs, done=3 * images, **values)

    begin(0)
    tickets = rigl.tickets if run.config.pruning.criterion == "rigl" else imp.tickets
    for ticket in tickets(run.config, run.dataset, run.folder, run.seed, log):
        if ticket.level in there:
            run.check_place(run.folder.ticket(ticket.level), ticket, ticket.level)
        else:
            value = {measures.NAMES[run.dataset.task]: ticket.origin.get("accuracy")}
            run.folder.event(stage="ticket", level=ticket.level, density=ticket.density, **value)
        begin(ticket.level + 1)


def pool(run: Run, search: Search, target: int) -> None:
    """Pool one target; the pooled ticket is saved with its recipe."""
    run.folder.event(stage="pooling", method=search.name, level=target)
    ticket = pooled(run, search, target)
    files.save(ticket, run.folder.pool(search.name, target))
    score = {"accuracy" if run.config.measures_accuracy else "score": ticket.origin["score"]}
    run.folder.event(stage="pooling", method=search.name, level=target, done=ticket.origin["search_images"], **score)


def pooled(run: Run, search: Search, target: int) -> Ticket:
    """The pooled ticket of one target, with all that its file says of where it came from."""
    model, selection, paths = run.network(), run.selection(search, target), run.pool_of(search, target)
    rewind = [run.folder.rewind] if run.folder.rewind.exists() else []  # a run of imported checkpoints may have none
    loaded = ticket_cache.of_this_process().load([*paths.values(), *rewind], model)
    tickets, base = loaded[: len(paths)], loaded[-1].weights if rewind else None
    for (level, path), ticket in zip(paths.items(), tickets, strict=True):
        if path == run.folder.ticket(level):
            run.check_place(path, ticket, level)
        else:
            placement.check(Place(path, level), ticket.level, ticket.origin)
    outcome, images = selection.pool(model, tickets, base=base, allow_other_run=search.allow_other_run)
    origin = {
        **_lineage(run, search, target, dict(zip(paths, tickets, strict=True))),
        **_outcome(outcome, images, _score_name(run, selection.method)),
        "threads": torch.get_num_threads(),
        "device": run.device_here,
        # Of this call, and perhaps not of the run's settings: another search may follow with another one.
        **({} if run.config.pooling.budget is None else {"budget": run.config.pooling.budget}),
    }
    return replace(outcome.ticket, origin=origin)


def _lineage(run: Run, search: Search, target: int, tickets: Mapping[int, Ticket]) -> dict[str, Any]:
    """Where a pooled ticket comes from: what its target says of itself, and the tickets that were pooled."""
    of_target, of_last = tickets[target].origin, tickets[run.levels[-1]].origin
    paths, cache = run.pool_of(search, target), ticket_cache.of_this_process()
    return {
        **of_target,
        **imp.data_origin(run.dataset),  # tickets of earlier versions do not say it
        "target": target,
        "parents": {str(level): cache.digest(path) for level, path in paths.items()},
        "candidates": os.path.relpath(search.candidates.path, run.folder.path),
        "train_images": max(of_target["train_images"], of_last["train_images"]),
    }


def _score_name(run: Run, method: Method) -> str:
    """What a method's search was scored by, as it is told."""
    return method.scored_by if method.scored_by == "log-likelihood" else metric_name(run.config)


def _outcome(pooled: Pooled, images: int, scored_by: str) -> dict[str, Any]:
    """What the search says of a pooled ticket: its recipe, its scores, and the `images` that it forwarded."""
    origin = pooled.ticket.origin
    return {
        **{key: origin[key] for key in origin if key != "mixed"},  # `parents` has the digests of their files
        "scored_by": scored_by,
        "score": pooled.score,
        "target_score": pooled.target_score,
        "trials": [trial.to_file() for trial in pooled.trials],
        "search_images": images,
    }


def tune(run: Run, name: str, level: int) -> None:
    """Fine-tune a network of one level on the held-out samples, as the control of that name."""
    model = run.network()
    before = files.load(run.untuned(name, level), model)
    tuned = held_out.tune(model, before, run.dataset, run.config.training, run.seed)
    kept = ("config", "seed", "data", "model", "density", "search_images")
    origin = {
        **{key: before.origin[key] for key in kept if key in before.origin},
        "tuned": {"network": name, "rate": tuned.rate, "images": tuned.images},
        "train_images": before.origin["train_images"] + tuned.images,
    }
    files.save(Ticket(tuned.weights, before.mask, level, origin), run.folder.tuned(name, level))
    run.folder.event(stage="tuning", method=name, level=level, done=3 * tuned.images)


def corrupt(run: Run, condition: Condition) -> None:
    """Make the test samples of one corruption, once and cached, before networks are measured on them."""
    run.samples(condition)


@dataclass(frozen=True)
class _Network:
    """What the rows of a network say of the network itself."""

    method: str
    level: int
    density: float
    train_images: int
    search_images: int
    flops: int
    nonzero: float | None = None
    tensors: str = ""


def measure(run: Run, method: str, level: int, conditions: tuple[Condition, ...]) -> list[Row] | list[MetricRow]:
    """The rows of one network, one a condition; of the ensemble, the same for every level."""
    rows = _measure_ensemble(run, conditions) if method == ENSEMBLE else _measure(run, method, level, conditions)
    done, last = sum(row.n for row in rows), rows[-1]
    measured = {"accuracy": last.accuracy} if isinstance(last, Row) else {"metric": last.metric, "value": last.value}
    run.folder.event(stage="evaluation", method=method, level=level, done=done, **measured)
    return rows


def _measure(run: Run, method: str, level: int, conditions: Sequence[Condition]) -> list[Row] | list[MetricRow]:
    model = run.network()
    ticket = run.measured(method, level, model)
    load_into(model, ticket.weights)
    search_images = ticket.origin.get("search_images", 0)
    if recalibrates(method):
        search_images += run.recalibrate(model)
    flops = cost.flops(model, run.dataset.input_shape, ticket.mask)
    network = _Network(
        method,
        level,
        ticket.density,
        ticket.origin["train_images"],
        search_images,
        flops,
        ticket.nonzero_density,
        files.tensors_digest(run.path(method, level)),
    )
    training, batch = run.config.training, run.config.evaluation.batch
    if not run.config.measures_accuracy:
        return [_metric_row(run, network, condition, model) for condition in conditions]
    return [
        _row(run, network, condition, evaluate(model, run.dataset, run.samples(condition), training, batch))
        for condition in conditions
    ]


def _measure_ensemble(run: Run, conditions: Sequence[Condition]) -> list[Row]:
    """The naive ensemble of all recalibrated tickets, which takes as many forward passes."""
    model = run.network()
    tickets = run.tickets(model)
    recalibrated: list[int] = []

    def recalibrate(member: nn.Module) -> None:
        recalibrated.append(run.recalibrate(member))

    def predict(member: nn.Module) -> Iterator[Tensor]:
        for condition in conditions:
            yield logits(member, run.config, run.dataset, run.samples(condition))

    means = ensemble.mean_log_probabilities(model, tickets, predict, recalibrate, run.dataset.task)
    flops = sum(cost.flops(model, run.dataset.input_shape, ticket.mask) for ticket in tickets)
    train_images = tickets[-1].origin["train_images"]
    networks = [
        _Network(ENSEMBLE, ticket.level, ticket.density, train_images, sum(recalibrated), flops) for ticket in tickets
    ]
    measures = [
        measured(mean, run.samples(condition).labels) for mean, condition in zip(means, conditions, strict=True)
    ]
    return [
        _row(run, network, condition, measures_there)
        for network in networks
        for condition, measures_there in zip(conditions, measures, strict=True)
    ]


def _what_was_measured(run: Run, network: _Network, condition: Condition) -> dict[str, Any]:
    """The fields that rows of every metric have: which network, on which samples, at which cost."""
    split, corruption, severity = condition
    return {
        "run": run.config.name,
        "seed": run.seed,
        "method": network.method,
        "level": network.level,
        "density": network.density,
        "split": split,
        "corruption": corruption,
        "severity": severity,
        "source": network.level,
        "train_images": network.train_images,
        "search_images": network.search_images,
        "flops": network.flops,
        "tensors": network.tensors,
        "part": run.config.data.test_part if split == "test" else "all",
        "data": run.dataset.digest,
    }


def _row(run: Run, network: _Network, condition: Condition, measures: Measured) -> Row:
    return Row(
        **_what_was_measured(run, network, condition),
        n=len(measures.hits),
        correct=int(measures.hits.sum()),
        loss=measures.loss,
        accuracy=measures.accuracy,
        ece=measures.ece,
        hits=pack_hits(measures.hits),
        bins=measures.bins if condition == CLEAN[-1] else (),
        nonzero=network.nonzero,
    )


def _metric_row(run: Run, network: _Network, condition: Condition, model: nn.Module) -> MetricRow:
    """The row of a network by the metric that the settings name."""
    samples = run.samples(condition)
    outputs = logits(model, run.config, run.dataset, samples)
    unsmoothed = replace(run.config.training, label_smoothing=0.0)
    loss = losses.of(unsmoothed, run.dataset.task, run.dataset.device)(outputs, samples.labels)
    values = metric(run.config)(outputs, samples.labels).float().cpu().numpy()
    return MetricRow(
        **_what_was_measured(run, network, condition),
        n=len(values),
        metric=metric_name(run.config),
        value=float(values.mean(dtype=float)),
        loss=float(loss),
        values=pack_values(values),
    )


def admissible(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """The rows of the best admissible ticket of every level that `rows` lack: those of the ticket taken over.

    It is the ticket at least as sparse as the target that is best on validation, recalibrated; the denser of equals.
    """
    done = {row.key for row in rows}
    recalibrated = [row for row in rows if row.method == "recalibrated"]
    added = []
    for level in sorted({row.level for row in recalibrated}):
        eligible = [row for row in recalibrated if row.split == "validation" and row.level >= level]
        best = max(eligible, key=lambda row: (merit(row), -row.level)).level
        taken_over = [row for row in recalibrated if row.level == best]
        rows_of_level = [replace(row, method="admissible", level=level, source=best) for row in taken_over]
        added += [row for row in rows_of_level if row.key not in done]
    return added

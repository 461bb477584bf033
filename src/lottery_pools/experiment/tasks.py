"""One seed's work, in pieces that a worker process does by itself: train, pool one target, measure one network."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from lottery_pools.experiment import networks, placement, searches, ticket_cache
from lottery_pools.experiment.conditions import Condition, samples_of
from lottery_pools.experiment.placement import Place
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.searches import Search
from lottery_pools.experiment.selection import metric_name
from lottery_pools.pooling.method import Method
from lottery_pools.pooling.result import Pooled
from lottery_pools.tickets import files, held_out, imp, measures, retraining, rigl
from lottery_pools.tickets.ticket import Ticket
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
    model, selection = run.network(), searches.selection(run, search, target)
    paths = searches.files_of(run, search, target)
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
    paths, cache = searches.files_of(run, search, target), ticket_cache.of_this_process()
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
    before = files.load(networks.untuned(run, name, level), model)
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
    samples_of(run, condition)

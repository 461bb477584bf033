"""One network of a run, measured on all its conditions: the rows of results, which a worker process makes by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from lottery_pools.evaluation import cost, ensemble
from lottery_pools.evaluation.evaluate import Measured, evaluate, measured
from lottery_pools.experiment import networks
from lottery_pools.experiment.conditions import CLEAN, Condition, samples_of
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.selection import logits, metric, metric_name
from lottery_pools.runs.rows import ENSEMBLE, AnyRow, MetricRow, Row, merit, pack_hits, pack_values
from lottery_pools.tickets import files, losses
from lottery_pools.tickets.ticket import load_into


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
    ticket = networks.load(run, method, level, model)
    load_into(model, ticket.weights)
    search_images = ticket.origin.get("search_images", 0)
    if networks.recalibrates(method):
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
        files.tensors_digest(networks.path(run, method, level)),
    )
    training, batch = run.config.training, run.config.evaluation.batch
    if not run.config.measures_accuracy:
        return [_metric_row(run, network, condition, model) for condition in conditions]
    return [
        _row(run, network, condition, evaluate(model, run.dataset, samples_of(run, condition), training, batch))
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
            yield logits(member, run.config, run.dataset, samples_of(run, condition))

    means = ensemble.mean_log_probabilities(model, tickets, predict, recalibrate, run.dataset.task)
    flops = sum(cost.flops(model, run.dataset.input_shape, ticket.mask) for ticket in tickets)
    train_images = tickets[-1].origin["train_images"]
    of_levels = [
        _Network(ENSEMBLE, ticket.level, ticket.density, train_images, sum(recalibrated), flops) for ticket in tickets
    ]
    measures = [
        measured(mean, samples_of(run, condition).labels) for mean, condition in zip(means, conditions, strict=True)
    ]
    return [
        _row(run, network, condition, measures_there)
        for network in of_levels
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
    samples = samples_of(run, condition)
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

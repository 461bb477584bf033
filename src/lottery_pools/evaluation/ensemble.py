"""The naive ensemble: the mean of several networks' predictions, at a forward pass for each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Task
from lottery_pools.errors import UserError
from lottery_pools.evaluation.evaluate import log_probabilities, measured
from lottery_pools.pooling.evaluator import Recalibrate, load_and_recalibrate
from lottery_pools.runs.rows import pack_hits
from lottery_pools.tickets.ticket import Ticket


@dataclass(frozen=True)
class EnsembleRow:
    """What averaging the predictions of several networks does. Fields are named as in a result row."""

    levels: tuple[int, ...]
    """The levels of the members."""
    n: int
    """Samples."""
    correct: int
    accuracy: float
    """Share of correct predictions, 0 to 1."""
    loss: float
    """Mean negative log-likelihood of the mean probabilities, nats."""
    ece: float
    """Expected calibration error, 0 to 1."""
    hits: str
    """Which samples were predicted correctly: packed bits as base64."""
    passes: int
    """Forward passes a sample."""
    disagreement: float
    """Share of samples that two members predict differently, the mean over all pairs; 0 for one member."""


def ensemble(
    model: nn.Module,
    tickets: Sequence[Ticket],
    logits: Callable[[nn.Module], Tensor],
    labels: Tensor,
    recalibrate: Recalibrate | None = None,
    task: Task = "single-label",
) -> EnsembleRow:
    """Measure the naive ensemble of tickets on one set of samples.

    Args:
        model: the module that each ticket's weights are loaded into.
        tickets: the members.
        logits: `logits(model)` is (n, classes).
        labels: (n,), the classes of the samples; for multi-label (n, labels), 0 or 1.
        recalibrate: re-estimates the BatchNorm statistics of each member; none: they stay as they are.
        task: `single-label` or `multi-label`.

    Raises UserError where there are no tickets, a ticket does not fit the model, or there are not as many logits as
    labels.

    Example:
        ```python
        row = ensemble(model, tickets, lambda model: model(images), labels, recalibrate)
        print(row.accuracy, row.passes)
        ```
    """

    predictions: list[Tensor] = []

    def predict(member: nn.Module) -> list[Tensor]:
        output = logits(member).cpu()
        if len(output) != len(labels):
            raise UserError(f"logits of {len(output)} samples and {len(labels)} labels: give both of the same samples")
        predictions.append(output > 0 if task == "multi-label" else output.argmax(1)[:, None])
        return [output]

    (log_probabilities,) = mean_log_probabilities(model, tickets, predict, recalibrate, task)
    measures = measured(log_probabilities, labels)
    return EnsembleRow(
        levels=tuple(ticket.level for ticket in tickets),
        n=len(labels),
        correct=int(measures.hits.sum()),
        accuracy=measures.accuracy,
        loss=measures.loss,
        ece=measures.ece,
        hits=pack_hits(measures.hits),
        passes=len(tickets),
        disagreement=_disagreement(predictions),
    )


def mean_log_probabilities(
    model: nn.Module,
    tickets: Sequence[Ticket],
    predict: Callable[[nn.Module], Iterable[Tensor]],
    recalibrate: Recalibrate | None = None,
    task: Task = "single-label",
) -> list[Tensor]:
    """The mean of the probabilities that tickets predict, on each of several sets of samples, as logarithms.

    They are averaged as logarithms, for a probability may underflow, in the precision of the logits. One ticket and
    the logits of one set are held at a time.

    Args:
        model: the module that each ticket's weights are loaded into.
        tickets: the members of the ensemble.
        predict: `predict(model)` yields the logits, (n, classes), of each set of samples.
        recalibrate: re-estimates the BatchNorm statistics of each member; none: they stay as they are.
        task: `single-label` or `multi-label`.

    Returns a tensor on the CPU for each set, as `evaluate.log_probabilities` makes them.

    Raises UserError where there are no tickets, or a ticket does not fit the model.
    """
    if not tickets:
        raise UserError("an ensemble of no tickets: give at least one")
    sums: dict[int, Tensor] = {}
    for ticket in tickets:
        load_and_recalibrate(model, ticket.weights, recalibrate)
        with torch.no_grad():
            for place, logits in enumerate(predict(model)):
                logs = log_probabilities(logits.cpu(), task)
                sums[place] = torch.logaddexp(sums[place], logs) if place in sums else logs
    return [total - math.log(len(tickets)) for total in sums.values()]


def _disagreement(predictions: Sequence[Tensor]) -> float:
    """Share of samples that two members predict differently, the mean over all pairs; 0 for one member."""
    shares = [float((first != second).any(1).double().mean()) for first, second in combinations(predictions, 2)]
    return math.fsum(shares) / max(1, len(shares))

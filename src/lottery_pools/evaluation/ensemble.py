"""The naive ensemble: averaged predictions, a forward pass for each member."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.evaluation.evaluate import measured
from lottery_pools.pooling.evaluator import Recalibrate, load_and_recalibrate
from lottery_pools.runs.rows import pack_hits
from lottery_pools.tickets.ticket import Ticket


@dataclass(frozen=True)
class EnsembleRow:
    """What averaging the predictions of several networks does, named as in a result row."""

    levels: tuple[int, ...]
    """Of the members."""
    n: int
    correct: int
    accuracy: float
    loss: float
    """Mean negative log-likelihood of the mean probabilities, nats."""
    ece: float
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
) -> EnsembleRow:
    """The naive ensemble: the mean of the members' softmax probabilities, `logits(model)` (n, classes), `labels` (n,).

    Members are recalibrated where a recalibration is given; one is held at a time. Raises UserError where there are
    no tickets, a ticket does not fit the model, or there are not as many logits as labels.
    """
    if not tickets:
        raise UserError("an ensemble of no tickets: give at least one")
    total: Tensor | None = None
    predictions = []
    for ticket in tickets:
        load_and_recalibrate(model, ticket.weights, recalibrate)
        with torch.no_grad():
            logp = logits(model).cpu().double().log_softmax(1)
        if len(logp) != len(labels):
            raise UserError(f"logits of {len(logp)} samples and {len(labels)} labels: give both of the same samples")
        predictions.append(logp.argmax(1))
        total = logp if total is None else torch.logaddexp(total, logp)  # logs, for a probability may underflow
    assert total is not None
    result = measured(total - math.log(len(tickets)), labels)
    disagreements = [float((one != other).double().mean()) for one, other in combinations(predictions, 2)]
    return EnsembleRow(
        levels=tuple(ticket.level for ticket in tickets),
        n=len(labels),
        correct=int(result.hits.sum()),
        accuracy=result.accuracy,
        loss=result.loss,
        ece=result.ece,
        hits=pack_hits(result.hits),
        passes=len(tickets),
        disagreement=math.fsum(disagreements) / max(1, len(disagreements)),
    )

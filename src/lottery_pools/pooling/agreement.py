"""How well a network's predictions agree with those of all tickets together: a score that needs no labels.

The mean of several networks' predictions is mostly better than any of them. A network that predicts what they predict
together is therefore likely to be good, and to see whether it does takes no labels, so inputs that nobody labelled will
do. Training inputs are of no use where networks fit them: there all give the label, and so all agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.activations import NO_BATCHES
from lottery_pools.pooling.evaluator import Evaluator
from lottery_pools.pooling.guard import in_evaluation_mode
from lottery_pools.pooling.likelihood import log_likelihood
from lottery_pools.pooling.task import PoolingTask, Samples
from lottery_pools.tickets.ticket import Ticket, load_into


def scored_by_agreement(task: PoolingTask) -> PoolingTask:
    """The task with agreement with all of its tickets in place of its score.

    The score is that of `lottery_pools.log_likelihood`, one value a sample, with the tickets' mean probabilities for
    labels. The tickets have their own BatchNorm statistics.

    Args:
        task: its `samples` are the inputs that predictions are compared on.

    Raises UserError where there are no samples, the tickets say that they predict other things than classes, or the
    module's output is not logits, (n, classes), of two classes or more.
    """
    if task.samples is None:
        raise UserError("this method compares predictions: give `samples`, which returns batches of inputs")
    if other := task.target.origin.get("task"):
        raise UserError(f"agreement compares probabilities of classes, the tickets are of {other} data: give a score")
    samples, evaluator = task.samples, task.evaluator
    targets = ensemble_probabilities(evaluator.model, task.tickets, samples)

    def agreement(model: nn.Module) -> Tensor:
        return log_likelihood(_logits(model, samples), targets)

    return replace(task, evaluator=Evaluator(evaluator.model, agreement, evaluator.recalibrate, evaluator.limit))


def ensemble_probabilities(model: nn.Module, tickets: Sequence[Ticket], samples: Samples) -> Tensor:
    """The mean of the tickets' class probabilities, (n, classes); the module is left with the last ticket in it."""
    total = None
    for ticket in tickets:
        load_into(model, ticket.weights)
        probabilities = _logits(model, samples).softmax(1)
        total = probabilities if total is None else total + probabilities
    if total is None:
        raise UserError("no tickets to agree with: give one or more")
    return total / len(tickets)


def _logits(model: nn.Module, samples: Samples) -> Tensor:
    """The logits of all samples, (n, classes) float32."""
    with in_evaluation_mode(model), torch.no_grad():
        outputs = list(_outputs(model, samples))
    if not outputs:
        raise UserError(NO_BATCHES)
    return torch.cat(outputs)


def _outputs(model: nn.Module, samples: Samples) -> Iterator[Tensor]:
    for batch in samples():
        output = model(batch)
        if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
            raise UserError(
                "agreement needs a classifier: its output must be logits, (n, classes), of two classes or more"
            )
        yield output.float()

"""How well a network's predictions agree with those of all tickets together: a score that needs no labels.

The mean of several networks' predictions is mostly better than any of them. A network that predicts what they predict
together is therefore likely to be good, and to see whether it does takes no labels, so inputs that nobody labelled will
do. Training inputs are of no use where networks fit them: there all give the label, and so all agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lottery_pools.errors import UserError
from lottery_pools.pooling.activations import NO_BATCHES
from lottery_pools.pooling.evaluator import Evaluator
from lottery_pools.pooling.guard import in_evaluation_mode
from lottery_pools.pooling.likelihood import log_likelihood
from lottery_pools.pooling.task import PoolingTask, Samples
from lottery_pools.tickets.ticket import Ticket, load_into

OTHER_SAMPLES = (
    "samples() gave other inputs than at its first call, but networks are compared input by input: give the same ones "
    "in the same order at each call (no shuffling, no random augmentation)"
)


def scored_by_agreement(task: PoolingTask) -> PoolingTask:
    """The task with agreement with all of its tickets in place of its score.

    The score is that of `lottery_pools.log_likelihood`, one value a sample, with the tickets' mean probabilities for
    labels. The tickets have their own BatchNorm statistics.

    Args:
        task: its `samples` are the inputs that predictions are compared on.

    Raises UserError where there are no samples or they differ from call to call, the tickets say that they predict
    other things than classes, or the module's output is not finite logits, (n, classes), of two classes or more.
    """
    samples = _samples_of(task)
    return _scored_against(task, samples, ensemble_probabilities(task.evaluator.model, task.tickets, samples))


def scored_by_agreement_and_labels(task: PoolingTask) -> PoolingTask:
    """The same, with the samples' labels for a part of what predictions are to agree with.

    A sample's target is a mean of its label and the tickets' mean probabilities, as in knowledge distillation (Hinton
    et al., 2015). Of two networks, the labels of few samples say which is better without bias, but with much noise;
    agreement says it with little noise, but with the bias of the tickets' mean prediction. `share_of_labels` weighs the
    two by the scores of the tickets, whose logits are there anyway, so no network is evaluated for it.

    Args:
        task: its `labels` are the classes of its `samples`.

    Raises UserError as `scored_by_agreement`, and where the labels are not the class of each sample, or a ticket rules
    one out.
    """
    samples = _samples_of(task)
    if task.labels is None:
        raise UserError("this method compares predictions with labels too: give `labels`, the class of each sample")
    logits = list(_logits_of_tickets(task.evaluator.model, task.tickets, samples))
    together = torch.stack([ticket.softmax(1) for ticket in logits]).mean(0)
    labels = _checked_labels(task.labels, *together.shape).to(together.device)
    by_labels = torch.stack([log_likelihood(ticket, labels) for ticket in logits])
    if impossible := int(by_labels.isinf().any(0).sum()):
        raise UserError(f"tickets give the labels of {impossible} samples a logit of -inf: leave these samples out")
    share = share_of_labels(by_labels, torch.stack([log_likelihood(ticket, together) for ticket in logits]))
    return _scored_against(task, samples, together.lerp(one_hot(labels, together.shape[1]).to(together), share))


def share_of_labels(by_labels: Tensor, by_agreement: Tensor) -> float:
    """The part that labels should have in a score beside agreement, from the scores of some networks by each.

    If agreement had no bias, the two would compare networks alike, but for the noise of few labels. So let b be the
    differences between the two scores of each network, less their mean over networks, and v their sampling variances:
    Σb² - Σv estimates how large the bias is. The part w that makes the squared error of the mixed score least is

        w = max(0, 1 - Σv / Σb²),

    the estimator of James and Stein for an unbiased and a biased measurement of the same thing (Green & Strawderman,
    Journal of the American Statistical Association 86, 1991), with its Σv not reduced for the few degrees of freedom.

    Args:
        by_labels: log-likelihoods of the labels, (networks, samples).
        by_agreement: those of the mean prediction, (networks, samples).

    Returns:
        From 0, agreement alone, to 1, labels alone. 0 where nothing can be told: for one network, or one sample.

    Example:
        ```python
        share_of_labels(likelihoods, agreements)  # 0.95 for under-trained tickets and 1,000 labels
        ```
    """
    difference = by_labels.cpu().double() - by_agreement.cpu().double()  # Apple's MPS has no float64
    difference = difference - difference.mean(0)
    networks, samples = difference.shape
    seen = float(difference.mean(1).square().sum())
    if networks < 2 or samples < 2 or seen == 0:
        return 0.0
    noise = float(difference.var(1).sum()) / samples
    return max(0.0, 1 - noise / seen)


def _samples_of(task: PoolingTask) -> Samples:
    """The samples that predictions are compared on; raises UserError where there are none, or no classes."""
    if task.samples is None:
        raise UserError("this method compares predictions: give `samples`, which returns batches of inputs")
    if other := task.target.origin.get("task"):
        raise UserError(f"agreement compares probabilities of classes, the tickets are of {other} data: give a score")
    return task.samples


def _checked_labels(labels: Tensor, samples: int, classes: int) -> Tensor:
    """The labels as int64, (samples,); raises UserError where they are something else than the samples' classes."""
    if not isinstance(labels, Tensor):
        raise UserError(f"labels are a {type(labels).__name__}: give a tensor with the class of each sample")
    wanted = f"give the class of each of the {samples} samples, a whole number from 0 to {classes - 1}"
    is_whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.shape != (samples,) or not is_whole:
        raise UserError(f"labels are {tuple(labels.shape)} {str(labels.dtype).removeprefix('torch.')}: {wanted}")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise UserError(f"labels go from {lowest} to {highest}: {wanted}")
    return labels.long()


def _scored_against(task: PoolingTask, samples: Samples, targets: Tensor) -> PoolingTask:
    """The task, scored by the log-likelihood of these probabilities, (n, classes), one value a sample."""
    evaluator = task.evaluator

    def agreement(model: nn.Module) -> Tensor:
        logits = _logits(model, samples)
        if logits.shape != targets.shape:
            raise UserError(OTHER_SAMPLES)
        return log_likelihood(logits, targets)

    return replace(task, evaluator=Evaluator(evaluator.model, agreement, evaluator.recalibrate, evaluator.limit))


def ensemble_probabilities(model: nn.Module, tickets: Sequence[Ticket], samples: Samples) -> Tensor:
    """The mean of the tickets' class probabilities, (n, classes); the module is left with the last ticket in it."""
    total: Tensor | None = None
    for logits in _logits_of_tickets(model, tickets, samples):
        probabilities = logits.softmax(1)
        total = probabilities if total is None else total + probabilities
    if total is None:
        raise UserError("no tickets to agree with: give one or more")
    return total / len(tickets)


def _logits_of_tickets(model: nn.Module, tickets: Sequence[Ticket], samples: Samples) -> Iterator[Tensor]:
    """The logits of each ticket, (n, classes); raises UserError where they are NaN, or not of the same samples."""
    shape, same_samples = None, SameSamples(samples)
    for ticket in tickets:
        load_into(model, ticket.weights)
        logits = _logits(model, same_samples)
        if not_finite := int((~logits.logsumexp(1).isfinite()).sum()):
            raise UserError(
                f"the ticket of level {ticket.level} predicts NaN for {not_finite} of {len(logits)} samples: "
                "look for NaN or infinite numbers in the samples and in the ticket"
            )
        if shape not in (None, logits.shape):
            raise UserError(OTHER_SAMPLES)
        shape = logits.shape
        yield logits


@dataclass
class SameSamples:
    """Samples that are refused where the second call gives other ones than the first.

    A loader that shuffles or augments at random gives others at the second call already, so later calls are not
    checked. Of a batch that is a mapping or a sequence, the tensors are compared; nothing else is.
    """

    samples: Samples
    calls: int = 0
    marks: list[list[Tensor]] = field(default_factory=list)
    """Of each batch of the first call, and each of its tensors, a number for each sample that hardly any other has."""

    def __call__(self) -> Iterator[Any]:
        """The batches; raises UserError at the first that differs from that of the first call."""
        self.calls += 1
        call = self.calls
        for number, batch in enumerate(self.samples()):
            if call == 1:
                self.marks.append(_marks(batch))
            elif call == 2 and (number >= len(self.marks) or not _alike(_marks(batch), self.marks[number])):
                raise UserError(OTHER_SAMPLES)
            yield batch


def _marks(batch: Any) -> list[Tensor]:
    """Of each tensor in a batch the sum of each sample's values, each by its place, (n,) float32."""
    if isinstance(batch, Mapping):
        return _marks(list(batch.values()))
    if isinstance(batch, list | tuple):
        return [mark for item in batch for mark in _marks(item)]
    is_plain = isinstance(batch, Tensor) and batch.layout == torch.strided and not batch.is_nested
    if not is_plain or batch.is_complex() or not batch.numel():
        return []
    values = batch.detach().reshape(len(batch) if batch.ndim else 1, -1).float().nan_to_num(0, 1, -1)
    return [values @ torch.linspace(1, 2, values.shape[1], device=batch.device, dtype=torch.float32)]


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether the tensors are equal, one by one."""
    return len(first) == len(second) and all(map(torch.equal, first, second))


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

"""What a search for a pooled network is scored on: which samples, by which score, and how many images that forwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config, Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.data.sources import stratified
from lottery_pools.errors import UserError
from lottery_pools.models import external
from lottery_pools.pooling import batchnorm
from lottery_pools.pooling.likelihood import log_likelihood
from lottery_pools.pooling.method import Method, Offer
from lottery_pools.pooling.pool import pool
from lottery_pools.pooling.result import Pooled
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import distributed, forward, losses, measures
from lottery_pools.tickets.batches import Batch
from lottery_pools.tickets.forward import inputs, precision
from lottery_pools.tickets.measures import Metric
from lottery_pools.tickets.ticket import Ticket


@dataclass
class Selection:
    """The score, recalibration and loss by which one method strengthens one target. Counts the images it forwards.

    Which samples it scores on is said by the method's `scored_on`; the loss is computed on all validation samples.
    """

    config: Config
    dataset: Dataset
    seed: int
    method: Method
    target: int
    """Level of the ticket to strengthen."""
    forwarded: int = field(default=0, init=False)
    """Images forwarded so far; one whose loss is differentiated counts as three."""
    images: int = field(init=False)
    """Training images that re-estimate BatchNorm at each evaluation."""
    final_images: int = field(init=False)
    """Training images that re-estimate BatchNorm of the returned network once more; 0 where the method does not."""
    split: Split = field(init=False)
    """The samples that networks are scored on."""
    batch: int = field(init=False)
    """Samples of a mini-batch of the loss."""
    _queue: list[Tensor] = field(default_factory=list, init=False, repr=False)
    """Mini-batches of the loss that are still to come in this round."""

    def __post_init__(self) -> None:
        validation = self.dataset.validation
        self.images = recalibration_images(self.config, self.dataset)
        self.final_images = self.images if self.method.final_recalibration else 0
        self.split = validation
        if self.method.scored_on == "selection":
            self._score_on_few()
        self.batch = min(self.config.training.batch, len(validation))
        self._order = generator(self.seed, "losses", self.method.name, self.target)

    @property
    def _by_likelihood(self) -> bool:
        return self.method.scored_by == "log-likelihood"

    def _score_on_few(self) -> None:
        """Score on `pooling.selection` validation samples, and re-estimate BatchNorm on a quarter as many images.

        For agreement without labels half as many samples do. For any agreement, the number of images is also at most
        that of the samples.
        """
        split, size = self.split, self.config.pooling.selection
        if size is None:
            return
        self.images = min(self.images, max(2, size // 4))
        draws = generator(self.seed, "selection")
        if self.method.scored_by == "agreement":  # sees no labels, so it is not stratified by them
            chosen = torch.randperm(len(split), generator=draws)[: max(1, size // 2)]
            self.split = split.take(chosen.to(self.dataset.device))
        elif size < len(split):
            self.split = split.take(stratified(split.labels.cpu(), size, draws).to(self.dataset.device))
        if self.method.compares_predictions:
            self.images = min(self.images, max(2, len(self.split)))

    def score(self, model: nn.Module) -> Tensor:
        """One value per sample, (n,): its log-likelihood, or the metric (whether it is predicted correctly)."""
        self.forwarded += len(self.split)
        predicted = logits(model, self.config, self.dataset, self.split)
        if self._by_likelihood:
            return log_likelihood(predicted, self.split.labels, self.dataset.task)
        return metric(self.config)(predicted, self.split.labels)

    def recalibrate(self, model: nn.Module) -> None:
        """Re-estimate BatchNorm on the images of one evaluation."""
        self.forwarded += recalibrate(model, self.config, self.dataset, self.seed, self.images)

    def final_recalibrate(self, model: nn.Module) -> None:
        """Re-estimate BatchNorm as in every final network."""
        self.forwarded += recalibrate(model, self.config, self.dataset, self.seed)

    def loss(self, model: nn.Module) -> Tensor:
        """The differentiable loss of a next mini-batch, in an order of the method's and target's own."""
        if not self._queue:
            order = torch.randperm(len(self.dataset.validation), generator=self._order)
            whole = order[: len(order) // self.batch * self.batch]  # whole batches only
            self._queue.extend(torch.split(whole, self.batch))
        dataset, settings = self.dataset, self.config.training
        batch = self._queue.pop()
        self.forwarded += 3 * len(batch)
        labels = dataset.validation.labels[batch.to(dataset.device)]
        with precision(settings, dataset.device):
            output = model(inputs(dataset, dataset.validation.batch(batch), settings)).float()
        return losses.of(Training(), dataset.task, dataset.device)(output, labels)

    def samples(self) -> Iterator[Tensor]:
        """The inputs that a method looks at, without labels: those that re-estimate BatchNorm or, for agreement, those
        that it scores on."""
        passes = 3 if self.method.differentiates_samples else 1
        for batch in self._sample_batches():
            self.forwarded += passes * len(batch)
            yield batch

    def _sample_batches(self) -> Iterator[Tensor]:
        if not self.method.compares_predictions:
            yield from calibration_batches(self.config, self.dataset, self.seed, self.images)
            return
        for batch in self.split.batches(self.config.evaluation.batch):
            yield inputs(self.dataset, batch, self.config.training)

    @property
    def offer(self) -> Offer:
        """How much the method has to choose from."""
        settings = self.config.pooling
        candidates = [level for level in range(len(self.config.pruning.schedule())) if level != self.target]
        nearest = sorted(candidates, key=lambda level: (abs(level - self.target), level))[: settings.candidates]
        sparser = sum(level > self.target for level in nearest)
        return Offer(sparser, len(nearest) - sparser, len(settings.coefficients))

    @property
    def sample_images(self) -> int:
        """Images that the method's passes over `samples` cost."""
        images = len(self.split) if self.method.compares_predictions else self.images
        return self.method.passes(self.offer) * images * (3 if self.method.differentiates_samples else 1)

    def pool(self, model: nn.Module, tickets: Sequence[Ticket], **options: Any) -> tuple[Pooled, int]:
        """(what the method makes of its target, images that this forwarded); `options` go to `lottery_pools.pool`."""
        pooling = self.config.pooling
        pooled = pool(
            model,
            tickets,
            self.target,
            self.score,
            self.recalibrate,
            method=self.method,
            coefficients=pooling.coefficients,
            candidates=pooling.candidates,
            max_evaluations=self.max_evaluations(bool(batchnorm.tracked(model))),
            final_recalibrate=self.final_recalibrate,
            mask=pooling.mask,
            scope=self.config.pruning.scope,
            loss=self.loss,
            samples=self.samples,
            labels=self.split.labels,
            seed=self.seed,
            allow_same_samples=True,  # learned soups learn on all validation samples, as published
            **options,
        )
        return pooled, self.forwarded

    def max_evaluations(self, has_batchnorm: bool) -> int | None:
        """How many networks may be evaluated within `pooling.budget` images; none: no limit.

        Raises UserError where the budget does not allow one. Without BatchNorm nothing is recalibrated.
        """
        budget = self.config.pooling.budget
        if budget is None:
            return None
        fixed = 3 * self.method.gradient_steps * self.batch + self.sample_images
        fixed += self.final_images if has_batchnorm else 0
        an_evaluation = len(self.split) + (self.images if has_batchnorm else 0)
        evaluations = (budget - fixed) // an_evaluation
        if evaluations < 1:
            raise UserError(
                f"pooling.budget is {budget} images, {self.method.name} needs {fixed + an_evaluation} for its first "
                "evaluation: raise it, or lower pooling.selection or pooling.recalibration"
            )
        return evaluations


def logits(model: nn.Module, config: Config, dataset: Dataset, split: Split) -> Tensor:
    """The logits of a whole split, (n, classes)."""
    return forward.logits(model, dataset, split, config.training, config.evaluation.batch)


def metric(config: Config) -> Metric:
    """What networks are measured by, one value a sample: the user's metric, or that of the task."""
    if config.evaluation.metric is None:
        return measures.of(config.data.task)
    return measures.checked(external.function(config.evaluation.metric, "metric"), config.evaluation.metric)


def check_metric(config: Config, dataset: Dataset) -> None:
    """Raise UserError if the user's metric cannot be imported or does not return one value a sample."""
    if config.evaluation.metric is None:
        return
    labels = dataset.validation.labels[:8]
    outputs = torch.zeros(len(labels), len(dataset.classes), device=labels.device)
    try:
        metric(config)(outputs, labels)
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"evaluation.metric {config.evaluation.metric!r} cannot take outputs {tuple(outputs.shape)} and labels "
            f"{tuple(labels.shape)}: {str(error).partition(chr(10))[0]}"
        ) from error


def metric_name(config: Config) -> str:
    """What `metric` is called: `accuracy`, `r2`, or the name of the user's function."""
    return config.evaluation.metric or measures.NAMES[config.data.task]


def recalibration_images(config: Config, dataset: Dataset) -> int:
    """How many training images re-estimate BatchNorm of a final network."""
    setting, available = config.pooling.recalibration, len(dataset.train)
    return available if setting == "all" else min(setting, available)


def recalibrate(model: nn.Module, config: Config, dataset: Dataset, seed: int, images: int | None = None) -> int:
    """Re-estimate BatchNorm on augmented training images, the same ones each time; returns how many were forwarded.

    `images`: on so many; none given: on as many as for every final network.
    """
    images = recalibration_images(config, dataset) if images is None else images
    if images == 0:
        return 0
    with precision(config.training, dataset.device):
        return batchnorm.recalibrate(model, _augmented(config, dataset, seed, images, distributed.part_of_batch))


def calibration_batches(config: Config, dataset: Dataset, seed: int, images: int) -> Iterator[Tensor]:
    """Augmented training images as inputs, batch by batch, the same ones each time."""
    if images:
        yield from _augmented(config, dataset, seed, images, lambda batch: batch)


def _augmented(
    config: Config, dataset: Dataset, seed: int, images: int, part: Callable[[Batch], Batch]
) -> Iterator[Tensor]:
    """Augmented training images as inputs, of each batch the part that is asked for."""
    order = torch.randperm(len(dataset.train), generator=generator(seed, "recalibrate"))
    chosen = order[:images].to(dataset.device)
    draws = generator(seed, "recalibrate", "augment")
    # Batches of nearly equal size: statistics of few images, let alone of one, are too noisy.
    batches = chosen.tensor_split(max(1, min(math.ceil(images / config.evaluation.batch), images // 2)))
    for batch in batches:
        taken = part(Batch(batch, dataset.draws(len(batch), draws), 0.0))
        augmented = dataset.augment(dataset.train.batch(taken.samples), taken.draws)
        yield inputs(dataset, augmented, config.training)

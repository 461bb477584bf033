"""How a search judges networks: on which samples, by which score, and how many images that forwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lottery_pools.config.schema import Config
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.data.sources import stratified
from lottery_pools.errors import UserError
from lottery_pools.pooling import batchnorm
from lottery_pools.pooling.likelihood import inverse_temperature, log_likelihood
from lottery_pools.pooling.methods import BEST, DEFAULT, METHODS, pool
from lottery_pools.pooling.search import Pooled
from lottery_pools.pooling.soups import LEARNING_STEPS
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import forward
from lottery_pools.tickets.forward import inputs, precision
from lottery_pools.tickets.ticket import Ticket

LEARNING_BATCH = 256
"""Validation samples of a mini-batch from which `best` learns: fewer are too noisy for a coefficient a tensor."""


@dataclass
class Selection:
    """The score, recalibration and loss by which one method strengthens one target, counting what it forwards.

    The default method looks at `pooling.selection` validation samples, `best` learns on a third of them and scores on
    the others, and every other method does both on all.
    """

    config: Config
    dataset: Dataset
    seed: int
    method: str
    target: int
    forwarded: int = field(default=0, init=False)
    """Images so far; one whose loss is differentiated counts as three."""
    images: int = field(init=False)
    """That re-estimate BatchNorm at each look."""
    finishing: int = field(init=False)
    """That do so once more, in the end: of the methods that keep no network while they search."""
    _queue: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        split, few = self.dataset.validation, self.config.pooling.selection
        n, labels = len(split), split.labels.cpu()
        self.entry = METHODS[self.method]
        self.images = recalibration_images(self.config, self.dataset)
        self.learning = torch.arange(n)
        self.split = split
        if self.method == DEFAULT and few is not None:
            self.images = min(self.images, max(2, few // 4))
            if few < n:
                chosen = stratified(labels, few, generator(self.seed, "selection"))
                self.split = split.take(chosen.to(self.dataset.device))
        if self.method == BEST and n >= 3:
            self.learning = stratified(labels, n // 3, generator(self.seed, "learning"))
            others = torch.ones(n, dtype=torch.bool).index_fill_(0, self.learning, False).nonzero().flatten()
            self.split = split.take(others.to(self.dataset.device))
        size = LEARNING_BATCH if self.entry.likelihood else self.config.training.batch
        self.batch = min(size, len(self.learning))
        self.finishing = recalibration_images(self.config, self.dataset) * self.entry.likelihood
        self._losses = generator(self.seed, "losses", self.method, self.target)

    def score(self, model: nn.Module) -> Tensor:
        """Of every sample that judges, (n,): its log-likelihood, or whether it is predicted correctly."""
        self.forwarded += len(self.split)
        found = logits(model, self.config, self.dataset, self.split)
        return log_likelihood(found, self.split.labels) if self.entry.likelihood else hits(found, self.split)

    def recalibrate(self, model: nn.Module) -> None:
        """Re-estimate BatchNorm on the images of one look."""
        self.forwarded += recalibrate(model, self.config, self.dataset, self.seed, self.images)

    def finish(self, model: nn.Module) -> None:
        """Re-estimate BatchNorm as in every final network."""
        self.forwarded += recalibrate(model, self.config, self.dataset, self.seed)

    def loss(self, model: nn.Module) -> Tensor:
        """The differentiable loss of a next mini-batch, in an order of the method's and target's own."""
        if not self._queue:
            order = self.learning[torch.randperm(len(self.learning), generator=self._losses)]
            self._queue.extend(torch.split(order[: len(order) // self.batch * self.batch], self.batch))  # whole only
        dataset, settings = self.dataset, self.config.training
        batch = self._queue.pop()
        self.forwarded += 3 * len(batch)
        labels = dataset.validation.labels[batch.to(dataset.device)]
        with precision(settings, dataset.device):
            output = model(inputs(dataset, dataset.validation.batch(batch), settings)).float()
        return F.cross_entropy(
            output * inverse_temperature(output, labels) if self.entry.likelihood else output, labels
        )

    def pool(self, model: nn.Module, tickets: Sequence[Ticket], **options: Any) -> tuple[Pooled, int]:
        """What the method makes of its target, as `methods.pool` with `options`, and the images that this forwarded."""
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
            looks=self.looks(bool(batchnorm.tracked(model))),
            finish=self.finish,
            mask=pooling.mask,
            scope=self.config.pruning.scope,
            loss=self.loss,
            seed=self.seed,
            **options,
        )
        return pooled, self.forwarded

    def looks(self, normalised: bool) -> int | None:
        """How many looks `pooling.budget` allows; none: no limit. Raises UserError where it does not allow one.

        `normalised`: whether the networks have BatchNorm; where they have none, nothing is recalibrated.
        """
        budget = self.config.pooling.budget
        if budget is None:
            return None
        learning = 3 * LEARNING_STEPS * self.batch * self.entry.learns
        fixed, each = learning + normalised * self.finishing, normalised * self.images + len(self.split)
        looks = (budget - fixed) // each
        if looks < 1:
            needed = fixed + each
            raise UserError(
                f"pooling.budget is {budget} images, {self.method} needs {needed} for its first look: raise it, "
                "or lower pooling.selection or pooling.recalibration"
            )
        return looks


def replayed(origin: Mapping[str, Any]) -> dict[str, Any]:
    """What `methods.replay` is to be told of a pooled ticket's origin, beside its recipe."""
    return {key: origin[key] for key in ("scope", "method", "mask", "settings")}


def logits(model: nn.Module, config: Config, dataset: Dataset, split: Split) -> Tensor:
    """Of a whole split, (n, classes)."""
    return forward.logits(model, dataset, split, config.training, config.evaluation.batch)


def hits(logits: Tensor, split: Split) -> Tensor:
    """Which samples are predicted correctly, (n,) bool."""
    return logits.argmax(1) == split.labels


def recalibration_images(config: Config, dataset: Dataset) -> int:
    """Training images that re-estimate BatchNorm."""
    wanted, available = config.pooling.recalibration, len(dataset.train)
    return available if wanted == "all" else min(wanted, available)


def recalibrate(model: nn.Module, config: Config, dataset: Dataset, seed: int, images: int | None = None) -> int:
    """Re-estimate BatchNorm on augmented training images, the same ones each time; returns how many were forwarded.

    `images`: on so many; none given: on as many as for every final network.
    """
    images = recalibration_images(config, dataset) if images is None else images
    if images == 0:
        return 0
    order = torch.randperm(len(dataset.train), generator=generator(seed, "recalibrate"))
    chosen = order[:images].to(dataset.device)
    draws = generator(seed, "recalibrate", "augment")
    # nearly equal: the statistics of few images, let alone of one, are none
    parts = chosen.tensor_split(max(1, min(math.ceil(images / config.evaluation.batch), images // 2)))
    batches = (inputs(dataset, dataset.augment(dataset.train.batch(part), draws), config.training) for part in parts)
    with precision(config.training, dataset.device):
        return batchnorm.recalibrate(model, batches)

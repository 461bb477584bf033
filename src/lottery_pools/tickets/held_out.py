"""A control: the surviving weights of a network fine-tuned on the held-out samples, which pooling only chooses by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets import losses
from lottery_pools.tickets.forward import logits
from lottery_pools.tickets.schedule import steps_per_epoch
from lottery_pools.tickets.ticket import Ticket, load_into
from lottery_pools.tickets.training import TrainingRun, train

RATES = (3e-5, 1e-4, 1e-3, 1e-2)
"""Peak learning rates of Adam that are tried, the lowest first; each falls to zero as a cosine."""
EPOCHS, STEPS = 10, 200
"""Passes over the held-out samples; more where these are fewer than so many steps."""


@dataclass(frozen=True)
class Tuned:
    """What `tune` returns."""

    weights: dict[str, Tensor]
    """Parameters and buffers by name."""
    rate: float | None
    """The peak learning rate that was chosen; None: no tuning was best, and the weights are those of the ticket."""
    images: int
    """Training images seen, repeats and rates that were not chosen counted."""


def tune(model: nn.Module, ticket: Ticket, dataset: Dataset, settings: Training, seed: int) -> Tuned:
    """Fine-tune the surviving weights of a ticket on the held-out samples by Adam; its mask is kept.

    Adam without weight decay (Kingma & Ba, ICLR 2015), with batches, augmentation and precision as in training. Each
    rate is tried on two thirds of the held-out samples, from the lowest on, as long as the loss of the other third
    falls. The last rate that lowered it then tunes on all of them; if the first did not, the weights stay. BatchNorm is
    in training mode; re-estimate its statistics on training images afterwards, as of every network.

    Args:
        model: The network, changed in place.
        ticket: What is tuned; pooled or not.
        dataset: The data, whose validation samples are the held-out ones.
        settings: How the ticket was trained.
        seed: The seed of its run. It and the level determine the batches.
    """
    attempt = _Attempt(model, ticket, dataset, settings, derive(seed, "tune"))
    held_out = dataset.validation
    learning, scoring = _parts(len(held_out))
    order = torch.randperm(len(held_out), generator=generator(seed, "tune", "parts")).to(dataset.device)
    to_learn, to_score = held_out.take(order[:learning]), held_out.take(order[-scoring:])
    load_into(model, ticket.weights)
    best_rate, best_loss, images = None, attempt.loss(to_score), 0
    for rate in RATES:
        images += attempt.train(to_learn, rate)
        if (loss := attempt.loss(to_score)) >= best_loss:
            break
        best_rate, best_loss = rate, loss
    if best_rate is None:
        return Tuned(dict(ticket.weights), None, images)
    images += attempt.train(held_out, best_rate)
    return Tuned(attempt.weights, best_rate, images)


def most_images(settings: Training, samples: int) -> int:
    """The most training images that `tune` sees with so many held-out samples."""
    learning, _ = _parts(samples)
    return len(RATES) * _images(settings, learning) + _images(settings, samples)


def tuning(settings: Training, samples: int, rate: float) -> Training:
    """The settings by which so many samples are trained on, from those by which a ticket was trained."""
    batch = min(settings.batch, samples)
    return replace(
        settings,
        optimizer="adamw",
        weight_decay=0.0,
        nesterov=False,
        lr=rate,
        schedule="cosine",
        warmup=0.0,
        epochs=max(EPOCHS, math.ceil(STEPS / steps_per_epoch(samples, batch))),
        batch=batch,
        keep="last",
    )


class _Attempt:
    """One network that is tuned again and again from the same ticket.

    Args:
        model: The network.
        ticket: What each tuning begins with.
        dataset: The data; only how samples become inputs matters.
        settings: How the ticket was trained.
        seed: Of batches and augmentation.
    """

    def __init__(self, model: nn.Module, ticket: Ticket, dataset: Dataset, settings: Training, seed: int) -> None:
        self._model, self._ticket, self._dataset, self._settings, self._seed = model, ticket, dataset, settings, seed
        self.weights: dict[str, Tensor] = {}

    def train(self, samples: Split, rate: float) -> int:
        """Tune the ticket on some samples. Returns the training images that this took."""
        load_into(self._model, self._ticket.weights)
        data = replace(self._dataset, train=samples, epoch_samples=None)
        run = TrainingRun(tuning(self._settings, len(samples), rate), data, self._seed, self._ticket.level)
        trained = train(self._model, self._ticket.mask, run)
        self.weights = trained.weights
        return trained.images

    def loss(self, samples: Split) -> float:
        """The mean loss of some samples: the negative log-likelihood in nats, or what the settings train on instead."""
        outputs = logits(self._model, self._dataset, samples, self._settings)
        unsmoothed = replace(self._settings, label_smoothing=0.0)
        return float(losses.of(unsmoothed, self._dataset.task, self._dataset.device)(outputs, samples.labels))


def _parts(samples: int) -> tuple[int, int]:
    """How many of so many samples are learned from, and how many score a rate: apart, unless there is one only."""
    scoring = max(1, samples // 3)
    return max(1, samples - scoring), scoring


def _images(settings: Training, samples: int) -> int:
    """The training images of one tuning on so many samples."""
    tuned = tuning(settings, samples, RATES[0])
    return tuned.epochs * min(samples, steps_per_epoch(samples, tuned.batch) * tuned.batch)

"""A control: the surviving weights of a network fine-tuned on the held-out samples, which pooling only chooses by."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import nn

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset
from lottery_pools.runs.seeds import derive
from lottery_pools.tickets.schedule import steps_per_epoch
from lottery_pools.tickets.ticket import Ticket, load_into
from lottery_pools.tickets.training import Trained, TrainingRun, train

RATE = 1e-3
"""Peak learning rate of Adam, which falls to zero as a cosine."""
EPOCHS, STEPS = 10, 60
"""Passes over the held-out samples; more where these are fewer than so many steps."""


def tune(model: nn.Module, ticket: Ticket, dataset: Dataset, settings: Training, seed: int) -> Trained:
    """Fine-tune the surviving weights of a ticket on the held-out samples by Adam; its mask is kept.

    Adam without weight decay (Kingma & Ba, ICLR 2015), with batches, augmentation and precision as in training.
    BatchNorm is in training mode; re-estimate its statistics on training images afterwards, as of every network.

    Args:
        model: The network, changed in place.
        ticket: What is tuned; pooled or not.
        dataset: The data, whose validation samples are the held-out ones.
        settings: How the ticket was trained.
        seed: The seed of its run. It and the level determine the batches.

    Returns:
        The tuned weights, and the images that this took.
    """
    load_into(model, ticket.weights)
    held_out = replace(dataset, train=dataset.validation, epoch_samples=None)
    run = TrainingRun(tuning(settings, len(dataset.validation)), held_out, derive(seed, "tune"), ticket.level)
    return train(model, ticket.mask, run)


def tuning(settings: Training, samples: int) -> Training:
    """The settings by which `tune` trains on so many held-out samples, from those by which a ticket was trained."""
    batch = min(settings.batch, samples)
    return replace(
        settings,
        optimizer="adamw",
        weight_decay=0.0,
        nesterov=False,
        lr=RATE,
        schedule="cosine",
        warmup=0.0,
        epochs=max(EPOCHS, math.ceil(STEPS / steps_per_epoch(samples, batch))),
        batch=batch,
        keep="last",
    )

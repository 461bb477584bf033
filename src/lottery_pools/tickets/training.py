"""One masked training run: from some weights and a step to the last step; interrupted, it goes on to the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets.averaging import blend, share
from lottery_pools.tickets.checkpoint import load_state, save_state
from lottery_pools.tickets.ticket import load_into, snapshot

SECONDS_BETWEEN_CHECKPOINTS = 20.0


@dataclass(frozen=True)
class Epoch:
    """One finished epoch."""

    epoch: int
    """Epochs of the schedule that are done."""
    loss: float
    """Mean training loss."""
    accuracy: float | None
    """On the samples that choose epochs; none where they choose none: the last epoch or a mean is kept."""
    copy: int = 0
    """Which of the networks trained at this level."""


@dataclass(frozen=True)
class Trained:
    """What a training run leaves."""

    weights: dict[str, Tensor]
    epoch: int
    """The epoch, counted from 1, after which these were the weights; the last where they are a mean."""
    accuracy: float | None
    images: int
    """Training images seen, repeats counted."""


def steps_per_epoch(samples: int, batch: int) -> int:
    """Batches an epoch: the last one may be smaller, but one of a single sample is left out (BatchNorm needs two)."""
    return max(1, samples // batch + (samples % batch > 1))


def rate(training: Training, epoch: float) -> float:
    """The learning rate at `epoch`, a fraction where a step lies within it.

    `one-cycle` rises linearly from 1/25 of the peak and falls linearly to zero (Smith & Topin, 2018).
    """
    warmup = training.warmup
    if epoch < warmup:
        rise = epoch / warmup
        return training.lr * (0.04 + 0.96 * rise if training.schedule == "one-cycle" else rise)
    done = (epoch - warmup) / (training.epochs - warmup)
    if training.schedule == "step":
        return training.lr * training.gamma ** sum(epoch >= milestone for milestone in training.milestones)
    if training.schedule == "cosine":
        return training.lr * 0.5 * (1 + math.cos(math.pi * done))
    return training.lr * (1 - done) if training.schedule == "one-cycle" else training.lr


def precision(training: Training, device: torch.device) -> AbstractContextManager[Any]:
    """The autocast that training, recalibration and evaluation all run under."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16")


def train(
    model: nn.Module,
    mask: Mapping[str, Tensor],
    dataset: Dataset,
    training: Training,
    seed: int,
    level: int,
    start: int = 0,
    stop: int | None = None,
    fixed_rate: float | None = None,
    checkpoint: Path | None = None,
    at_step: tuple[int, Callable[[], None]] | None = None,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> Trained:
    """Train `model` in place from step `start` to `stop` (the schedule's end), pruned weights staying zero.

    Batches and augmentation are functions of (seed, level, step), so a run that stopped continues, from `checkpoint`
    where that file exists, to the same bits. `fixed_rate` replaces the schedule; `at_step` = (step, action) acts
    before that step. The file `checkpoint` is written after an epoch, every 20 seconds at most, and stays.
    `keep = "swa"` and `"ema"` leave the mean of weights that `averaging.share` says, its BatchNorm refitted.
    Raises UserError with level, epoch and step where the loss is no longer finite.
    """
    device = dataset.device
    _to_fast_layout(model, training)
    optimizer = _optimizer(model, training)
    per_epoch = steps_per_epoch(len(dataset.train), training.batch)
    stop = training.epochs * per_epoch if stop is None else stop
    pruned = {
        p: torch.empty_like(p, dtype=torch.bool).copy_(~mask[name])  # in the layout of the parameter: faster
        for name, p in model.named_parameters()
        if name in mask and not mask[name].all()
    }
    with torch.no_grad():
        for parameter, out in pruned.items():
            parameter.masked_fill_(out, 0)

    averaged = training.keep in ("swa", "ema")
    best: dict[str, Tensor] | None = None  # the mean so far, where the ticket is one
    forward = torch.compile(model, dynamic=False) if training.compile else model
    step, images, best_epoch = start, 0, Epoch(0, math.inf, None)
    if checkpoint is not None and checkpoint.exists():
        best, known = load_state(checkpoint, model, optimizer)
        step, images, best_epoch = known["step"], known["images"], Epoch(**known["best"])
    saved = time.monotonic()
    while step < stop:
        epoch, end = step // per_epoch, min(stop, (step // per_epoch + 1) * per_epoch)
        order = torch.randperm(len(dataset.train), generator=generator(seed, "order", level, epoch)).to(device)
        losses: list[Tensor] = []
        model.train()
        batches = torch.split(order, training.batch)[step % per_epoch : step % per_epoch + end - step]
        with _own_stream(device, derive(seed, "network", level, epoch)):
            for batch in batches:
                if at_step is not None and at_step[0] == step:
                    at_step[1]()
                for group in optimizer.param_groups:
                    group["lr"] = rate(training, step / per_epoch) if fixed_rate is None else fixed_rate
                raw = dataset.augment(dataset.train.batch(batch), generator(seed, "augment", level, step))
                with precision(training, device):
                    output = forward(inputs(dataset, raw, training))
                    loss = F.cross_entropy(
                        output.float(), dataset.train.labels[batch], label_smoothing=training.label_smoothing
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                for parameter, out in pruned.items():
                    if parameter.grad is not None:
                        parameter.grad.masked_fill_(out, 0)
                if training.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
                optimizer.step()
                losses.append(loss.detach())
                step, images = step + 1, images + len(batch)
                if part := share(training, step, start, stop, per_epoch):
                    best = best or snapshot(model)
                    blend(best, model.state_dict(), part)
        values = torch.stack(losses)
        if not values.isfinite().all():
            first = step - len(losses) + int((~values.isfinite()).nonzero()[0])
            value = values[first - step + len(losses)].item()
            raise UserError(
                f"the training loss is {value} at level {level}, epoch {epoch}, step {first}: lower training.lr, "
                "warm up, or set training.clip_norm; finished levels are kept"
            )
        accuracy = accuracy_of(model, dataset, dataset.epochs, training) if training.keep == "best" else None
        done = Epoch(epoch + 1, values.mean().item(), accuracy)
        if accuracy is None or best is None or accuracy > (best_epoch.accuracy or 0.0):
            best_epoch = done
            if not averaged:
                best = snapshot(model) if accuracy is not None or step == stop else None
        report(done)
        if checkpoint is not None and step < stop and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            known = {"step": step, "images": images, "best": asdict(best_epoch)}
            save_state(checkpoint, model, optimizer, best, known)
            saved = time.monotonic()
    if best is None:
        raise UserError(f"nothing to train at level {level}: it would start at step {start} and stop at {stop}")
    load_into(model, best)
    if averaged:
        refit_batchnorm(model, dataset, training, seed, level)
        best = snapshot(model)
    return Trained(best, best_epoch.epoch, best_epoch.accuracy, images)


def refit_batchnorm(model: nn.Module, dataset: Dataset, training: Training, seed: int, level: int) -> None:
    """Re-estimate BatchNorm statistics, which averaged weights lack, as the cumulative average over one epoch.

    One forward pass in training mode over all training samples, augmented; a function of (seed, level). A network
    without BatchNorm is left alone.
    """
    device = dataset.device
    _to_fast_layout(model, training)
    order = torch.randperm(len(dataset.train), generator=generator(seed, "refit", level)).to(device)
    batches = torch.split(order, training.batch)[: steps_per_epoch(len(dataset.train), training.batch)]
    draws = generator(seed, "refit", "augment", level)
    augmented = (inputs(dataset, dataset.augment(dataset.train.batch(batch), draws), training) for batch in batches)
    with _own_stream(device, derive(seed, "refit", "network", level)), precision(training, device):
        update_bn(augmented, model)


def _to_fast_layout(model: nn.Module, training: Training) -> None:
    if training.channels_last and any(p.ndim == 4 for p in model.parameters()):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def _own_stream(device: torch.device, seed: int) -> Iterator[None]:
    """What a network itself draws, as dropout does, comes from `seed` too; the caller's generators stay as they are."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), training.lr, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        training.lr,
        training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.nesterov,
    )


def inputs(dataset: Dataset, raw: Tensor, training: Training) -> Tensor:
    """Raw samples as the network takes them: normalised, and in the memory format in which convolutions are fast."""
    images = dataset.normalise(dataset.view(raw))
    channels_last = training.channels_last and images.ndim == 4
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images


def predict(model: nn.Module, dataset: Dataset, split: Split, training: Training, batch: int = 500) -> Iterator[Tensor]:
    """Logits of a split, float32 (batch, classes), in order; the model is left in evaluation mode."""
    device = next(model.parameters()).device
    model.eval()
    for images in split.batches(batch):
        with torch.inference_mode(), precision(training, device):
            logits = model(inputs(dataset, images, training)).float()
        yield logits  # outside: what the caller does with it in between is none of these contexts' business


def logits(model: nn.Module, dataset: Dataset, split: Split, training: Training, batch: int = 500) -> Tensor:
    """Those of a whole split, float32 (n, classes)."""
    return torch.cat(list(predict(model, dataset, split, training, batch)))


def accuracy_of(model: nn.Module, dataset: Dataset, split: Split, training: Training) -> float:
    """Share of correct predictions on a split."""
    return float((logits(model, dataset, split, training).argmax(1) == split.labels).float().mean())

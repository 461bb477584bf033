"""One masked training run: from some weights and a step to the last step; interrupted, it goes on to the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Training
from lottery_pools.config.toml import identity
from lottery_pools.data.augment import Draws
from lottery_pools.data.dataset import LARGE, Dataset
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import derive, generator
from lottery_pools.tickets import distributed
from lottery_pools.tickets.ahead import AheadSteps
from lottery_pools.tickets.averaging import blend, refit_batchnorm, share_of_newest
from lottery_pools.tickets.batches import Batch, Batches
from lottery_pools.tickets.checkpoint import load_state, save_state
from lottery_pools.tickets.forward import accuracy_of, inputs, seeded
from lottery_pools.tickets.optimisation import SparseNetwork, prepare, step
from lottery_pools.tickets.recording import cuda_graph, training_stream
from lottery_pools.tickets.schedule import learning_rate, steps_per_epoch
from lottery_pools.tickets.steps import PlainSteps, RecordedSteps, Steps
from lottery_pools.tickets.ticket import load_into, snapshot

_PRUNED = "pruned/"
"""What the names of masks begin with in a checkpoint, where they move in training."""
SECONDS_BETWEEN_CHECKPOINTS = 20.0
"""After an epoch a checkpoint is written only if the last one is older than this."""


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """What a training run is: its settings, its data, and the steps of the schedule that it covers."""

    settings: Training
    dataset: Dataset
    seed: int
    level: int
    """The level of the ticket: with `seed` it determines the batches and their augmentation."""
    start: int = 0
    """The step of the schedule at which the run starts, counted from 0."""
    stop: int | None = None
    """The step before which the run stops; if None, it runs to the end of the schedule."""
    fixed_rate: float | None = None
    """The learning rate of every step; if None, the schedule gives it."""
    checkpoint: Path | None = None
    """The file from which the run continues if it exists, and which it writes after epochs; it does not remove it."""
    at_step: tuple[int, Callable[[], None]] | None = None
    """A step, and a function that is called just before it."""
    between: Callable[[SparseNetwork, int], int] | None = None
    """What is called before each step with the network and the number of the step. It may change in place which weights
    are pruned, and returns how many training images it has used. A checkpoint then holds what is pruned."""
    record: bool = True
    """Whether steps on a GPU may be recorded as a CUDA graph and repeated, which is faster."""

    @property
    def steps_per_epoch(self) -> int:
        """The batches of an epoch."""
        return steps_per_epoch(self.dataset.epoch_size, self.settings.batch)

    @property
    def end(self) -> int:
        """The step before which the run stops."""
        return self.settings.epochs * self.steps_per_epoch if self.stop is None else self.stop

    @property
    def identity(self) -> str:
        """What identifies the settings, steps and samples of the run: only its own checkpoint continues it."""
        steps = self.start, self.end, self.fixed_rate
        return identity((self.settings, self.seed, self.level, *steps, self.dataset.digest))

    @property
    def averages(self) -> bool:
        """Whether the run returns a running mean of weights."""
        return self.settings.keep in ("swa", "ema")

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.settings, step / self.steps_per_epoch) if self.fixed_rate is None else self.fixed_rate

    def batches(self, step: int) -> Batches:
        """The batches from a step to the end of its epoch or of the run, on the device of the data."""
        samples, (epoch, place) = len(self.dataset.train), divmod(step, self.steps_per_epoch)
        order = torch.randperm(samples, generator=generator(self.seed, "order", self.level, epoch))
        order = order[: self.dataset.epoch_size]
        steps = range(step, min((epoch + 1) * self.steps_per_epoch, self.end))
        chosen = torch.split(order, self.settings.batch)[place : place + len(steps)]
        draws = [
            self.dataset.draws(len(indices), generator(self.seed, "augment", self.level, number))
            for number, indices in zip(steps, chosen, strict=True)
        ]
        rates = tuple(self.learning_rate(number) for number in steps)
        return Batches(torch.cat(chosen), Draws.cat(draws), rates, self.settings.batch).to(self.dataset.device)


@dataclass(frozen=True)
class Epoch:
    """One finished epoch."""

    epoch: int
    """The epochs of the schedule that are done."""
    loss: float
    """Mean training loss over its steps."""
    accuracy: float | None
    """On `dataset.epochs`, 0 to 1; None unless `keep = "best"`, which alone chooses an epoch by it."""
    copy: int = 0
    """The number of the network, counted from 0, where several are trained at a level."""


@dataclass(frozen=True)
class Trained:
    """What a training run returns."""

    weights: dict[str, Tensor]
    """Parameters and buffers by name."""
    epoch: int
    """The epoch, counted from 1, after which the model had these weights; the last epoch if they are a mean."""
    accuracy: float | None
    """The accuracy after that epoch, as in `Epoch`."""
    images: int
    """Training images seen, repeats counted."""


@dataclass
class Progress:
    """How far a run has come, and which weights it keeps. A checkpoint holds all of it."""

    step: int
    """The next step."""
    images: int = 0
    """Training images seen."""
    weights: dict[str, Tensor] | None = None
    """The weights that the run keeps: with `keep = "best"` those of the best epoch so far, with `"swa"` and `"ema"` the
    running mean, with `"last"` those at the end of the run. None until there are any."""
    epoch: Epoch = field(default_factory=lambda: Epoch(0, math.inf, None))
    """The best epoch so far with `keep = "best"`, else the last one."""

    def after_step(self, run: TrainingRun, model: nn.Module, images: int) -> None:
        """Count a step on a batch of `images` images, and update the running mean if there is one."""
        self.step += 1
        self.images += images
        share = share_of_newest(run.settings, self.step, run.start, run.end, run.steps_per_epoch)
        if share > 0:
            if self.weights is None:
                self.weights = snapshot(model)
            blend(self.weights, model.state_dict(), share)

    def after_epoch(self, run: TrainingRun, model: nn.Module, epoch: Epoch) -> None:
        """Keep the model's weights if `keep` says so. Of equally good epochs the first one is kept."""
        if epoch.accuracy is None:
            if self.step == run.end and not run.averages:
                self.weights = snapshot(model)
            self.epoch = epoch
        elif self.weights is None or epoch.accuracy > (self.epoch.accuracy or 0.0):
            self.weights, self.epoch = snapshot(model), epoch


def train(
    model: nn.Module,
    mask: Mapping[str, Tensor],
    run: TrainingRun,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Trained:
    """Train a model in place, pruned weights staying zero.

    Batches and augmentation are functions of seed, level and step, so an interrupted run continues from its checkpoint
    to the same bits. With `keep = "swa"` or `"ema"` the result is the running mean, with BatchNorm refitted.

    Args:
        model: The model, with the weights to begin with. At the end it has the weights that are returned.
        mask: The name of each prunable tensor → bool tensor of its shape, True where a weight survives.
        run: The settings, the data and the steps of the training run.
        on_epoch: Called after each epoch.

    Returns:
        The weights that `run.settings.keep` asks for, and what they cost.

    Raises:
        UserError: If the loss is no longer finite (the message names level, epoch and step), or if there is no step to
            train.
    """
    with training_stream(run.dataset.device), distributed.synchronised(model):
        network = prepare(model, mask, run.settings, run.dataset.task)
        progress = _load_checkpoint(run, network)
        steps = _steps(run, network)
        last_checkpoint = time.monotonic()
        while progress.step < run.end:
            first_step = progress.step
            losses = _train_epoch(run, network, steps, progress)
            _check_losses(run, losses, first_step)
            epoch = _finished_epoch(run, model, losses, first_step)
            progress.after_epoch(run, model, epoch)
            on_epoch(epoch)
            if progress.step < run.end and time.monotonic() - last_checkpoint > SECONDS_BETWEEN_CHECKPOINTS:
                _save_checkpoint(run, network, progress)
                last_checkpoint = time.monotonic()
        network.optimizer.zero_grad()
        return _result(run, model, progress)


def _steps(run: TrainingRun, network: SparseNetwork) -> Steps:
    """What takes the steps of a run: on a GPU whose memory holds the training set they are recorded and repeated.

    Of a training set that is too large for any memory, batches are read ahead.
    """

    def read(batch: Batch) -> tuple[Tensor, Batch]:
        dataset, part = run.dataset, distributed.part_of_batch(batch)
        augmented = dataset.augment(dataset.train.batch(part.samples), part.draws)
        return inputs(dataset, augmented, run.settings), batch

    def train_on(ready: tuple[Tensor, Batch]) -> Tensor:
        images, batch = ready
        return step(network, images, run.dataset.train.labels[batch.samples], batch.learning_rate)

    def train_batch(batch: Batch) -> Tensor:
        return train_on(read(batch))

    if run.record and distributed.alone() and run.dataset.train.stored.is_cuda:
        return RecordedSteps(train_batch, network.model, len(run.dataset.train), cuda_graph)
    if run.dataset.train.nbytes > LARGE:
        return AheadSteps(read, train_on)
    return PlainSteps(train_batch)


def _train_epoch(run: TrainingRun, network: SparseNetwork, steps: Steps, progress: Progress) -> Tensor:
    """Train to the end of the current epoch or of the run. Returns the loss of every step, (steps,)."""
    epoch = progress.step // run.steps_per_epoch
    batches, model = run.batches(progress.step), network.model
    model.train()
    steps.begin(batches)
    with seeded(run.dataset.device, derive(run.seed, "network", run.level, epoch, *distributed.name())):
        for place in range(len(batches)):
            if run.at_step is not None and run.at_step[0] == progress.step:
                run.at_step[1]()
            if run.between is not None:
                progress.images += run.between(network, progress.step)
            steps.take(place)
            progress.after_step(run, model, batches.size_of(place))
    return steps.losses()


def _check_losses(run: TrainingRun, losses: Tensor, first_step: int) -> None:
    """Raise UserError if the loss of one of the steps from `first_step` on is not finite."""
    not_finite = (~losses.isfinite()).nonzero()
    if len(not_finite):
        place = int(not_finite[0])
        step = first_step + place
        raise UserError(
            f"the training loss is {losses[place].item()} at level {run.level}, epoch {step // run.steps_per_epoch}, "
            f"step {step}: lower training.lr, warm up, or set training.clip_norm; finished levels are kept"
        )


def _finished_epoch(run: TrainingRun, model: nn.Module, losses: Tensor, first_step: int) -> Epoch:
    """The record of the epoch that began at `first_step`, with the accuracy if epochs are chosen by it."""
    chooses = run.settings.keep == "best"
    accuracy = accuracy_of(model, run.dataset, run.dataset.epochs, run.settings) if chooses else None
    return Epoch(first_step // run.steps_per_epoch + 1, losses.mean().item(), accuracy)


def _load_checkpoint(run: TrainingRun, network: SparseNetwork) -> Progress:
    """Load the run's checkpoint, if there is one, into model and optimizer. Returns how far the run has come."""
    if run.checkpoint is None or not run.checkpoint.exists():
        return Progress(run.start)
    weights, values = load_state(run.checkpoint, network.model, network.optimizer)
    if values.get("run") != run.identity:
        raise UserError(
            f"{run.checkpoint} is of a training run with other settings or data: restore those, or delete this file "
            "to train from the start"
        )
    if run.between is not None:
        weights = _restore_pruned(network, weights or {})
    return Progress(values["step"], values["images"], weights, Epoch(**values["best"]))


def _save_checkpoint(run: TrainingRun, network: SparseNetwork, progress: Progress) -> None:
    if run.checkpoint is not None:
        values = {
            "run": run.identity,
            "step": progress.step,
            "images": progress.images,
            "best": asdict(progress.epoch),
        }
        kept = progress.weights
        if run.between is not None:
            kept = (kept or {}) | {f"{_PRUNED}{place}": mask for place, mask in enumerate(network.pruned.values())}
        save_state(run.checkpoint, network.model, network.optimizer, kept, values)


def _restore_pruned(network: SparseNetwork, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Take what is pruned from the tensors of a checkpoint, which `_save_checkpoint` adds. Returns the others."""
    network.prune(tensors[f"{_PRUNED}{place}"] for place in range(len(network.kept)))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_PRUNED)} or None


def _result(run: TrainingRun, model: nn.Module, progress: Progress) -> Trained:
    """Give the model the weights that the run keeps, refit the BatchNorm of a mean, and return the result."""
    weights = progress.weights
    if weights is None:
        raise UserError(
            f"nothing to train at level {run.level}: it would start at step {run.start} and stop at {run.end}"
        )
    load_into(model, weights)
    distributed.check_equal(model)
    if run.averages:
        refit_batchnorm(model, run.dataset, run.settings, run.seed, run.level)
        weights = snapshot(model)
    return Trained(weights, progress.epoch.epoch, progress.epoch.accuracy, progress.images)

"""RigL: a network that is sparse from the first step, whose mask moves while it is trained (Evci et al., ICML 2020).

Every few steps, each layer drops its smallest weights and grows as many where the gradient is largest. The number of
weights of a layer stays the same. arXiv 1911.11134.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Config
from lottery_pools.data.dataset import Dataset
from lottery_pools.runs.folder import RunFolder, checkpoint_of, remove_unfinished_level
from lottery_pools.runs.ranks import of_this_process
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import distributed, files, imp, masks
from lottery_pools.tickets.batches import Batch
from lottery_pools.tickets.forward import inputs, precision
from lottery_pools.tickets.optimisation import SparseNetwork
from lottery_pools.tickets.schedule import MASK_MOVES_UNTIL, mask_updates
from lottery_pools.tickets.ticket import Ticket, load_into, snapshot
from lottery_pools.tickets.training import TrainingRun, train

FIRST_SHARE = 0.3
"""The share of a layer's weights that the first update replaces; it falls to zero as a cosine (the paper's α)."""


def tickets(
    config: Config, dataset: Dataset, folder: RunFolder, seed: int, on_epoch: imp.OnEpoch = lambda level, epoch: None
) -> Iterator[Ticket]:
    """Yield the network of the last level, sparse from the first step. Without a file it is trained and saved first.

    Arguments and errors are those of `imp.tickets`. Levels before the last are not needed, and not trained.
    """
    level = len(config.pruning.schedule()) - 1
    path, run = folder.ticket(level), imp.pruning_run(config, dataset, folder, seed)
    if not path.exists():
        start = random_mask(run.model, run.prunable, config.pruning.schedule()[level], level, seed)
        training = TrainingRun(config.training, dataset, seed, level, checkpoint=checkpoint_of(path))
        moving = MovingMask(training, start)
        load_into(run.model, masks.apply(snapshot(run.model), start))
        trained = train(run.model, start, replace(training, between=moving), lambda epoch: on_epoch(level, epoch))
        origin = {**run.origin, "epoch": trained.epoch, "train_images": trained.images}
        files.save(Ticket(trained.weights, moving.mask(), level, origin), path)
        of_this_process().wait()
    remove_unfinished_level(path)
    yield files.load(path, run.model)


def random_mask(
    model: nn.Module, prunable: tuple[str, ...], density: float, level: int, seed: int
) -> dict[str, Tensor]:
    """A random mask of exactly round(density × prunable) weights, divided over layers as Erdős–Rényi–Kernel says.

    The density of a layer is in proportion to the sum of its sizes over their product, but 1 at most: small layers
    stay denser. Fractions of weights go to the layers with the largest remainders.

    Args:
        model: The network.
        prunable: The names of its prunable tensors.
        density: Surviving / prunable weights.
        level: Its level, for messages and as part of the seed.
        seed: Of the run.

    Raises:
        UserError: If no weight would survive.
    """
    shapes = {name: tuple(model.get_parameter(name).shape) for name in prunable}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    wanted = masks.surviving(density, sum(sizes.values()), level)
    kept = _divided(wanted, {name: sum(shape) / sizes[name] for name, shape in shapes.items()}, sizes)
    draws, device = generator(seed, "rigl", level), next(model.parameters()).device
    mask = {}
    for name, shape in shapes.items():
        chosen = torch.randperm(sizes[name], generator=draws)[: kept[name]]
        flat = torch.zeros(sizes[name], dtype=torch.bool).index_fill_(0, chosen, True)
        mask[name] = flat.view(shape).to(device)
    return mask


class MovingMask:
    """What moves the mask between the steps of a run: `TrainingRun.between`.

    Args:
        run: The training run.
        mask: The mask at its first step.
    """

    def __init__(self, run: TrainingRun, mask: Mapping[str, Tensor]) -> None:
        self._run, self._start = run, mask
        self._updates = mask_updates(run.end)
        self._network: SparseNetwork | None = None

    def __call__(self, network: SparseNetwork, step: int) -> int:
        """Update the mask if it is time to. Returns the training images that this took."""
        self._network = network
        if step not in self._updates or not network.kept:
            return 0
        share = FIRST_SHARE / 2 * (1 + math.cos(math.pi * step / (MASK_MOVES_UNTIL * self._run.end)))
        images, gradients = self._gradients(network, step)
        masks_of_layers = network.pruned
        for (parameter, pruned), gradient in zip(masks_of_layers.items(), gradients, strict=True):
            move(parameter, pruned, gradient, share, network.optimizer)
        network.prune(masks_of_layers.values())
        return images

    def mask(self) -> dict[str, Tensor]:
        """The mask as it is now: the name of each prunable tensor → bool tensor, True where a weight survives."""
        if self._network is None:
            return dict(self._start)
        moved = {name: self._network.kept.get(weight) for name, weight in self._network.model.named_parameters()}
        return {
            name: start if (kept := moved[name]) is None else (kept != 0).contiguous()
            for name, start in self._start.items()
        }

    def _gradients(self, network: SparseNetwork, step: int) -> tuple[int, tuple[Tensor, ...]]:
        """The gradients of a batch of its own by the weights under a mask, pruned ones too; and the batch's images."""
        run, dataset = self._run, self._run.dataset
        draws = generator(run.seed, "rigl", "batch", run.level, step)
        size = min(run.settings.batch, dataset.epoch_size)
        samples = torch.randperm(len(dataset.train), generator=draws)[:size].to(dataset.device)
        part = distributed.part_of_batch(Batch(samples, dataset.draws(size, draws), 0.0))
        images = dataset.augment(dataset.train.batch(part.samples), part.draws)
        with precision(run.settings, dataset.device):
            outputs = network.forward(inputs(dataset, images, run.settings))
            loss = network.loss(distributed.gathered(outputs.float(), size), dataset.train.labels[samples])
        return size, tuple(map(distributed.add, torch.autograd.grad(loss, list(network.kept))))


@torch.no_grad()
def move(
    parameter: Tensor, pruned: Tensor, gradient: Tensor, share: float, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Drop a share of a layer's smallest weights, and grow as many where the gradient is largest, all in place.

    Weights that grow begin at zero. One that was just dropped may grow again, and then keeps its value. What the
    optimizer remembers of dropped and of new weights is forgotten.

    Args:
        parameter: The weights of the layer.
        pruned: Bool tensor of their shape, True where a weight is pruned.
        gradient: Of the loss by all weights, pruned ones too.
        share: The share of the weights that are not pruned, from 0 to 1; whole weights are dropped, rounded down.
        optimizer: The one that trains the layer.
    """
    absent = pruned.flatten()
    count = int(share * int((~absent).sum()))
    magnitude = parameter.abs().flatten().masked_fill(absent, math.inf)
    dropped = torch.zeros_like(absent).index_fill_(0, magnitude.sort(stable=True).indices[:count], True)
    growable = gradient.abs().flatten().float().masked_fill(~(absent | dropped), -1)
    grown = torch.zeros_like(absent).index_fill_(0, growable.sort(stable=True, descending=True).indices[:count], True)
    new = (grown & absent).view_as(parameter)
    pruned.copy_(((absent | dropped) & ~grown).view_as(parameter))
    stale = pruned | new
    parameter.masked_fill_(stale, 0)
    remembered = {} if optimizer is None else optimizer.state.get(parameter, {})
    for state in remembered.values():
        if isinstance(state, Tensor) and state.shape == parameter.shape:
            state.masked_fill_(stale, 0)


def _divided(wanted: int, scores: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide `wanted` weights over layers with densities in proportion to `scores`, at most 1, exactly."""
    full: set[str] = set()
    while True:
        left = wanted - sum(sizes[name] for name in full)
        part = sum(scores[name] * sizes[name] for name in scores if name not in full)
        scale = left / part if part else 0.0
        over = {name for name in scores if name not in full and scale * scores[name] > 1}
        if not over:
            break
        full |= over
    exact = {name: float(sizes[name]) if name in full else scale * scores[name] * sizes[name] for name in scores}
    kept = {name: math.floor(value + 1e-9) for name, value in exact.items()}
    missing = wanted - sum(kept.values())
    for name in sorted(exact, key=lambda name: kept[name] - exact[name])[:missing]:
        kept[name] += 1
    return kept

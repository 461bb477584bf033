"""How a network is run: precision, memory format, inputs, the random numbers of dropout; and its predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.config.schema import Training
from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.tickets import distributed, measures


def precision(settings: Training, device: torch.device) -> AbstractContextManager[Any]:
    """The autocast context under which a network is trained, recalibrated and evaluated."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def to_fast_layout(model: nn.Module, settings: Training) -> None:
    """Change the memory format of a network, in place, to that in which two-dimensional convolutions are fast."""
    if settings.channels_last and any(parameter.ndim == 4 for parameter in model.parameters()):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def inputs(dataset: Dataset, samples: Tensor, settings: Training) -> Tensor:
    """Samples as a network takes them: normalised, and in the memory format in which convolutions are fast.

    Args:
        dataset: The data set of the samples.
        samples: (n, c, …) as stored or augmented.
        settings: The settings that the network is trained with.

    Returns:
        (n, *dataset.input_shape) float32.
    """
    images = dataset.normalise(dataset.view(samples))
    channels_last = settings.channels_last and images.ndim == 4
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """A context in which layers that draw random numbers, such as dropout, draw those of `seed`.

    Such layers use torch's global generators; these are afterwards as they were before.

    Args:
        device: The device of the network.
        seed: The seed of the global generators within the context.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def predict(model: nn.Module, dataset: Dataset, split: Split, settings: Training, batch: int = 500) -> Iterator[Tensor]:
    """Yield the logits of a split batch by batch, in its order; the model is left in evaluation mode.

    Args:
        model: The network.
        dataset: The data set of the split.
        split: The samples.
        settings: The settings that the network is trained with.
        batch: The samples forwarded at once.

    Yields:
        (at most batch, classes) float32.
    """
    model.eval()
    for samples in split.batches(batch):
        # The contexts are closed before it is yielded: they are not for what the caller does between two batches.
        yield _forwarded(model, dataset, samples, settings)


def _forwarded(model: nn.Module, dataset: Dataset, samples: Tensor, settings: Training) -> Tensor:
    """The logits of some samples, (n, classes) float32."""
    device = next(model.parameters()).device
    with torch.inference_mode(), precision(settings, device):
        result: Tensor = model(inputs(dataset, samples, settings)).float()
    return result


def logits(model: nn.Module, dataset: Dataset, split: Split, settings: Training, batch: int = 500) -> Tensor:
    """The logits of a whole split, (n, classes) float32; arguments as for `predict`.

    Of several processes that share the work, each forwards some of the batches, and all return all logits. The batches
    are those of one process, so the logits are the same to the bit.
    """
    if distributed.alone():
        return torch.cat(list(predict(model, dataset, split, settings, batch)))
    model.eval()
    whole = torch.zeros(len(split), len(dataset.classes), device=next(model.parameters()).device)
    for rows in distributed.mine(torch.split(torch.arange(len(split)), batch)):
        whole[rows.to(whole.device)] = _forwarded(model, dataset, split.batch(rows), settings)
    return distributed.add(whole)


def accuracy_of(model: nn.Module, dataset: Dataset, split: Split, settings: Training) -> float:
    """The share of correct predictions on a split, 0 to 1; of a regression its R², at most 1."""
    return float(measures.of(dataset.task)(logits(model, dataset, split, settings), split.labels).float().mean())

"""One door to data: a name or a path becomes train, validation and test samples, with class names."""

from __future__ import annotations

import torch
from torch import Tensor

from lottery_pools.config import schema
from lottery_pools.data import images, mnist1d
from lottery_pools.data.dataset import LARGE, Dataset, Source, Split
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator

_AT_ONCE = 3 << 20  # values summed at once: more only costs memory and the time to get it


def load(data: schema.Data, large: int = LARGE) -> Dataset:
    """The data that the settings describe, on the CPU; raises UserError for what is missing, ambiguous or too small.

    `mnist1d` is generated. `cifar10`, `cifar100` and hub ids come through Hugging Face `datasets`, as do folders of
    train*.parquet and test*.parquet (or val*.parquet) files and image folders train/CLASS/…, test/CLASS/…. Decoded
    images are cached in $LOTTERY_POOLS_CACHE (~/.cache/lottery-pools) under a hash of their content. Splits of more
    than `large` bytes stay there, memory-mapped: take batches of them.
    """
    return _divide(data, _generated(data) if data.name == "mnist1d" else images.load(data), large)


def stratified(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Indices (n,), ascending, of a random subset with the class proportions of `labels` (at most `len(labels)`).

    Each class gets the whole part of its share; the largest remainders, of equals the lowest classes, get one more.
    """
    counts = labels.bincount()
    shares = counts * n
    quota = shares // len(labels)
    quota[(shares % len(labels)).argsort(descending=True, stable=True)[: n - int(quota.sum())]] += 1
    shuffled = torch.randperm(len(labels), generator=generator)
    shuffled = shuffled[labels[shuffled].argsort(stable=True)]  # by class, in random order within each
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[shuffled]]
    return shuffled[rank < quota[labels[shuffled]]].sort().values


def _divide(data: schema.Data, source: Source, large: int) -> Dataset:
    """Training, validation and test samples from what a source brings."""
    available, needed = len(source.train), data.validation + (data.train or 1)
    if needed > available:
        raise UserError(
            f"data.validation = {data.validation} and data.train = {data.train or 'the rest'} need {needed} or more "
            f"training samples, {data.name} has {available}: lower them"
        )
    if data.test is not None and data.test > len(source.test):
        raise UserError(f"data.test is {data.test}, {data.name} has {len(source.test)} test samples: lower it")
    if data.carve == "last":
        chosen = torch.arange(available - data.validation, available)
    else:
        chosen = stratified(source.train.labels, data.validation, generator(data.seed, "split", "validation"))
    rest = _others(available, chosen)
    if data.train is not None:
        rest = rest[stratified(source.train.labels[rest], data.train, generator(data.seed, "split", "train"))]
    train = source.train.take(rest, large)
    epochs = validation = source.train.take(chosen, large)
    if data.epoch_share:
        n = round(data.epoch_share * data.validation)
        if not 0 < n < data.validation:
            raise UserError(
                f"data.epoch_share = {data.epoch_share} of data.validation = {data.validation} samples leaves "
                f"{n} to choose epochs and {data.validation - n} to choose pools: give both at least 1"
            )
        first = stratified(validation.labels, n, generator(data.seed, "split", "epochs"))
        others = _others(data.validation, first)
        epochs, validation = validation.take(first, large), validation.take(others, large)
    test = source.test
    if data.test is not None:
        test = test.take(stratified(test.labels, data.test, generator(data.seed, "split", "test")), large)
    mean, std = _moments(train, large)
    resized = data.size if data.resized_crop else None
    return Dataset(train, epochs, validation, test, source.classes, mean, std, data.crop, data.flip, resized)


def _others(n: int, indices: Tensor) -> Tensor:
    """The indices below `n` that are not among `indices`, ascending."""
    free = torch.ones(n, dtype=torch.bool)
    free[indices] = False
    return free.nonzero()[:, 0]


def _moments(split: Split, large: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (c,) float32; a constant channel has deviation 1.

    Of a split of more than `large` bytes, over every k-th sample, so that these are not more.
    """
    places = torch.arange(0, len(split), -(-split.nbytes // large))
    first = second = torch.zeros(split.stored.shape[1], dtype=torch.float64)
    at_once = min(1000, -(-_AT_ONCE // split.stored[0].numel()))
    for part in torch.split(places, at_once):
        values = split.batch(part).flatten(2).float()
        first = first + values.sum((0, 2))
        second = second + values.square().sum((0, 2))
    count = len(places) * split.stored[0, 0].numel()
    mean = first / count
    std = (second / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def _generated(data: schema.Data) -> Source:
    train = mnist1d.generate((data.train or 4000) + data.validation, data.seed, data.difficulty, "train")
    test = mnist1d.generate(data.test or 10_000, data.seed, data.difficulty, "test")
    return Source(Split(*train), Split(*test), tuple(map(str, range(mnist1d.CLASSES))))

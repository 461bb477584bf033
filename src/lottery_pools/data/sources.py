"""Loading data: a name or a path becomes training, validation and test samples."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from lottery_pools.config import schema
from lottery_pools.data import arrays, images, mnist1d, used
from lottery_pools.data.dataset import LARGE, Dataset, Source, Split
from lottery_pools.data.decoding import Progress
from lottery_pools.errors import UserError
from lottery_pools.runs.seeds import generator

_TEST_SHARE = 0.2
"""Share of the samples that become test samples if a data set has no test split."""
_GENERATED = 4000
"""Training samples of MNIST-1D, if the settings do not say how many."""
_SUMMED_AT_ONCE = 3 << 20
"""Values that `_moments` sums in one step: more values take more memory and are no faster."""


def load(data: schema.Data, large: int = LARGE, progress: Progress | None = None) -> Dataset:
    """Load the data that the settings describe, on the CPU.

    `mnist1d` is generated. A folder with `train_inputs.npy` holds arrays (`arrays.load`). All others are images:
    `cifar10`, `cifar100`, the id of a data set on the Hugging Face hub, a folder of parquet files (train*.parquet, and
    test*.parquet or val*.parquet), or an image folder (train/CLASS/… and test/CLASS/…; docs/howto/images.md has all
    layouts). Without a test split, test samples are drawn from the training samples. Images are decoded once, and kept
    in the folder $LOTTERY_POOLS_CACHE (by default ~/.cache/lottery-pools) under a name that follows from their content.

    Args:
        data: The settings `[data]`.
        large: Bytes of images beyond which a split stays in the cache, memory-mapped: take batches of it.
        progress: Is called with the number of images that are decoded and the number of all, as decoding goes on.

    Raises:
        UserError: The data are missing or damaged, it is not clear which column to use, or there are too few samples.

    Examples:
        >>> dataset = load(schema.Data("mnist1d", train=1000, validation=200, test=500))
        >>> len(dataset.train), len(dataset.validation), len(dataset.test)
        (1000, 200, 500)
        >>> dataset.input_shape
        (1, 40)
        >>> inputs = dataset.normalise(dataset.train.batch(torch.arange(64)))
        >>> inputs.shape
        torch.Size([64, 1, 40])
    """
    if data.name == "mnist1d":
        data = _counted(data, data.train or _GENERATED)
        source = _generated(data)
    elif arrays.is_array_folder(data.name):
        source = arrays.load(data)
    elif data.decode == "used":
        dataset = used.load(data, lambda settings, source: _divide(settings, source, large), large, progress)
        first = torch.arange(min(dataset.epoch_size, len(dataset.train)))
        mean, std = _given_moments(data, dataset.train) or _moments(dataset.train.take(first), large)
        return dataclasses.replace(dataset, mean=mean, std=std)
    else:
        source = images.load(data, progress)
    return _divide(data, source, large)


def stratified(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw a random subset that has the class proportions of the whole, as nearly as whole numbers allow.

    Args:
        labels: Class of each sample, (N,) int64; or numbers, (N, …) floating, of which the subset is any.
        n: Size of the subset, at most N.
        generator: Draws the subset; on the CPU.

    Returns:
        The indices of the subset, (n,) int64, ascending. Each class gets the whole part of its share; the samples still
        missing go one each to the classes with the largest remainders, the lower class first if they are equal.
    """
    if labels.is_floating_point():  # several labels, or numbers: there are no classes to draw in proportion to
        return torch.randperm(len(labels), generator=generator)[:n].sort().values
    counts = labels.bincount()
    shares = counts * n
    quota = shares // len(labels)
    quota[(shares % len(labels)).argsort(descending=True, stable=True)[: n - int(quota.sum())]] += 1
    shuffled = torch.randperm(len(labels), generator=generator)
    shuffled = shuffled[labels[shuffled].argsort(stable=True)]  # by class, in random order within each
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[shuffled]]
    return shuffled[rank < quota[labels[shuffled]]].sort().values


def test_half(labels: Tensor, part: Literal["look", "final"]) -> Tensor:
    """The indices of one half of the test samples, (n // 2,) or (n - n // 2,) int64, ascending.

    The halves have the class proportions of the whole. They depend on nothing but the labels: no setting changes which
    samples are in which half.

    Args:
        labels: Class of each test sample, (n,) int64.
        part: `look` or `final`: which half.
    """
    look = stratified(labels, len(labels) // 2, generator(0, "split", "test halves"))
    return look if part == "look" else _complement(len(labels), look)


def _divide(data: schema.Data, source: Source, large: int) -> Dataset:
    """Divide a data set into training, validation and test samples as the settings say."""
    source, all_test = _with_test(data, source, large)
    data = _counted(data, len(source.train))
    _check_sizes(data, source, all_test)
    available, labels = len(source.train), source.train.labels
    if data.carve == "last":
        validation_rows = torch.arange(available - int(data.validation), available)
    else:
        validation_rows = stratified(labels, int(data.validation), generator(data.seed, "split", "validation"))
    train_rows = _complement(available, validation_rows)
    if data.train is not None:
        subset = stratified(labels[train_rows], data.train, generator(data.seed, "split", "train"))
        train_rows = train_rows[subset]
    train = source.train.take(train_rows, large)
    epochs, validation = _divide_validation(data, source.train.take(validation_rows, large), large)
    test = all_test
    if data.test is not None:
        test = test.take(stratified(test.labels, data.test, generator(data.seed, "split", "test")), large)
    mean, std = _given_moments(data, train) or _moments(train, large)
    all_rows = torch.cat((train_rows, validation_rows))
    return Dataset(
        source.train.take(all_rows, large) if data.train_on_validation else train,
        epochs,
        validation,
        test,
        source.classes,
        mean,
        std,
        data.crop,
        data.flip,
        resized_crop=data.size if data.resized_crop else None,
        digest=source.digest,
        notes=source.notes,
        task=data.task,
        epoch_samples=len(train) if data.train_on_validation else None,
    )


def _counted(data: schema.Data, available: int) -> schema.Data:
    """The settings with the validation samples as a number, where they are a share of the training samples."""
    if data.validation >= 1:
        return dataclasses.replace(data, validation=int(data.validation))
    return dataclasses.replace(data, validation=max(1, round(data.validation * available)))


def _with_test(data: schema.Data, source: Source, large: int) -> tuple[Source, Split]:
    """The data set, and its test samples: drawn from the training samples if it has none of its own."""
    if source.test is not None:
        if data.test_part == "all":
            return source, source.test
        return source, source.test.take(test_half(source.test.labels, data.test_part), large)
    if data.test_part != "all":
        raise UserError(f"data.test_part is {data.test_part}, and {data.name} has no test split: leave it out")
    available = len(source.train)
    n = data.test or max(1, round(available * _TEST_SHARE))
    if n >= available:
        raise UserError(f"data.test is {n}, {data.name} has {available} samples and no test split: lower it")
    rows = stratified(source.train.labels, n, generator(data.seed, "split", "held-out"))
    drawn = "drawn in proportion to the classes" if data.task == "single-label" else "drawn"
    note = (
        f"{data.name} has no test split: {n} of its {available} samples, {drawn} with "
        f"data.seed {data.seed}, are its test samples"
    )
    rest = source.train.take(_complement(available, rows), large)
    return dataclasses.replace(source, train=rest, notes=(*source.notes, note)), source.train.take(rows, large)


def _check_sizes(data: schema.Data, source: Source, test: Split) -> None:
    """Raise UserError if the settings ask for more samples than the data set has."""
    available, needed = len(source.train), data.validation + (data.train or 1)
    if needed > available:
        raise UserError(
            f"data.validation = {data.validation} and data.train = {data.train or 'the rest'} need {needed} or more "
            f"training samples, {data.name} has {available}"
            + (f", for it has no test split and {len(test)} others are its test samples" if source.test is None else "")
            + ": lower them"
        )
    if data.test is not None and data.test > len(test):
        raise UserError(f"data.test is {data.test}, {data.name} has {len(test)} test samples: lower it")


def _divide_validation(data: schema.Data, validation: Split, large: int) -> tuple[Split, Split]:
    """The validation samples that choose epochs and those that choose pools: one split, or two without overlap."""
    if not data.epoch_share:
        return validation, validation
    n = round(data.epoch_share * data.validation)
    if not 0 < n < data.validation:
        raise UserError(
            f"data.epoch_share = {data.epoch_share} of data.validation = {data.validation} samples leaves "
            f"{n} to choose epochs and {data.validation - n} to choose pools: give both at least 1"
        )
    for_epochs = stratified(validation.labels, n, generator(data.seed, "split", "epochs"))
    return validation.take(for_epochs, large), validation.take(_complement(len(validation), for_epochs), large)


def _complement(n: int, indices: Tensor) -> Tensor:
    """The indices below `n` that are not among `indices`, ascending."""
    absent = torch.ones(n, dtype=torch.bool)
    absent[indices] = False
    return absent.nonzero()[:, 0]


def _given_moments(data: schema.Data, split: Split) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation of each channel as the settings say, (c,) float32; None if they do not."""
    if not data.mean:
        return None
    channels = split.stored.shape[1]
    largest = 1 if split.stored.is_floating_point() else torch.iinfo(split.stored.dtype).max
    for name, values in (("mean", data.mean), ("std", data.std)):
        if len(values) not in (1, channels):
            raise UserError(
                f"data.{name} has {len(values)} values, {data.name} has {channels} channels: give one for each"
            )
    mean, std = (largest * torch.tensor(values).expand(channels).clone() for values in (data.mean, data.std))
    return mean, std


def _moments(split: Split, large: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (c,) float32; the deviation of a constant channel is set to 1.

    Of a split of more than `large` bytes, every k-th sample is read, with the smallest k that reads no more than that.
    """
    indices = torch.arange(0, len(split), -(-split.nbytes // large))
    total = total_of_squares = torch.zeros(split.stored.shape[1], dtype=torch.float64)
    batch_size = min(1000, -(-_SUMMED_AT_ONCE // split.stored[0].numel()))
    for batch in torch.split(indices, batch_size):
        values = split.batch(batch).flatten(2).float()
        total = total + values.sum((0, 2))
        total_of_squares = total_of_squares + values.square().sum((0, 2))
    count = len(indices) * split.stored[0, 0].numel()
    mean = total / count
    std = (total_of_squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def _generated(data: schema.Data) -> Source:
    """The samples of MNIST-1D: as many as the settings ask for."""
    sizes = {"train": (data.train or _GENERATED) + int(data.validation), "test": data.test or 10_000}
    train, test = (Split(*mnist1d.generate(n, data.seed, data.difficulty, name)) for name, n in sizes.items())
    digest = mnist1d.identity(sizes, data.seed, data.difficulty)
    return Source(train, test, tuple(map(str, range(mnist1d.CLASSES))), digest)

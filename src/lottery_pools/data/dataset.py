"""The values of the data wing: samples with their classes, and the splits of an experiment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.data import augment

LARGE = 2 << 30
"""Bytes of images beyond which they are neither copied into memory nor moved to a device whole."""


@dataclass(frozen=True)
class Split:
    """Samples and their classes. The images of a large split stay in their file, wherever its labels are."""

    stored: Tensor  # (N, c, h, w) uint8, or (N, 1, length) float32 for signals
    labels: Tensor  # (n,) int64, on the device that the samples are wanted on
    rows: Tensor | None = (
        None  # (n,) int64, beside `stored`: sample i is stored[rows[i]]; none: the samples are `stored`
    )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All samples, (n, …), in one tensor beside `stored`: of a large split take batches instead."""
        return self.stored if self.rows is None else self.stored.index_select(0, self.rows)

    @property
    def nbytes(self) -> int:
        """The size of all samples together."""
        return len(self) * math.prod(self.stored.shape[1:]) * self.stored.itemsize

    def batch(self, indices: Tensor) -> Tensor:
        """The samples at `indices` (m,) int64, on the device of the labels."""
        indices = indices.to(self.stored.device)
        rows = indices if self.rows is None else self.rows[indices]
        return self.stored.index_select(0, rows).to(self.labels.device)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All samples in order, `size` at a time, on the device of the labels."""
        for rows in torch.split(self.stored if self.rows is None else self.rows, size):
            part = rows if self.rows is None else self.stored.index_select(0, rows)
            yield part.to(self.labels.device)

    def take(self, indices: Tensor, large: int = LARGE) -> Split:
        """The samples at `indices` (m,) int64, in that order; copied, unless they are more than `large` bytes."""
        rows = indices if self.rows is None else self.rows[indices]
        chosen = Split(self.stored, self.labels[indices], rows)
        return chosen if chosen.nbytes > large else Split(chosen.images, chosen.labels)

    def to(self, device: torch.device | str, large: int = LARGE) -> Split:
        """The same samples, held on `device`; of more than `large` bytes, only the labels, and the batches taken."""
        labels = self.labels.to(device)
        if self.nbytes > large:
            return dataclasses.replace(self, labels=labels)
        return Split(self.images.to(device), labels)


@dataclass(frozen=True)
class Dataset:
    """All the samples of an experiment; `test` chooses nothing, it is for the report."""

    train: Split
    epochs: Split
    """Chooses epochs."""
    validation: Split
    """Chooses pools: the same object as `epochs`, or disjoint from it."""
    test: Split
    classes: tuple[str, ...]
    mean: Tensor
    """Of each channel (c,) over `train`, in the units of the images."""
    std: Tensor
    crop: int
    flip: bool
    resized_crop: int | None = None
    """Side to which a random part of each training image is brought, and of the middle of all others; none: neither."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample as networks take it: (c, h, w), or (1, length)."""
        channels, *sides = self.train.stored.shape[1:]
        return channels, *(sides if self.resized_crop is None else (self.resized_crop, self.resized_crop))

    @property
    def device(self) -> torch.device:
        """Where batches and labels are."""
        return self.mean.device

    def normalise(self, images: Tensor) -> Tensor:
        """`images` (n, c, …), on the device of this data, as float32 of mean 0 and deviation 1 over `train`."""
        shape = (-1, *[1] * (images.ndim - 2))
        return (images - self.mean.view(shape)).div_(self.std.view(shape))

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """`images` (n, c, …) as stored, cropped and flipped at random as the settings say; not yet normalised."""
        if self.resized_crop is not None:
            images = augment.resized_crop(images, self.resized_crop, generator)
        if self.crop:
            images = augment.crop(images, self.crop, generator)
        return augment.flip(images, generator) if self.flip else images

    def view(self, images: Tensor) -> Tensor:
        """`images` (n, c, …) as networks are tested on them: the middle of `input_shape`; what has it is passed on."""
        return images if self.resized_crop is None else augment.middle(images, self.resized_crop)

    def to(self, device: torch.device | str, large: int = LARGE) -> Dataset:
        """The same data, held on `device`; of splits of more than `large` bytes, only what batches are taken."""
        validation = self.validation.to(device, large)
        return dataclasses.replace(
            self,
            train=self.train.to(device, large),
            epochs=validation if self.epochs is self.validation else self.epochs.to(device, large),
            validation=validation,
            test=self.test.to(device, large),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )


@dataclass(frozen=True)
class Source:
    """What a data set brings, before it is divided."""

    train: Split
    test: Split
    classes: tuple[str, ...]

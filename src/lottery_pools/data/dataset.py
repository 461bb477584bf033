"""The values of the data wing: samples with their classes, and the splits of an experiment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.data import augment


@dataclass(frozen=True)
class Split:
    """Samples and their classes."""

    images: Tensor  # (n, c, h, w) uint8, or (n, 1, length) float32 for signals
    labels: Tensor  # (n,) int64

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """The samples at `indices` (m,) int64, in that order."""
        return Split(self.images.index_select(0, indices), self.labels.index_select(0, indices))

    def to(self, device: torch.device | str) -> Split:
        """The same samples, held on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (c, h, w), or (1, length)."""
        return tuple(self.train.images.shape[1:])

    def normalise(self, images: Tensor) -> Tensor:
        """`images` (n, c, …), on the device of this data, as float32 of mean 0 and deviation 1 over `train`."""
        shape = (-1, *[1] * (images.ndim - 2))
        return (images - self.mean.view(shape)).div_(self.std.view(shape))

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """`images` (n, c, …), not yet normalised, cropped and flipped at random as the settings say."""
        if self.crop:
            images = augment.crop(images, self.crop, generator)
        return augment.flip(images, generator) if self.flip else images

    def to(self, device: torch.device | str) -> Dataset:
        """The same data, held on `device`."""
        validation = self.validation.to(device)
        return dataclasses.replace(
            self,
            train=self.train.to(device),
            epochs=validation if self.epochs is self.validation else self.epochs.to(device),
            validation=validation,
            test=self.test.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )


@dataclass(frozen=True)
class Source:
    """What a data set brings, before it is divided."""

    train: Split
    test: Split
    classes: tuple[str, ...]

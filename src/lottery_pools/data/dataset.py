"""The values of this wing: samples with their classes (`Split`), and all the samples of an experiment (`Dataset`)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lottery_pools.config.data import Task
from lottery_pools.data import augment
from lottery_pools.data.augment import Draws

LARGE = 2 << 30
"""A split of more bytes of images than this stays in its file: it is neither copied into memory nor moved to a device;
only the batches that are taken from it are."""


@dataclass(frozen=True)
class Split:
    """Samples and their classes.

    The samples are all of `stored`, or those that `rows` chooses of it: a large split shares the memory-mapped file of
    the images with other splits. Batches always come on the device of the labels.
    """

    stored: Tensor
    """Images (N, c, h, w) uint8, or signals (N, 1, length) float32."""
    labels: Tensor
    """Class of each sample, (n,) int64, on the device where batches are wanted. With another task: whether it has each
    label, or its numbers, (n, labels) float32."""
    rows: Tensor | None = None
    """Which of `stored` are the samples, (n,) int64: sample i is `stored[rows[i]]`; none: all of them, in order."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All samples in one tensor (n, …), on the device of `stored`. Of a large split, take batches instead."""
        return self.stored if self.rows is None else self.stored.index_select(0, self.rows)

    @property
    def nbytes(self) -> int:
        """The size of all samples together, in bytes."""
        return len(self) * math.prod(self.stored.shape[1:]) * self.stored.itemsize

    def batch(self, indices: Tensor) -> Tensor:
        """Return the samples at `indices` (m,) int64: (m, …), on the device of the labels."""
        indices = indices.to(self.stored.device)
        rows = indices if self.rows is None else self.rows[indices]
        return self.stored.index_select(0, rows).to(self.labels.device)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield all samples in order, `size` at a time, on the device of the labels."""
        if self.rows is None:
            for samples in torch.split(self.stored, size):
                yield samples.to(self.labels.device)
        else:
            for rows in torch.split(self.rows, size):
                yield self.stored.index_select(0, rows).to(self.labels.device)

    def take(self, indices: Tensor, large: int = LARGE) -> Split:
        """Return the samples at `indices` (m,) int64, in that order, as a split of their own.

        They are copied, unless they are more than `large` bytes.
        """
        rows = indices if self.rows is None else self.rows[indices]
        chosen = Split(self.stored, self.labels[indices], rows)
        return chosen if chosen.nbytes > large else Split(chosen.images, chosen.labels)

    def to(self, device: torch.device | str, large: int = LARGE) -> Split:
        """Return the same samples on `device`; of more than `large` bytes, only the labels and batches are there."""
        labels = self.labels.to(device)
        if self.nbytes > large:
            return dataclasses.replace(self, labels=labels)
        return Split(self.images.to(device), labels)


@dataclass(frozen=True)
class Dataset:
    """All the samples of an experiment, and how they are prepared for a network.

    Training samples train, validation samples choose, and test samples are for the report only.
    """

    train: Split
    """Training samples."""
    epochs: Split
    """Validation samples that choose the epoch of each ticket."""
    validation: Split
    """Validation samples that choose pools: the same object as `epochs`, or other samples."""
    test: Split
    """Test samples; nothing is chosen by them."""
    classes: tuple[str, ...]
    """Names of the classes; a label is an index into them. With another task: names of the labels or numbers."""
    mean: Tensor
    """Mean of each channel over `train`, (c,) float32, in the units of the images."""
    std: Tensor
    """Standard deviation of each channel over `train`, (c,) float32, in the units of the images."""
    crop: int
    """Zeros on each side for random crops of training samples, in pixels or points; 0: no crops."""
    flip: bool
    """Whether training samples are mirrored left to right at random."""
    resized_crop: int | None = None
    """Side in pixels to which a random box of each training image is resized; other images are then cut to their
    central square of that side. None: images are used as they are."""
    digest: str = ""
    """What identifies the samples, 16 hexadecimal digits: it follows from the pixels and classes of all training and
    test samples as they were loaded, before validation samples and subsets were taken; of generated samples, from
    the settings that they are generated by. Empty if it is not known."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the data were read, a sentence each: what was left out, scaled or split."""
    task: Task = "single-label"
    """What is predicted of a sample."""
    epoch_samples: int | None = None
    """Training samples of one epoch, drawn anew for each, where that is not all of them; None: all."""

    @property
    def epoch_size(self) -> int:
        """The number of training samples of one epoch."""
        return len(self.train) if self.epoch_samples is None else self.epoch_samples

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample as networks receive it: (c, h, w), or (1, length) for signals."""
        channels, *sides = self.train.stored.shape[1:]
        return channels, *(sides if self.resized_crop is None else (self.resized_crop, self.resized_crop))

    @property
    def device(self) -> torch.device:
        """The device of batches and labels."""
        return self.mean.device

    def normalise(self, images: Tensor) -> Tensor:
        """Return `images` (n, c, …) as float32, scaled so that each channel of `train` has mean 0 and deviation 1.

        The images must be on the device of this data set.
        """
        shape = (-1, *[1] * (images.ndim - 2))
        return (images - self.mean.view(shape)).div_(self.std.view(shape))

    def draws(self, n: int, generator: torch.Generator) -> Draws:
        """Draw the random numbers by which `n` training samples are augmented, as the settings say.

        Args:
            n: The number of samples.
            generator: Draws them; on the CPU.

        Returns:
            The draws, on the CPU.
        """
        height, width = self.train.stored.shape[-2:] if self.train.stored.ndim == 4 else (1, 1)
        signals = self.train.stored.ndim != 4
        return Draws(
            boxes=None if self.resized_crop is None else augment.random_boxes(n, height, width, generator),
            offsets=augment.random_offsets(n, self.crop, generator, signals=signals) if self.crop else None,
            mirrored=augment.random_mirrored(n, generator) if self.flip else None,
        )

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        """Return training samples (n, c, …), cropped and mirrored as the draws say.

        Args:
            images: Samples as they are stored, not normalised.
            draws: As `self.draws` returns them, for as many samples; they are moved to the device of the images.
        """
        draws = draws.map(lambda tensor: tensor.to(images.device))
        if draws.boxes is not None and self.resized_crop is not None:
            images = augment.resized_crop(images, self.resized_crop, draws.boxes)
        if draws.offsets is not None:
            images = augment.crop(images, self.crop, draws.offsets)
        return images if draws.mirrored is None else augment.flip(images, draws.mirrored)

    def view(self, images: Tensor) -> Tensor:
        """Return samples (n, c, …) as networks are tested on them: the central part of `input_shape`.

        Samples that have this shape already are returned as they are.
        """
        return images if self.resized_crop is None else augment.centre_crop(images, self.resized_crop)

    def to(self, device: torch.device | str, large: int = LARGE) -> Dataset:
        """Return the same data on `device`; of splits of more than `large` bytes, only labels and batches are there."""
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
    """The samples of a data set as it is published, before validation samples are taken from its training samples."""

    train: Split
    test: Split | None
    """None: test samples are to be taken out of the training samples."""
    classes: tuple[str, ...]
    """Names of the classes; a label is an index into them."""
    digest: str
    """As `Dataset.digest`."""
    notes: tuple[str, ...] = ()
    """As `Dataset.notes`."""

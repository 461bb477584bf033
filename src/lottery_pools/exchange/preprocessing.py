"""What is done to samples before a network is given them, as plain values that a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """From a sample as it is stored to what the network takes, and the names of the classes.

    Images are stored as numbers from 0 to 255, signals as they are. An image's central square is brought to the side
    of `stored_shape`, then its middle of `input_shape` is taken; `mean` and `std` are in the stored units.

    Example:
        ```python
        preprocessing = lp.Preprocessing.of(dataset)
        logits = model(preprocessing(samples))
        ```
    """

    mean: tuple[float, ...]
    """Of each channel."""
    std: tuple[float, ...]
    input_shape: tuple[int, ...]
    """Of one sample as the network takes it: (channels, height, width), or (1, length)."""
    stored_shape: tuple[int, ...]
    """Of one sample as it is stored."""
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = (self.input_shape, self.stored_shape)
        if len({len(shape) for shape in shapes}) > 1 or any(shape[:1] != (len(self.mean),) for shape in shapes):
            raise UserError(
                f"preprocessing for samples {self.stored_shape} as {self.input_shape} has {len(self.mean)} means: give "
                "one for each channel"
            )
        if len(self.std) != len(self.mean) or any(deviation <= 0 for deviation in self.std):
            raise UserError(f"preprocessing has deviations {self.std}: give a positive one for each channel")

    @classmethod
    def of(cls, dataset: Dataset) -> Preprocessing:
        """The preprocessing of an experiment's data."""
        return cls(
            tuple(dataset.mean.tolist()),
            tuple(dataset.std.tolist()),
            tuple(dataset.input_shape),
            tuple(dataset.test.stored.shape[1:]),
            tuple(dataset.classes),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """From the values that `to_json` gives; raises UserError if they are others."""
        try:
            return cls(
                tuple(map(float, values["mean"])),
                tuple(map(float, values["std"])),
                tuple(map(int, values["input_shape"])),
                tuple(map(int, values["stored_shape"])),
                tuple(map(str, values.get("classes", ()))),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"the preprocessing in a config.json cannot be used ({error}): export it again") from error

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {key: list(value) for key, value in asdict(self).items()}

    def __call__(self, samples: Tensor) -> Tensor:
        """Bring samples to what the network takes.

        Args:
            samples: (n, *stored_shape) or (n, *input_shape), of any type of numbers, in the stored units.

        Returns:
            (n, *input_shape), float32.

        Raises:
            UserError: If the samples have another shape.
        """
        shape = tuple(samples.shape[1:])
        if shape not in (self.stored_shape, self.input_shape):
            raise UserError(
                f"samples are {tuple(samples.shape)}: give (n, {', '.join(map(str, self.stored_shape))}), as the "
                "network was trained on"
            )
        normalised: Tensor = self.inside()(_middle(samples, self.input_shape))
        return normalised

    def inside(self) -> Normalise:
        """The normalisation as a module, to stand in front of a network."""
        return Normalise(self.mean, self.std, len(self.input_shape) - 1)


class Normalise(nn.Module):
    """Brings samples (n, channels, …) in stored units to mean 0 and deviation 1 over the training samples."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], axes: int) -> None:
        super().__init__()
        shape = (-1, *[1] * axes)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(shape))

    def forward(self, samples: Tensor) -> Tensor:
        """The same, normalised."""
        return (samples.float() - self.get_buffer("mean")) / self.get_buffer("std")


def _middle(samples: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The middle of each sample, of that shape."""
    for axis, size in enumerate(shape[1:], start=2):
        samples = samples.narrow(axis, (samples.shape[axis] - size) // 2, size)
    return samples

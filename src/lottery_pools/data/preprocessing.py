"""What is done to samples before a network is given them, as plain values that a file can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lottery_pools.data import pixels
from lottery_pools.data.dataset import Dataset
from lottery_pools.errors import UserError

Sample = str | Path | bytes
"""One image: its path, or the content of its file."""
RESIZE = "largest central box of the stored proportions; whole factors average areas, else bilinear, antialiased"
"""How an image of another size is brought to `Preprocessing.stored_shape`, in words for the file."""


@dataclass(frozen=True)
class Preprocessing:
    """From a sample as it is stored to what the network takes, and the names of the classes.

    Images are stored as numbers from 0 to 255, signals as they are. Of an image of another size, the largest central
    box with the proportions of `stored_shape` (a square, mostly) is resized to it. Then the middle of `input_shape` is
    taken. `mean` and `std` are in the stored units.

    Example:
        ```python
        network = lp.load_model("stronger.safetensors")
        logits = network(network.preprocess(["cat.png", "dog.png"]))  # or samples, or lp.Preprocessing.of(dataset)
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
    task: str = "single-label"
    """What the outputs are, as the setting `data.task`: with `single-label`, one logit a class."""

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
            dataset.task,
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "a config.json") -> Preprocessing:
        """From the values that `to_json` gives, which stand in `where`; raises UserError if they are others."""
        try:
            if values.get("resize", RESIZE) != RESIZE:
                raise ValueError("its images are resized by a rule of a later version")
            return cls(
                tuple(map(float, values["mean"])),
                tuple(map(float, values["std"])),
                tuple(map(int, values["input_shape"])),
                tuple(map(int, values["stored_shape"])),
                tuple(map(str, values.get("classes", ()))),
                str(values.get("task", "single-label")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"the preprocessing in {where} cannot be used ({error}): give another preprocessing"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file. Of images, `resize` says in words what is done to those of another size."""
        values = {key: value if isinstance(value, str) else list(value) for key, value in asdict(self).items()}
        return {**values, "resize": RESIZE} if self.is_of_images else values

    @property
    def is_of_images(self) -> bool:
        """Whether samples are images (channels, height, width), not signals."""
        return len(self.stored_shape) == 3

    def __call__(self, samples: Tensor | NDArray[Any] | Sample | Sequence[Sample]) -> Tensor:
        """Bring samples to what the network takes.

        Args:
            samples: (n, *stored_shape) or (n, *input_shape), of any type of numbers, in the stored units; or images,
                each the path of a file or its content.

        Returns:
            (n, *input_shape), float32.

        Raises:
            UserError: If the samples have another shape, or an image cannot be read.
        """
        samples = self.stored(samples)
        shape = tuple(samples.shape[1:])
        if shape not in (self.stored_shape, self.input_shape):
            raise UserError(
                f"samples are {tuple(samples.shape)}: give (n, {', '.join(map(str, self.stored_shape))}), as the "
                "network was trained on"
            )
        normalised: Tensor = self.inside()(_middle(samples, self.input_shape))
        return normalised

    def stored(self, samples: Tensor | NDArray[Any] | Sample | Sequence[Sample]) -> Tensor:
        """Read images as training images were read: (n, *stored_shape), uint8. Arrays stay as they are.

        Raises:
            UserError: If an image cannot be read, or the network takes no images.
        """
        if isinstance(samples, Tensor):
            return samples
        if isinstance(samples, np.ndarray):
            return torch.from_numpy(samples if samples.flags.writeable else samples.copy())
        images = [samples] if isinstance(samples, str | Path | bytes) else samples
        arrays = [torch.from_numpy(_image(image, self.stored_shape)) for image in images]
        return torch.stack(arrays) if arrays else torch.empty(0, *self.stored_shape)

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


def _image(image: Sample, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The pixels of an image, (channels, height, width), brought to the shape of the training images."""
    name = "an image" if isinstance(image, bytes) else str(image)
    if len(shape) != 3:
        raise UserError(f"{name} is an image, the network takes samples of shape {shape}: give a .npy file of them")
    pixels.check_installed()
    channels, height, width = shape
    try:
        upright = pixels.opened(image if isinstance(image, bytes) else str(image))[0]
        fitted = pixels.fitted(upright.convert("L" if channels == 1 else "RGB"), height, width)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {name}: {error}; give an image, or a .npy file of samples") from error
    values = np.asarray(fitted)
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))

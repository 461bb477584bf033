"""What a network says of samples that it has not seen: images in files, or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lottery_pools.data import npy, pixels
from lottery_pools.errors import UserError
from lottery_pools.exchange import network
from lottery_pools.exchange.preprocessing import Preprocessing
from lottery_pools.tickets import files


@dataclass(frozen=True)
class Predictions:
    """The probabilities of n samples, and what these and the classes are called."""

    samples: tuple[str, ...]
    """The files, or the numbers of the samples."""
    probabilities: Tensor
    """(n, classes) float32."""
    classes: tuple[str, ...]

    @property
    def chosen(self) -> Tensor:
        """The most likely class of each sample, (n,) int64."""
        return self.probabilities.argmax(1)

    def top(self, most: int = 1) -> list[list[tuple[str, float]]]:
        """The most likely classes of each sample with their probabilities, the likeliest first."""
        values, places = self.probabilities.topk(min(most, self.probabilities.shape[1]), dim=1)
        return [
            [(self.classes[place], value) for place, value in zip(row, chances, strict=True)]
            for row, chances in zip(places.tolist(), values.tolist(), strict=True)
        ]


def predict(
    source: nn.Module | str | Path,
    inputs: Tensor | NDArray[Any] | Sequence[str | Path],
    *,
    preprocessing: Preprocessing | None = None,
    model: nn.Module | None = None,
    trust: bool = False,
    batch: int = 256,
) -> Predictions:
    """Predict the class probabilities of samples.

    Args:
        source: The network, the file of a ticket, or a folder that `lp.export` wrote.
        inputs: Samples in their stored units, (n, *shape); or the paths of images, or of one `.npy` file of samples.
        preprocessing: How samples become inputs; by default that of the exported folder. For a run's tickets, give
            `lp.Preprocessing.of(dataset)` of its data.
        model: As for `lp.load_model`.
        trust: As for `lp.load_model`.
        batch: Samples forwarded at once.

    Raises:
        UserError: As `lp.load_model`; if the preprocessing is not known; and if an input cannot be read or is of
            another shape.

    Example:
        ```python
        predictions = lp.predict("exported", ["cat.png", "dog.png"])
        for sample, ((label, probability), *_) in zip(predictions.samples, predictions.top()):
            print(sample, label, f"{probability:.1%}")
        ```
    """
    if isinstance(source, nn.Module):
        ready = source.eval()
    else:
        _check_task(Path(source))
        ready = network.load_model(source, model=model, trust=trust)
        if preprocessing is None and Path(source).is_dir():
            preprocessing = network.preprocessing_in(Path(source))
    if preprocessing is None:
        raise UserError("how samples become inputs is not known: give preprocessing=, lp.Preprocessing.of(dataset)")
    samples, names = _samples(inputs, preprocessing)
    device = next((parameter.device for parameter in ready.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        parts = [ready(preprocessing(part).to(device)).float().softmax(1).cpu() for part in torch.split(samples, batch)]
    probabilities = torch.cat(parts)
    numbered = tuple(map(str, range(probabilities.shape[1])))
    classes = preprocessing.classes if len(preprocessing.classes) == len(numbered) else numbered
    return Predictions(names, probabilities, classes)


def _check_task(source: Path) -> None:
    """Raise UserError if a ticket's file says that its network predicts something else than one of several classes."""
    task = files.read_metadata(source)["origin"].get("task") if source.is_file() else None
    if task is not None:
        raise UserError(
            f"{source} is of {task} data, predict gives probabilities of classes: call the network that lp.load_model "
            "returns"
        )


def _samples(
    inputs: Tensor | NDArray[Any] | Sequence[str | Path], preprocessing: Preprocessing
) -> tuple[Tensor, tuple[str, ...]]:
    """The samples (n, …) in their stored units, and their names; raises UserError if there are none."""
    if isinstance(inputs, Tensor | np.ndarray):
        samples = torch.as_tensor(inputs)
        names = tuple(map(str, range(len(samples))))
    else:
        paths = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
        if len(paths) == 1 and paths[0].suffix == ".npy":
            samples = torch.from_numpy(_array(paths[0]))
            names = tuple(map(str, range(len(samples))))
        else:
            images = [torch.from_numpy(_image(path, preprocessing.stored_shape)) for path in paths]
            samples, names = torch.stack(images) if images else torch.empty(0), tuple(map(str, paths))
    if len(samples) == 0:
        raise UserError("no samples to predict: give one or more")
    return samples, names


def _array(path: Path) -> NDArray[Any]:
    """The array of a file; never a pickled one."""
    try:
        return np.asarray(npy.open_array(path))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {str(error).partition(chr(10))[0]}; give an array of numbers") from error


def _image(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The pixels of an image, (channels, height, width), its central square brought to the size as training data are.

    Shrinking by a whole factor averages over areas, any other change of size is bilinear, antialiased.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(f"images need {error.name}: pip install 'lottery-pools[data]'") from error
    if len(shape) != 3:
        raise UserError(f"{path} is an image, the network takes samples of shape {shape}: give a .npy file of them")
    channels, height, width = shape
    try:
        image = pixels.opened(str(path))[0].convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; give an image, or a .npy file of samples") from error
    if image.size != (width, height):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        whole = height == width and side % height == 0
        image = (
            image.reduce(side // height, box)
            if whole
            else image.resize((width, height), Image.Resampling.BILINEAR, box)
        )
    values = np.asarray(image)
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))

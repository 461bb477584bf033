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

from lottery_pools.data import npy
from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.errors import UserError
from lottery_pools.exchange import network
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
        preprocessing: How samples become inputs; by default what the file says, or the network's own `preprocess`.
        model: As for `lp.load_model`.
        trust: As for `lp.load_model`.
        batch: Samples forwarded at once.

    Raises:
        UserError: As `lp.load_model`; if the preprocessing is not known, or the network is no classifier; and if an
            input cannot be read or is of another shape.

    Example:
        ```python
        predictions = lp.predict("stronger.safetensors", ["cat.png", "dog.png"])
        for sample, ((label, probability), *_) in zip(predictions.samples, predictions.top()):
            print(sample, label, f"{probability:.1%}")
        ```
    """
    if batch < 1:
        raise UserError(f"batch is {batch}: give 1 or more")
    if not isinstance(source, nn.Module):
        _check_task(Path(source))
    ready = source.eval() if isinstance(source, nn.Module) else network.load_model(source, model=model, trust=trust)
    own = getattr(ready, "preprocess", None)
    if preprocessing is None and isinstance(own, Preprocessing):
        preprocessing = own
    if preprocessing is None:
        raise UserError("how samples become inputs is not known: give preprocessing=, lp.Preprocessing.of(dataset)")
    if preprocessing.task != "single-label":
        raise UserError(f"the network is of {preprocessing.task} data, predict gives probabilities of classes: call it")
    samples, names = _samples(inputs)
    if not names:
        raise UserError("no samples to predict: give one or more")
    device = next((parameter.device for parameter in ready.parameters()), torch.device("cpu"))
    starts = range(0, len(names), batch)
    with torch.inference_mode():  # images are read batch by batch: there may be more than memory holds
        parts = [
            ready(preprocessing(samples[start : start + batch]).to(device)).float().softmax(1).cpu() for start in starts
        ]
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
    inputs: Tensor | NDArray[Any] | Sequence[str | Path],
) -> tuple[Tensor | NDArray[Any] | list[str | Path], tuple[str, ...]]:
    """Samples (n, …) in their stored units, or the paths of images, and what they are called."""
    if isinstance(inputs, Tensor | np.ndarray):
        return inputs, tuple(map(str, range(len(inputs))))
    paths: list[str | Path] = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    if len(paths) == 1 and Path(paths[0]).suffix == ".npy":
        array = _array(Path(paths[0]))
        return array, tuple(map(str, range(len(array))))
    return paths, tuple(map(str, paths))


def _array(path: Path) -> NDArray[Any]:
    """The array of a file, of one dimension or more; never a pickled one."""
    try:
        array = np.asarray(npy.open_array(path))
        if array.ndim == 0 or not np.issubdtype(array.dtype, np.number):
            raise ValueError(f"it is {array.dtype} of {array.ndim} dimensions")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {str(error).partition(chr(10))[0]}; give an array of numbers") from error
    return array

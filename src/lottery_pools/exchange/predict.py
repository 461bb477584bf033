"""What a network says of samples that it has not seen: images in files, or arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lottery_pools.config.data import Task
from lottery_pools.data import npy
from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.errors import UserError, unknown
from lottery_pools.exchange import network
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket


@dataclass(frozen=True)
class Predictions:
    """What a network says of n samples, and what these and its outputs are called."""

    samples: tuple[str, ...]
    """The files, or the numbers of the samples."""
    values: Tensor
    """(n, outputs) float32: the probability of each class, with several labels of each label, or the numbers of a
    regression."""
    classes: tuple[str, ...]
    """Names of the classes, labels or numbers."""
    task: Task = "single-label"

    def __repr__(self) -> str:
        return f"Predictions({len(self.samples)} samples, {len(self.classes)} outputs, task={self.task!r})"

    @property
    def probabilities(self) -> Tensor:
        """(n, classes) float32; raises UserError of a regression, which has none."""
        if self.task == "regression":
            raise UserError("a regression predicts numbers, which have no probabilities: take `values`")
        return self.values

    @property
    def chosen(self) -> Tensor:
        """The most likely class of each sample, (n,) int64; with several labels those that are likelier than not,
        (n, labels) bool. Raises UserError of a regression."""
        return self.probabilities > 0.5 if self.task == "multi-label" else self.probabilities.argmax(1)

    def top(self, most: int | None = None) -> list[list[tuple[str, float]]]:
        """The most likely classes or labels of each sample with their probabilities, the likeliest first; of a
        regression the numbers in their order.

        Args:
            most: At most so many of each sample; None: the likeliest class, or all labels or numbers.
        """
        outputs = self.values.shape[1]
        most = min(outputs, most or (1 if self.task == "single-label" else outputs))
        if self.task == "regression":
            values, places = self.values[:, :most], torch.arange(most).expand(len(self.values), most)
        else:
            values, places = self.values.topk(most, dim=1)
        return [
            [(self.classes[place], value) for place, value in zip(row, chances, strict=True)]
            for row, chances in zip(places.tolist(), values.tolist(), strict=True)
        ]


def predict(
    source: nn.Module | Ticket | str | Path,
    inputs: Tensor | NDArray[Any] | Sequence[str | Path],
    *,
    preprocessing: Preprocessing | None = None,
    model: nn.Module | None = None,
    trust: bool = False,
    task: Task | None = None,
    batch: int = 256,
) -> Predictions:
    """Predict samples: probabilities of classes or of several labels, or the numbers of a regression.

    Args:
        source: The network, a ticket, its file, or a folder that `lp.export` wrote.
        inputs: Samples in their stored units, (n, *shape); or the paths of images, or of one `.npy` file of samples.
        preprocessing: How samples become inputs; by default what the file says, or the network's own `preprocess`.
        model: As for `lp.load_model`.
        trust: As for `lp.load_model`.
        task: What the outputs are, as the setting `data.task`; by default what the file says, else the preprocessing.
        batch: Samples forwarded at once.

    Raises:
        UserError: As `lp.load_model`; if the preprocessing is not known, or the task is none of ours; and if an input
            cannot be read or is of another shape.

    Example:
        ```python
        predictions = lp.predict("stronger.safetensors", ["cat.png", "dog.png"])
        for sample, ((label, probability), *_) in zip(predictions.samples, predictions.top()):
            print(sample, label, f"{probability:.1%}")
        ```
    """
    if batch < 1:
        raise UserError(f"batch is {batch}: give 1 or more")
    ready = source.eval() if isinstance(source, nn.Module) else network.load_model(source, model=model, trust=trust)
    of_ticket = getattr(ready, "preprocess", None)
    if preprocessing is None and isinstance(of_ticket, Preprocessing):
        preprocessing = of_ticket
    if preprocessing is None:
        raise UserError(
            "how samples become inputs is not known: give preprocessing=lp.Preprocessing(mean, std, input_shape, "
            "stored_shape), or lp.Preprocessing.of(dataset)"
        )
    wanted = task or _task_of(source) or preprocessing.task
    known: Task | None = next((known for known in _PREDICTED if known == wanted), None)
    if known is None:
        raise unknown("task", wanted, _PREDICTED)
    samples, names = _samples(inputs)
    if not names:
        raise UserError("no samples to predict: give one or more")
    device = next((parameter.device for parameter in ready.parameters()), torch.device("cpu"))
    starts = range(0, len(names), batch)
    with torch.inference_mode():  # images are read batch by batch: there may be more than memory holds
        parts = [
            _PREDICTED[known](ready(preprocessing(samples[start : start + batch]).to(device)).float()).cpu()
            for start in starts
        ]
    values = torch.cat(parts)
    numbered = tuple(map(str, range(values.shape[1])))
    classes = preprocessing.classes if len(preprocessing.classes) == len(numbered) else numbered
    return Predictions(names, values, classes, known)


_PREDICTED: Mapping[Task, Callable[[Tensor], Tensor]] = {
    "single-label": lambda outputs: outputs.softmax(1),
    "multi-label": lambda outputs: outputs.sigmoid(),
    "regression": lambda outputs: outputs,
}
"""From the outputs of a network, (n, outputs), to what is predicted, by task."""


def _task_of(source: nn.Module | Ticket | str | Path) -> str | None:
    """What a ticket or its file says that its network predicts, if it says so."""
    if isinstance(source, nn.Module) or (not isinstance(source, Ticket) and not Path(source).is_file()):
        return None
    origin = source.origin if isinstance(source, Ticket) else files.read_metadata(Path(source))["origin"]
    task: str | None = origin.get("task")
    return task


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

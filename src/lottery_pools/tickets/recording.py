"""Records work on a GPU as a CUDA graph, and finds out beforehand whether a recording would repeat all of it."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes a function that launches work, and returns one that repeats this work. Raises RecordingError if it cannot be
recorded; then nothing was done."""


class RecordingError(Exception):
    """Work cannot be recorded. The message goes on after "since the network"."""


def cuda_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Record work on the current GPU and stream as a CUDA graph, without doing it. Has the type `Record`.

    The random numbers that the work draws on the GPU are new ones at each repetition, as if it were done plainly.

    Example:
        ```python
        with training_stream(device):
            work()  # once plainly, so that libraries set themselves up
            repeat = cuda_graph(work)
            repeat()
        ```
    """
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads may use the GPU meanwhile, as those that load data do.
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            work()
    except RuntimeError as error:
        torch.cuda.synchronize()
        _renew_random_numbers()
        raise RecordingError(f"cannot be recorded ({str(error).splitlines()[0]})") from error
    return graph.replay


@contextmanager
def training_stream(device: torch.device) -> Iterator[None]:
    """A context in which a GPU works on a stream of its own, for work on the default stream cannot be recorded.

    What was launched before comes first, and what is launched afterwards comes last. Other devices have no streams;
    there, the context does nothing.
    """
    if device.type != "cuda":
        yield
        return
    stream = _stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


@contextmanager
def observed(model: nn.Module, device: torch.device) -> Iterator[list[str]]:
    """Watch work for what a recording would not repeat.

    A CUDA graph repeats kernels, and nothing that Python does between them.

    Args:
        model: The network that works.
        device: Where it works.

    Yields:
        A list that holds, after the context, a description of each obstacle; each goes on after "the network".
    """
    obstacles: list[str] = []
    random_states = _random_states()
    attributes = _attributes(model)
    with _synchronisations(device) as places:
        yield obstacles
    obstacles.extend(f"waits for the GPU within a step ({place})" for place in places)
    if _random_states() != random_states:
        obstacles.append("draws random numbers on the host")
    changed = sorted(name for name, value in _attributes(model).items() if attributes.get(name, value) != value)
    if changed:
        obstacles.append(f"changes its attribute {changed[0]}")


@contextmanager
def _synchronisations(device: torch.device) -> Iterator[list[str]]:
    """Collect where operations make the host wait for a GPU, as "file, line n". Nothing is found on other devices."""
    places: list[str] = []
    if device.type != "cuda":
        yield places
        return
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    for warning in caught:
        if str(warning.message).startswith("called a synchronizing CUDA operation"):
            places.append(f"{Path(warning.filename).name}, line {warning.lineno}")
        elif not str(warning.message).startswith("Synchronization debug mode is a prototype"):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _random_states() -> tuple[Any, ...]:
    """The states of the generators on the host that networks may draw from: Python's, NumPy's and PyTorch's."""
    numpy: Any = np.random.get_state(legacy=False)
    return (
        random.getstate(),
        numpy["state"]["key"].tobytes(),
        numpy["state"]["pos"],
        torch.get_rng_state().numpy().tobytes(),
    )


def _attributes(model: nn.Module) -> dict[str, Any]:
    """The numbers and words that the modules of a network keep in Python, by their name."""
    plain = (bool, int, float, str)
    return {
        f"{name}.{key}" if name else key: value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, plain)
    }


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which this process trains: a single one, so that memory that it frees is used again."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _renew_random_numbers() -> None:
    """Give the GPU's generator a state that no recording holds: it refuses plain work after one that failed."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())

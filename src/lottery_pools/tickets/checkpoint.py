"""The file from which an interrupted training run goes on to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.errors import shown
from lottery_pools.tickets.container import Container, write
from lottery_pools.tickets.ticket import load_into, snapshot

KIND = "training"
"""The key of the file's metadata."""


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, Tensor] | None,
    values: Mapping[str, Any],
) -> None:
    """Write everything that the rest of a training run depends on.

    Args:
        path: The file; it is complete or not there at all.
        model: The model, of which parameters and buffers are written.
        optimizer: Its optimizer, of which the state of every parameter is written.
        kept: The weights that the run keeps so far, by name; None if there are none yet.
        values: Everything else that the run needs, in values that JSON can hold.

    Raises:
        UserError: If the file cannot be written.
    """
    tensors = {f"model/{name}": tensor for name, tensor in snapshot(model).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in (kept or {}).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items() if value is not None}
    write(path, KIND, tensors, {"values": dict(values)})


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """Restore what `save_state` wrote: `model` and `optimizer` are changed in place.

    Returns:
        The other two arguments that `save_state` was given: `kept`, on the model's device, and `values`.

    Raises:
        UserError: If the file is damaged, or of another model; the message then names the first tensor that differs.
    """
    container = Container(path, KIND)
    values = container.metadata.get("values")
    if not isinstance(values, dict):
        raise container.damaged("it does not say how far the training came, or is of an earlier version")
    container.verify()
    tensors = {name: container.read(name) for name in container.entries}
    parameters = list(model.parameters())
    states = _optimizer_states(container, parameters, _below("optimizer/", tensors))
    load_into(model, _below("model/", tensors), f"the tensors of {path}")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    kept = {name: tensor.to(parameters[0].device) for name, tensor in _below("best/", tensors).items()}
    return kept or None, values


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with `prefix`, by the rest of their name."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizer_states(
    container: Container, parameters: list[nn.Parameter], tensors: Mapping[str, Tensor]
) -> dict[int, dict[str, Tensor]]:
    """The state of an optimizer by the index of the parameter, from its tensors by `index/key`."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        if len(index) > 9 or not index.isdecimal() or int(index) >= len(parameters) or not key:
            raise container.damaged(f"its optimizer has {shown(name)}")
        parameter = parameters[int(index)]
        if tensor.ndim and tensor.shape == parameter.shape:
            # In the memory layout of the parameter, as before: mixed layouts are slower, and on a GPU they may be
            # given to another kernel, whose last bits differ.
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        states.setdefault(int(index), {})[key] = tensor
    return states

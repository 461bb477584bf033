"""The file from which an interrupted training run goes on to the same bits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from lottery_pools.runs.folder import write
from lottery_pools.tickets.ticket import load_into, snapshot


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
        tensors |= {f"optimizer/{index}/{key}": value.contiguous() for key, value in state.items() if value is not None}
    write(path, serialise(tensors, {"training": json.dumps(values)}))


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """Restore what `save_state` wrote: `model` and `optimizer` are changed in place.

    Returns:
        The other two arguments that `save_state` was given: `kept`, on the model's device, and `values`.

    Raises:
        UserError: If the file is of another model; the message names the first tensor that differs.
    """
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["training"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    load_into(model, _below("model/", tensors), f"the tensors of {path}")
    parameters = list(model.parameters())
    _load_optimizer(optimizer, parameters, _below("optimizer/", tensors))
    kept = {name: tensor.to(parameters[0].device) for name, tensor in _below("best/", tensors).items()}
    return kept or None, values


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with `prefix`, by the rest of their name."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimizer the state of its parameters: tensors by `index/key`, the index that of the parameter."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        if tensor.ndim:
            # In the memory layout of the parameter, as before: mixed layouts are slower, and on a GPU they may be
            # given to another kernel, whose last bits differ.
            tensor = torch.empty_like(parameters[int(index)]).copy_(tensor)
        states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})

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
    best: Mapping[str, Tensor] | None,
    known: Mapping[str, Any],
) -> None:
    """Write everything that the rest of a run depends on: `best`, the weights it would keep so far; `known`, plain
    values."""
    tensors = {f"model/{name}": tensor for name, tensor in snapshot(model).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in (best or {}).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value.contiguous() for key, value in state.items() if value is not None}
    write(path, serialise(tensors, {"training": json.dumps(known)}))


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """The inverse of `save_state`: (best, known), with model and optimizer as they were."""
    with safe_open(path, "pt") as file:
        known = json.loads(file.metadata()["training"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    load_into(model, parts["model"], f"the tensors of {path}")
    parameters = list(model.parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition("/")
        like = parameters[int(index)]
        # in the layout of the parameter, as it was: mixed layouts are slower, and on a GPU another kernel's last bits
        state.setdefault(int(index), {})[key] = torch.empty_like(like).copy_(tensor) if tensor.ndim else tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return {name: tensor.to(parameters[0].device) for name, tensor in parts["best"].items()} or None, known

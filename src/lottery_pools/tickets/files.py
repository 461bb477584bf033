"""Ticket ↔ one safetensors file: weights, masks as packed bits, one sorted JSON of metadata; never pickle."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.runs.folder import write
from lottery_pools.tickets.ticket import LazyTensors, Shapes, Ticket, check_fit
from lottery_pools.version import VERSION

FORMAT = 1
"""The version of the file format that is written and read."""
WEIGHT, MASK = "weight/", "mask/"
"""What stands in the file before the name of a weight and of a mask."""


def save(ticket: Ticket, path: str | Path) -> None:
    """Write a ticket to one safetensors file.

    The file is complete or not there at all, even if the process is killed. Equal tickets give equal bytes.

    Args:
        ticket: The ticket; values in its `origin` must be such that JSON can hold them.
        path: The file, by convention `….safetensors`. Missing folders are made.

    Raises:
        UserError: If the file cannot be written.

    Example:
        ```python
        lp.save(ticket, "level_03.safetensors")
        ```
    """
    # Cloned because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        WEIGHT + name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in ticket.weights.items()
    }
    for name, mask in ticket.mask.items():
        tensors[MASK + name] = torch.from_numpy(np.packbits(mask.cpu().numpy()))
    metadata = {
        "format": FORMAT,
        "level": ticket.level,
        "kept": ticket.kept,
        "prunable": ticket.prunable,
        "origin": dict(ticket.origin),
        "version": VERSION,
        # Here in the order of the model: safetensors orders tensors by type and name.
        "weights": [[name, list(tensor.shape)] for name, tensor in ticket.weights.items()],
        "mask": list(ticket.mask),
    }
    write(Path(path), serialise(tensors, {"ticket": json.dumps(metadata, sort_keys=True)}))


def load(path: str | Path, model: nn.Module | None = None) -> Ticket:
    """The ticket in a file. Each of its tensors is read from the file when it is asked for, on the CPU.

    Args:
        path: A file that `save` wrote; it must stay while the ticket is used.
        model: The model that the ticket must fit, if given: every tensor's name and shape is compared.

    Returns:
        The ticket. It costs no memory until a tensor is asked for.

    Raises:
        UserError: If the file is missing, truncated, damaged, no ticket, or of another model; the message then names
            the first tensor that differs, with both shapes.

    Example:
        ```python
        ticket = lp.load("level_03.safetensors", model)
        model.load_state_dict(dict(ticket.weights))
        ```
    """
    path = Path(path)
    metadata = read_metadata(path)
    shapes = {name: tuple(shape) for name, shape in metadata["weights"]}
    if model is not None:
        check_fit(model, shapes, f"the tensors of {path}")
    masked = {name: shapes[name] for name in metadata["mask"]}
    ticket = Ticket(
        LazyTensors(shapes, partial(_read_weight, path, shapes)),
        LazyTensors(masked, partial(_read_mask, path, masked)),
        metadata["level"],
        metadata["origin"],
    )
    if (ticket.kept, ticket.prunable) != (metadata["kept"], metadata["prunable"]):
        raise UserError(
            f"{path} is damaged: it keeps {ticket.kept} of {ticket.prunable} weights where its header says "
            f"{metadata['kept']} of {metadata['prunable']}; restore or delete the file"
        )
    return ticket


def read_metadata(path: Path) -> dict[str, Any]:
    """What a ticket file says of itself, without its tensors.

    Args:
        path: A file that `save` wrote.

    Returns:
        `format`, `version`, `level`, `kept`, `prunable`, `origin`; `weights`, a list of [name, shape]; `mask`, a list
        of names.

    Raises:
        UserError: If the file is missing, truncated, no ticket, or of another format.
    """
    if not path.is_file():
        raise UserError(f"no ticket file {path}: give a file that `lottery-pools tickets` or `pool` wrote")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("ticket")
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or no safetensors file ({error}): restore or delete it") from error
    if text is None:
        raise UserError(f"{path} is a safetensors file but no ticket: give a file written by lottery-pools")
    metadata: dict[str, Any] = json.loads(text)
    if metadata["format"] != FORMAT:
        raise UserError(
            f"{path} has ticket format {metadata['format']}, this version reads {FORMAT}: upgrade lottery-pools"
        )
    return metadata


def _read_weight(path: Path, shapes: Shapes, name: str) -> Tensor:
    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(WEIGHT + name)
        return tensor.view(shapes[name]).clone()  # a copy does not keep the file mapped


def _read_mask(path: Path, shapes: Shapes, name: str) -> Tensor:
    with safe_open(path, "pt") as file:
        bits = np.unpackbits(file.get_tensor(MASK + name).numpy(), count=math.prod(shapes[name]))
    return torch.from_numpy(bits.view(bool)).view(shapes[name])

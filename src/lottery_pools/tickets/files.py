"""Ticket ↔ one safetensors file: weights, masks as packed bits, one sorted JSON of metadata; never pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.runs.folder import write
from lottery_pools.tickets.ticket import Ticket, check_fit
from lottery_pools.version import VERSION

FORMAT = 1
WEIGHT, MASK = "weight/", "mask/"

Read = Callable[[Any, str, tuple[int, ...]], Tensor]
"""From an open file, the tensor of that name and shape."""


class FileTensors(Mapping[str, Tensor]):
    """Name → tensor, read from the file each time it is asked for, so that holding it costs no memory."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]], read: Read) -> None:
        self.path, self.shapes, self._read = path, shapes, read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        with safe_open(self.path, "pt") as file:
            return self._read(file, name, self.shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def save(ticket: Ticket, path: str | Path) -> None:
    """Write `ticket` to `path`, complete or not at all; equal tickets give equal bytes."""
    # cloned, for safetensors refuses tensors that share memory, as tied weights do
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
        # safetensors lays tensors out by type and name: the model's own order is kept here
        "weights": [[name, list(tensor.shape)] for name, tensor in ticket.weights.items()],
        "mask": list(ticket.mask),
    }
    write(Path(path), serialise(tensors, {"ticket": json.dumps(metadata, sort_keys=True)}))


def load(path: str | Path, model: nn.Module | None = None) -> Ticket:
    """The ticket of a file, its tensors read on demand.

    With `model`, it must be the model that the ticket is of. Raises UserError where the file is missing, truncated,
    no ticket, or of another model: then the first tensor that differs is named, with both shapes.
    """
    path = Path(path)
    metadata = read_metadata(path)
    shapes = {name: tuple(shape) for name, shape in metadata["weights"]}
    if model is not None:
        check_fit(model, shapes, f"the tensors of {path}")
    ticket = Ticket(
        FileTensors(path, shapes, _read_weight),
        FileTensors(path, {name: shapes[name] for name in metadata["mask"]}, _read_mask),
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
    """What a ticket file says of itself, without its tensors; raises UserError as `load`."""
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


def _read_weight(file: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    tensor: Tensor = file.get_tensor(WEIGHT + name)
    return tensor.view(shape).clone()  # lets go of the mapped file


def _read_mask(file: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    bits = np.unpackbits(file.get_tensor(MASK + name).numpy(), count=math.prod(shape))
    return torch.from_numpy(bits.view(bool)).view(shape)

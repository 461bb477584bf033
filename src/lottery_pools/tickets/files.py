"""Ticket ↔ one safetensors file: surviving weights, masks as few bytes, one sorted JSON of metadata; never pickle.

docs/file-format.md describes the format.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lottery_pools.errors import UserError, shown
from lottery_pools.tickets import header, mask_code
from lottery_pools.tickets.container import Container, check_storable, write
from lottery_pools.tickets.header import MASK, WEIGHT
from lottery_pools.tickets.layout import numel
from lottery_pools.tickets.ticket import LazyTensors, Shapes, Ticket, check_fit
from lottery_pools.version import VERSION

FORMAT = 2
"""The version of the file format that is written."""
KIND = "ticket"
"""The key of the file's metadata."""
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers by their size in bytes, as which numbers of any type are moved to the bit."""


def save(ticket: Ticket, path: str | Path) -> None:
    """Write a ticket to one safetensors file.

    Of a tensor with a mask only the surviving weights are written, to the bit, and the mask as few bytes. The file is
    complete or not there at all, even if the process is killed. Equal tickets give equal bytes.

    Args:
        ticket: The ticket.
        path: The file, by convention `….safetensors`. Missing folders are made.

    Raises:
        UserError: If it is no ticket, the file cannot be written, or a tensor is of a kind that safetensors files do
            not hold.

    Example:
        ```python
        lp.save(ticket, "level_03.safetensors")
        ```
    """
    if not isinstance(ticket, Ticket):
        raise UserError(
            f"cannot save a {type(ticket).__name__}: give a ticket, such as the `.ticket` of what lp.pool returns"
        )
    tensors: dict[str, Tensor] = {}
    kept = prunable = 0
    for name, tensor in ticket.weights.items():
        check_storable(Path(path), name, tensor)
        if name in ticket.mask:
            mask = ticket.mask[name].cpu().numpy()
            tensors[WEIGHT + name] = _survivors(tensor, mask)
            tensors[MASK + name] = torch.from_numpy(mask_code.encode(mask))
            kept, prunable = kept + tensors[WEIGHT + name].numel(), prunable + mask.size
        else:
            tensors[WEIGHT + name] = tensor
    metadata = {
        "format": FORMAT,
        "level": ticket.level,
        "kept": kept,
        "prunable": prunable,
        "origin": dict(ticket.origin),
        "version": VERSION,
        # Here in the order of the model: safetensors orders tensors by type and name.
        "weights": [[name, list(tensor.shape)] for name, tensor in ticket.weights.items()],
        "mask": list(ticket.mask),
    }
    write(Path(path), KIND, tensors, metadata)


def load(path: str | Path, model: nn.Module | None = None, verify: bool = True) -> Ticket:
    """The ticket in a file. Each of its tensors is read from the file when it is asked for, on the CPU.

    Args:
        path: A file that `save` wrote, of this version or an earlier one; it must stay while the ticket is used.
        model: The model that the ticket must fit, if given: every tensor's name and shape is compared.
        verify: Read the whole file once, and compare it with the SHA-256 that it carries. Without, only the header is
            compared; weights that changed on disk then go unnoticed. Files of format 1 carry none.

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
    container = _open(path)
    metadata = container.metadata
    shapes = header.shapes(metadata)
    if model is not None:
        check_fit(model, shapes, f"the tensors of {path}")
    if verify and container.has_digests:
        container.verify()
    masked = {name: shapes[name] for name in metadata["mask"]}
    weights = LazyTensors(shapes, partial(_read_weight, container, masked))
    mask = LazyTensors(masked, partial(_read_mask, container, masked))
    try:
        ticket = Ticket(weights, mask, metadata["level"], metadata["origin"])
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path} holds no ticket: {error}") from error
    if (ticket.kept, ticket.prunable) != (metadata["kept"], metadata["prunable"]):
        raise container.damaged(
            f"it keeps {ticket.kept} of {ticket.prunable} weights where its header says "
            f"{metadata['kept']} of {metadata['prunable']}"
        )
    return ticket


def read_metadata(path: Path) -> dict[str, Any]:
    """What a ticket file says of itself, without its tensors.

    Args:
        path: A file that `save` wrote, of this version or an earlier one.

    Returns:
        `format`, `version`, `level`, `kept`, `prunable`, `origin`; `weights`, a list of [name, shape]; `mask`, a list
        of names; the SHA-256 digests `check_header` and `check_tensors`.

    Raises:
        UserError: If the file is missing, truncated, no ticket, of another format, or its header is damaged. The bytes
            of the tensors are not compared with their digest.
    """
    return _open(path).metadata


def tensors_digest(path: Path) -> str:
    """The first sixteen hexadecimal digits of the SHA-256 of a ticket file's tensors, as its header says; empty for the
    first format, which carries none. Raises UserError as `read_metadata`."""
    return str(read_metadata(path).get("check_tensors", ""))[:16]


def _open(path: Path) -> Container:
    """A ticket file, its header checked."""
    if not path.is_file():
        raise UserError(f"no ticket file {path}: give a file that `lottery-pools tickets` or `pool` wrote")
    container = Container(path, KIND)
    version = container.metadata.get("format")
    if type(version) is int and version > max(header.FORMATS):
        formats = " and ".join(map(str, header.FORMATS))
        raise UserError(f"{path} has ticket format {version}, this version reads {formats}: upgrade lottery-pools")
    if type(version) is not int or version not in header.FORMATS:
        raise container.damaged(f"its format is {shown(version)}")
    try:
        header.check(container)
    except ValueError as error:
        raise container.damaged(str(error)) from error
    return container


def _survivors(tensor: Tensor, mask: NDArray[np.bool_]) -> Tensor:
    """The weights that survive, in their order: (kept,), to the bit."""
    survivors = _bits(tensor.detach().cpu().contiguous())[mask.reshape(-1)]
    return torch.from_numpy(survivors).view(tensor.dtype)


def _bits(tensor: Tensor) -> NDArray[Any]:
    """The memory of a contiguous tensor as whole numbers, (numel,), not copied."""
    return tensor.reshape(-1).view(_BITS[tensor.element_size()]).numpy()


def _read_weight(container: Container, masked: Shapes, name: str) -> Tensor:
    stored = container.read(WEIGHT + name)
    if name not in masked or container.metadata["format"] == 1:
        return stored
    mask = _mask(container, name, masked[name])
    if np.count_nonzero(mask) != len(stored):
        raise container.damaged(f"the mask of {shown(name)} keeps {np.count_nonzero(mask)} of {len(stored)} weights")
    dense = torch.zeros(masked[name], dtype=stored.dtype)
    mask_code.spread(_bits(stored), mask, _bits(dense))
    return dense


def _read_mask(container: Container, masked: Shapes, name: str) -> Tensor:
    return torch.from_numpy(_mask(container, name, masked[name])).view(masked[name])


def _mask(container: Container, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask of a tensor, flat."""
    coded = container.read(MASK + name).numpy()
    if container.metadata["format"] == 1:
        return np.unpackbits(coded, count=numel(shape)).view(np.bool_)
    try:
        return mask_code.decode(coded, numel(shape))
    except ValueError as error:
        raise container.damaged(f"the mask of {shown(name)} cannot be decoded, {error}") from error

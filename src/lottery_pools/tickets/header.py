"""What a ticket file says of its ticket, checked against the tensors that it holds, before any of them is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lottery_pools.errors import shown
from lottery_pools.tickets import mask_code
from lottery_pools.tickets.container import Container
from lottery_pools.tickets.layout import numel, sizes
from lottery_pools.tickets.origin import check_known, plain
from lottery_pools.tickets.ticket import Shapes

FORMATS = (1, 2)
"""The versions of the file format that are read."""
WEIGHT, MASK = "weight/", "mask/"
"""What stands in the file before the name of a weight and of a mask."""
_KEYS = frozenset({"format", "kept", "level", "mask", "origin", "prunable", "version", "weights"})
_DIGESTS = frozenset({"check_header", "check_tensors"})


def check(container: Container) -> None:
    """Raise ValueError unless the metadata of a ticket file is whole, and the file has the tensors that it names.

    All sizes are compared with the sizes of the tensors in the file, so that nothing larger is allocated later.

    Args:
        container: A file of format 1 or 2.
    """
    metadata = container.metadata
    expected = _KEYS if metadata["format"] == 1 else _KEYS | _DIGESTS
    if odd := sorted(expected ^ set(metadata)):
        raise ValueError(f"its JSON {'lacks' if odd[0] in expected else 'has'} {shown(odd[0])}")
    for key in ("level", "kept", "prunable"):
        if type(metadata[key]) is not int:
            raise ValueError(f"its {key} is {shown(metadata[key])}")
    if not isinstance(metadata["version"], str) or not isinstance(metadata["origin"], dict):
        raise ValueError("its version is no text, or its origin no JSON object")
    try:
        plain(metadata["origin"])
        check_known(metadata["origin"])
    except ValueError as error:
        raise ValueError(f"its origin has {error}") from error
    _check_tensors(container, _shapes(metadata["weights"]), _names(metadata["mask"]))


def shapes(metadata: Mapping[str, Any]) -> Shapes:
    """The shape of every tensor of a ticket, by name, from metadata that was checked."""
    return {name: tuple(shape) for name, shape in metadata["weights"]}


def _shapes(weights: object) -> Shapes:
    if not isinstance(weights, list):
        raise ValueError("its list of tensors is none")
    shapes = {}
    for pair in weights:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError(f"its list of tensors has {shown(pair)}")
        name, shape = pair[0], sizes(pair[1])
        if name in shapes:
            raise ValueError(f"it names {shown(name)} twice")
        shapes[name] = shape
    return shapes


def _names(mask: object) -> Sequence[str]:
    if not isinstance(mask, list) or not all(isinstance(name, str) for name in mask):
        raise ValueError(f"its list of masks is {shown(mask)}")
    if len(set(mask)) < len(mask):
        raise ValueError("it names a mask twice")
    return mask


def _check_tensors(container: Container, shapes: Shapes, masked: Sequence[str]) -> None:
    """Raise ValueError unless the file has just these tensors, each of a size that fits its shape."""
    if unknown := next((name for name in masked if name not in shapes), None):
        raise ValueError(f"the mask {shown(unknown)} has no weight of that name")
    expected = {WEIGHT + name for name in shapes} | {MASK + name for name in masked}
    if odd := sorted(expected ^ set(container.entries)):
        raise ValueError(f"it {'lacks' if odd[0] in expected else 'has'} the tensor {shown(odd[0])}")
    with_mask, kept, prunable = set(masked), 0, 0
    for name, shape in shapes.items():
        weight, size = container.entries[WEIGHT + name], numel(shape)
        if name not in with_mask:
            fits = weight.shape == shape
        else:
            mask, prunable = container.entries[MASK + name], prunable + size
            fits = mask.dtype == torch.uint8 and len(mask.shape) == 1
            if container.metadata["format"] == 1:
                fits = fits and weight.shape == shape and mask.shape[0] == (size + 7) // 8
            else:
                fits = fits and len(weight.shape) == 1 and mask_code.fits(mask.shape[0], size)
                kept += numel(weight.shape)
        if not fits:
            raise ValueError(f"{shown(name)} of shape {shown(list(shape))} does not fit the tensors in the file")
    if container.metadata["format"] == 2 and (kept, prunable) != _counts(container.metadata):
        raise ValueError(
            f"it keeps {kept} of {prunable} weights where its header says {container.metadata['kept']} of "
            f"{container.metadata['prunable']}"
        )


def _counts(metadata: Mapping[str, Any]) -> tuple[int, int]:
    return metadata["kept"], metadata["prunable"]

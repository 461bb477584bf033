"""The layout `sparse-bitmask` of the library compressed-tensors: the weights that are kept, and a bit a weight.

A tensor `P.weight` is stored as `P.shape` (its sizes), `P.compressed` (the kept weights in order), `P.bitmask` (bits
along the last dimension, the first the lowest of its byte, each row padded to whole bytes) and `P.row_offsets` (where
in `compressed` each row begins). Older versions of the library wrote `P.weight.shape` and so on; 0.15 and newer no
longer read the layout. Source: that library's `BitmaskTensor` up to 0.14, described here and written anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lottery_pools.errors import UserError

FORMAT = "sparse-bitmask"
PARTS = ("shape", "compressed", "bitmask", "row_offsets")
_QUANTISED = ("weight_packed", "weight_scale", "weight_zero_point", "weight_global_scale")


def encode(weight: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Store a weight of one or more dimensions as the parts described above.

    Args:
        weight: The weight, on the CPU.
        mask: Bool, of the same shape: which weights are kept. Those kept may be zero.

    Returns:
        Name of part → tensor: those of `PARTS`.

    Example:
        ```python
        parts = encode(torch.tensor([[0.0, 5.0]]), torch.tensor([[False, True]]))
        parts["compressed"], parts["bitmask"]  # tensor([5.]), tensor([[2]], dtype=torch.uint8)
        ```
    """
    counts = mask.sum(-1)
    bits = np.packbits(mask.numpy(), axis=-1, bitorder="little")
    return {
        "shape": torch.tensor(weight.shape),
        "compressed": weight[mask],
        "bitmask": torch.from_numpy(bits),
        "row_offsets": counts.cumsum(0) - counts,
    }


def decode(shape: Tensor, compressed: Tensor, bitmask: Tensor) -> tuple[Tensor, Tensor]:
    """Rebuild a weight from its parts: (weight, mask), the mask being True where the weight was kept.

    Raises:
        UserError: If the parts do not belong together.
    """
    if shape.dim() != 1 or shape.is_floating_point() or shape.is_complex():
        raise UserError(f"the shape beside a bitmask is {shape.dtype} {tuple(shape.shape)}: the file is damaged")
    sizes = tuple(int(size) for size in shape.tolist())
    expected = (*sizes[:-1], -(-sizes[-1] // 8)) if sizes else ()
    if not sizes or min(sizes) < 0 or tuple(bitmask.shape) != expected or bitmask.dtype != torch.uint8:
        raise UserError(
            f"a bitmask is {bitmask.dtype} {tuple(bitmask.shape)} for a tensor of {sizes}: the file is damaged"
        )
    bits = np.unpackbits(bitmask.numpy(), axis=-1, count=sizes[-1], bitorder="little")
    mask = torch.from_numpy(bits).view(torch.bool).reshape(sizes)
    if (kept := int(mask.sum())) != compressed.numel():
        raise UserError(f"a bitmask keeps {kept} weights of which {compressed.numel()} are there: the file is damaged")
    weight = torch.zeros(sizes, dtype=compressed.dtype)
    weight[mask] = compressed.flatten()
    return weight, mask


def decoded(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Decode the tensors of a file that are stored as bitmasks; all others are passed on.

    Returns:
        (weights, masks), by name. There is a mask for each tensor that was decoded.

    Raises:
        UserError: If a layer is quantised, or parts are missing.
    """
    weights, masks = dict(tensors), {}
    for name in tensors:
        if name.endswith(_QUANTISED):
            raise UserError(f"{name!r} is part of a quantised layer: give the checkpoint from before quantisation")
        if not name.endswith(".bitmask"):
            continue
        stem = name.removesuffix(".bitmask")
        parts = {part: weights.pop(f"{stem}.{part}") for part in PARTS if f"{stem}.{part}" in weights}
        if missing := [part for part in PARTS[:3] if part not in parts]:
            raise UserError(f"{stem!r} has a bitmask but no {missing[0]}: the file is damaged")
        full = stem if stem.endswith("weight") else f"{stem}.weight"
        weights[full], masks[full] = decode(parts["shape"], parts["compressed"], parts["bitmask"])
    return weights, masks

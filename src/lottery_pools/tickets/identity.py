"""What identifies weights: digests of their names, types, shapes and values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hashlib import _Hash


def add_tensors(digest: _Hash, tensors: Mapping[str, Tensor]) -> None:
    """Add tensors, in their order, to what a digest is made of."""
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous()
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that tell weights from others, in whatever order and on whatever device they are.

    A zero counts the same whatever its sign, since files of tickets do not keep that of pruned weights.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        add_tensors(digest, {name: tensor + 0 if tensor.is_floating_point() else tensor})
    return digest.hexdigest()[:16]

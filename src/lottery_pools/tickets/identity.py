"""What identifies tensors: digests of their names, types, shapes and values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from lottery_pools.tickets.container import bytes_of

if TYPE_CHECKING:
    from hashlib import _Hash


def add_tensors(digest: _Hash, tensors: Mapping[str, Tensor]) -> None:
    """Add tensors, in their order, to what a digest is made of."""
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor.detach().cpu().contiguous()).data)


def tensors_digest(*several: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that tell tensors from others, in whatever order and on whatever device they are.

    A zero counts the same whatever its sign, since files of tickets do not keep that of pruned weights. How many
    batches a BatchNorm layer has seen does not count: networks with other numbers compute the same, and a state_dict
    that was not cloned goes on counting.
    """
    digest = hashlib.sha256()
    for tensors in several:
        for name in sorted(name for name in tensors if name.rpartition(".")[2] != "num_batches_tracked"):
            tensor = tensors[name]
            add_tensors(digest, {name: tensor + 0 if tensor.is_floating_point() else tensor})
    return digest.hexdigest()[:16]


def changes_in_place(tensors: Iterable[Tensor]) -> tuple[int, ...] | None:
    """How often each tensor was changed in place; None where PyTorch does not count that (`torch.inference_mode`)."""
    known = list(tensors)
    return None if any(tensor.is_inference() for tensor in known) else tuple(tensor._version for tensor in known)

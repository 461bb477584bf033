"""Arithmetic on name → tensor: pure functions; integer tensors are copied from the first operand, never averaged.

Sums over many are taken in float64, one tensor at a time: tickets that read from files then cost the memory of one
tensor. They are taken where the tensors are, or on the CPU if that device has no float64, as Apple's has not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


def lerp(first: Tensors, second: Tensors, alpha: float) -> dict[str, Tensor]:
    """α · first + (1 - α) · second, typed and placed as `first`; exactly the one or the other at α = 1 and 0."""
    return {
        name: _between(second[name].to(a), a, alpha) if a.is_floating_point() else a.clone()
        for name, a in first.items()
    }


def _between(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    mixed = torch.lerp(start, end, alpha)
    # equal infinities, as in the buffer of an attention mask, have no difference
    return torch.where(start == end, end, mixed) if mixed.isnan().any() else mixed


def cosine(first: Tensors, second: Tensors, names: Collection[str]) -> float:
    """The cosine of the angle between two networks over the tensors `names`; 0 where either is all zeros."""
    pairs = ((wide(first[name]).flatten(), wide(second[name], first[name]).flatten()) for name in names)
    products = [(float(a @ b), float(a @ a), float(b @ b)) for a, b in pairs]
    dot, first_square, second_square = (sum(product[i] for product in products) for i in range(3))
    norms = math.sqrt(first_square * second_square)
    return dot / norms if norms else 0.0


def wide(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """`tensor` in float64, on the device of `like` or its own; on the CPU if that device has no float64."""
    device = (tensor if like is None else like).device
    return tensor.to(device if device.type == "cuda" else "cpu").double()


def weighted(
    like: Tensors,
    items: Sequence[Tensors],
    shares: Sequence[float],
    shares_by_tensor: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Tensor]:
    """Σ shares[i] · items[i], typed and placed as `like`, whose integer tensors are copied.

    A tensor that `shares_by_tensor` names has the shares given there instead.
    """
    result = {}
    floats = [name for name, first in like.items() if first.is_floating_point()]
    table = [list((shares_by_tensor or {}).get(name, shares)) for name in floats]
    on_gpu = bool(floats) and like[floats[0]].is_cuda
    rows = iter(torch.tensor(table, dtype=torch.float64, device=like[floats[0]].device) if on_gpu else table)
    for name, first in like.items():
        result[name] = first.clone()  # before the sum, so that what is freed leaves no hole
        if first.is_floating_point():
            result[name].copy_(_weighted_sum(first, (item[name] for item in items), next(rows)))
    return result


def _weighted_sum(like: Tensor, tensors: Iterable[Tensor], shares: Sequence[float] | Tensor) -> Tensor:
    """Σ shares[i] · tensors[i] in float64.

    Args:
        like: Of the shape of the tensors.
        tensors: What is summed; each may be read from a file as its turn comes.
        shares: One a tensor. A tensor (tensors,) on a GPU, whose time is the launches, has all summed there at once;
            numbers have them summed on the CPU, one after another, in the memory of one.
    """
    if isinstance(shares, Tensor):
        total: Tensor = torch.tensordot(
            shares, torch.stack([tensor.to(shares.device) for tensor in tensors]).double(), 1
        )
        return total
    total = torch.zeros(like.shape, dtype=torch.float64)
    for share, tensor in zip(shares, tensors, strict=True):
        total.add_(tensor.cpu(), alpha=share)
    return total


def add(total: Tensors, item: Tensors) -> dict[str, Tensor]:
    """A running sum, {} at first, with one more item in it: in float64, without integer tensors."""
    floats = {name: wide(tensor, total.get(name)) for name, tensor in item.items() if tensor.is_floating_point()}
    return {name: total[name] + tensor if name in total else tensor for name, tensor in floats.items()}


def divide(total: Tensors, n: int, like: Tensors) -> dict[str, Tensor]:
    """The mean of the n items in a running sum, typed and placed as `like`, whose integers are copied."""
    return {name: (total[name] / n).to(first) if name in total else first.clone() for name, first in like.items()}


def distance(first: Tensors, second: Tensors, names: Sequence[str]) -> float:
    """Euclidean distance over the tensors `names`."""
    differences = (wide(first[name]) - wide(second[name], first[name]) for name in names)
    return math.sqrt(sum(float(difference.square().sum()) for difference in differences))

"""Masks: which weights survive. Created, counted, pruned exactly, applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from lottery_pools.errors import UserError, unknown

Tensors = Mapping[str, Tensor]
"""Name → tensor; a mask's tensors are bool, True where the weight survives."""


def dense(weights: Tensors, names: Iterable[str]) -> dict[str, Tensor]:
    """The mask of the dense network: every weight of the prunable tensors `names` survives."""
    return {name: torch.ones_like(weights[name], dtype=torch.bool) for name in names}


def from_zeros(weights: Tensors, names: Iterable[str]) -> dict[str, Tensor]:
    """The mask of a network that was pruned elsewhere: a weight survives where it is not exactly zero.

    Raises UserError where a name is not among the weights.
    """
    if isinstance(names, str):
        raise UserError(f"names is {names!r}: give the names of the prunable tensors in a list")
    names = list(names)
    for name in names:
        if name not in weights:
            raise unknown("tensor", name, weights)
    return {name: weights[name] != 0 for name in names}


def count(mask: Tensors) -> tuple[int, int]:
    """(surviving, prunable) weights."""
    kept = prunable = 0
    for tensor in mask.values():
        kept += int(tensor.sum())
        prunable += tensor.numel()
    return kept, prunable


def apply(weights: Tensors, mask: Tensors) -> dict[str, Tensor]:
    """The weights with +0 where the mask is False; tensors without a mask are passed on."""
    return {
        name: tensor.masked_fill(~mask[name].to(tensor.device), 0) if name in mask else tensor
        for name, tensor in weights.items()
    }


def magnitude(weights: Tensors, mask: Tensors) -> dict[str, Tensor]:
    """Scores |w|, float32, of float64 weights float64: magnitude pruning keeps the largest (Han et al., 2015)."""
    scores = ((name, weights[name].detach().abs()) for name in mask)
    return {name: score if score.dtype == torch.float64 else score.float() for name, score in scores}


def random_scores(mask: Tensors, generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform scores, the same on every device: the control that prunes at random."""
    return {
        name: torch.rand(tensor.shape, generator=generator, device=generator.device).to(tensor.device)
        for name, tensor in mask.items()
    }


def prune(scores: Tensors, mask: Tensors, keep: int, scope: Literal["global", "layer"] = "global") -> dict[str, Tensor]:
    """The mask of exactly the `keep` highest-scoring survivors of `mask`.

    Scores are ≥ 0, shaped like the mask and beside it. Equal scores: the earlier tensor, then the earlier position,
    stays. `layer`: every tensor loses the same share of its survivors, whole weights apportioned by largest
    remainder. Raises UserError where `keep` is not between 1 and the number of survivors, or a survivor's score is NaN.
    """
    survivors = {name: int(tensor.sum()) for name, tensor in mask.items()}
    total = sum(survivors.values())
    if not 1 <= keep <= total:
        raise UserError(f"cannot keep {keep} of {total} surviving weights: ask for a density that keeps 1 to {total}")
    if scope == "layer":
        counts = _apportion(keep, list(survivors.values()))
        return {
            name: _top({name: scores[name]}, {name: mask[name]}, kept)[name]
            for name, kept in zip(mask, counts, strict=True)
        }
    return _top(scores, mask, keep)


def _top(scores: Tensors, mask: Tensors, keep: int) -> dict[str, Tensor]:
    """The survivors of `mask` with the `keep` highest scores, over all its tensors; ties go to the first.

    Floats that are not negative order as their bits do, so a count of every 16 bits finds the lowest score that stays;
    no more than one tensor is copied at a time.
    """
    if keep == 0:
        return {name: torch.zeros_like(tensor) for name, tensor in mask.items()}

    double = any(scores[name].dtype == torch.float64 for name in mask)
    bits, real, whole = (64, torch.float64, torch.int64) if double else (32, torch.float32, torch.int32)

    def ranks(name: str) -> Tensor:
        survivors = scores[name][mask[name]]
        if survivors.isnan().any():
            raise UserError(f"{name!r} has weights that are NaN and cannot be ranked: train with a lower learning rate")
        return survivors.to(real).view(whole)

    def tail(counts: Iterable[Tensor], keep: int) -> tuple[int, int]:
        """(the bin that has the `keep`-th from the top, how many of the `keep` are in it)"""
        reached = torch.stack(list(counts)).sum(0).flip(0).cumsum(0)
        place = int((reached < keep).sum())
        return len(reached) - 1 - place, keep - (int(reached[place - 1]) if place else 0)

    lowest, left = 0, keep
    for low in reversed(range(0, bits, 16)):
        every = map(ranks, mask)
        alike = every if low + 16 == bits else (rank[rank >> low + 16 == lowest] for rank in every)
        digit, left = tail((torch.bincount(rank >> low & 0xFFFF, minlength=1 << 16) for rank in alike), left)
        lowest = lowest << 16 | digit
    result = {}
    for name, tensor in mask.items():
        rank = scores[name].to(real).contiguous().view(whole)
        result[name] = (rank > lowest).logical_and_(tensor)
        ties = (rank == lowest).logical_and_(tensor).flatten().nonzero().flatten()[:left]
        result[name].view(-1)[ties] = True
        left -= len(ties)
    return result


def _apportion(keep: int, sizes: list[int]) -> list[int]:
    """Whole shares of `keep` in proportion to `sizes`, by largest remainder, the earlier first among equals."""
    total = sum(sizes)
    shares = [keep * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(keep * sizes[i] % total), i))
    for i in by_remainder[: keep - sum(shares)]:
        shares[i] += 1
    return shares

"""Masks: which weights survive pruning. Functions that create, count, prune and apply them.

A mask maps the name of each prunable tensor to a bool tensor of the same shape, True where the weight survives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from lottery_pools.errors import UserError, unknown

Tensors = Mapping[str, Tensor]
"""Name → tensor: weights, scores or a mask."""

SPARSE = 0.02
"""A floating-point tensor of two or more dimensions counts as pruned if a larger share of it is exactly zero. Training
leaves next to no exact zeros."""

DIGIT_BITS = 16
"""Bits that are counted at a time where the highest scores are selected."""


def dense(weights: Tensors, names: Iterable[str]) -> dict[str, Tensor]:
    """The mask of a network that is not pruned: every weight of the prunable tensors `names` survives."""
    return {name: torch.ones_like(weights[name], dtype=torch.bool) for name in names}


def from_zeros(weights: Tensors, names: Iterable[str]) -> dict[str, Tensor]:
    """The mask of a network that was pruned elsewhere: a weight survives where it is not exactly zero.

    Args:
        weights: The network's tensors by name, for example its `state_dict()`.
        names: The names of the prunable tensors.

    Returns:
        For each of `names`, a bool tensor of its shape, True where the weight survives.

    Raises:
        UserError: If a name is not among the weights, or `names` is a single string.

    Example:
        ```python
        weights = {"layer.weight": torch.tensor([0.5, 0.0]), "layer.bias": torch.zeros(1)}
        lp.from_zeros(weights, ["layer.weight"])  # {"layer.weight": tensor([ True, False])}
        ```
    """
    if isinstance(names, str):
        raise UserError(f"names is {names!r}: give the names of the prunable tensors in a list")
    names = list(names)
    for name in names:
        if name not in weights:
            raise unknown("tensor", name, weights)
    return {name: weights[name] != 0 for name in names}


def share_of_zeros(tensor: Tensor) -> float:
    """The share of exact zeros, 0 to 1."""
    return 1 - int(tensor.count_nonzero()) / tensor.numel()


def count(mask: Tensors) -> tuple[int, int]:
    """The number of surviving weights, and of all prunable weights."""
    kept = prunable = 0
    for tensor in mask.values():
        kept += int(tensor.sum())
        prunable += tensor.numel()
    return kept, prunable


def surviving(density: float, prunable: int, level: int) -> int:
    """How many of `prunable` weights survive at a density. Raises UserError, which names the level, if none does."""
    keep = round(density * prunable)
    if keep < 1:
        raise UserError(
            f"density {density:g} of level {level} keeps none of {prunable} prunable weights: "
            "lower pruning.levels or take a larger network"
        )
    return keep


def apply(weights: Tensors, mask: Tensors) -> dict[str, Tensor]:
    """The weights with +0 where the mask is False. A tensor without a mask is passed on, not copied."""
    return {
        name: tensor.masked_fill(~mask[name].to(tensor.device), 0) if name in mask else tensor
        for name, tensor in weights.items()
    }


def magnitude(weights: Tensors, mask: Tensors) -> dict[str, Tensor]:
    """The score |w| of every prunable weight: magnitude pruning keeps the largest (Han et al., NeurIPS 2015).

    Scores of float64 weights are float64, all others float32.
    """
    scores = ((name, weights[name].detach().abs()) for name in mask)
    return {name: score if score.dtype == torch.float64 else score.float() for name, score in scores}


def random_scores(mask: Tensors, generator: torch.Generator) -> dict[str, Tensor]:
    """A score drawn uniformly from [0, 1) for every prunable weight: to prune by it is to prune at random.

    The numbers are drawn on the generator's device, so they are the same whatever device the mask is on.
    """
    return {
        name: torch.rand(tensor.shape, generator=generator, device=generator.device).to(tensor.device)
        for name, tensor in mask.items()
    }


def prune(scores: Tensors, mask: Tensors, keep: int, scope: Literal["global", "layer"] = "global") -> dict[str, Tensor]:
    """The mask of exactly `keep` of the survivors of `mask`: those with the highest scores.

    Args:
        scores: The score of every prunable weight, 0 or more; each tensor has the shape and device of its mask.
        mask: The weights that survive so far.
        keep: How many weights survive afterwards, over all tensors.
        scope: `global` ranks the weights of all tensors together. `layer` takes the same share of survivors from
            every tensor, rounded to whole weights by largest remainder, and ranks within each tensor.

    Returns:
        The new mask. Among equal scores the earlier tensor stays, then the earlier position.

    Raises:
        UserError: If `keep` is not between 1 and the number of survivors, or the score of a survivor is NaN.
    """
    survivors = {name: int(tensor.sum()) for name, tensor in mask.items()}
    total = sum(survivors.values())
    if not 1 <= keep <= total:
        raise UserError(f"cannot keep {keep} of {total} surviving weights: ask for a density that keeps 1 to {total}")
    if scope == "global":
        return _highest(scores, mask, keep)
    new: dict[str, Tensor] = {}
    for name, keep_here in zip(mask, _apportion(keep, list(survivors.values())), strict=True):
        new |= _highest({name: scores[name]}, {name: mask[name]}, keep_here)
    return new


def _highest(scores: Tensors, mask: Tensors, keep: int) -> dict[str, Tensor]:
    """The mask of the `keep` survivors with the highest scores over all tensors; among equal scores the first stay."""
    if keep == 0:
        return {name: torch.zeros_like(survives) for name, survives in mask.items()}
    threshold, ties_to_keep = _lowest_kept_score(scores, mask, keep)
    dtype = _score_dtype(scores, mask)
    new = {}
    for name, survives in mask.items():
        bits = _bit_patterns(scores[name], dtype)
        new[name] = (bits > threshold).logical_and_(survives)
        tied = (bits == threshold).logical_and_(survives).flatten().nonzero().flatten()[:ties_to_keep]
        new[name].view(-1)[tied] = True
        ties_to_keep -= len(tied)
    return new


def _lowest_kept_score(scores: Tensors, mask: Tensors, keep: int) -> tuple[int, int]:
    """The bit pattern of the lowest score that stays, and how many of the survivors with just this score stay.

    This is a radix selection: the pattern is found 16 bits at a time, from the highest, by counting how many survivors
    have each value of these bits. Unlike a sort of all scores, it needs a copy of one tensor at a time.
    """
    dtype = _score_dtype(scores, mask)
    width = 8 * dtype.itemsize
    pattern, still_to_keep = 0, keep
    for shift in range(width - DIGIT_BITS, -1, -DIGIT_BITS):
        counts = []
        for name, survives in mask.items():
            bits = _bit_patterns(_checked(name, scores[name][survives]), dtype)
            if shift + DIGIT_BITS < width:  # only the scores whose higher bits are those found so far
                bits = bits[bits >> shift + DIGIT_BITS == pattern]
            counts.append(torch.bincount(bits >> shift & (1 << DIGIT_BITS) - 1, minlength=1 << DIGIT_BITS))
        at_or_above = torch.stack(counts).sum(0).flip(0).cumsum(0)  # from the highest value of these bits down
        above = int((at_or_above < still_to_keep).sum())  # values so high that all their scores stay
        pattern = pattern << DIGIT_BITS | len(at_or_above) - 1 - above
        still_to_keep -= int(at_or_above[above - 1]) if above else 0
    return pattern, still_to_keep


def _score_dtype(scores: Tensors, mask: Tensors) -> torch.dtype:
    """The type in which all scores are compared: float64 where any of them is."""
    return torch.float64 if any(scores[name].dtype == torch.float64 for name in mask) else torch.float32


def _bit_patterns(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """The bits of the scores as `dtype`, read as integers: these have the order of floats that are not negative."""
    return scores.to(dtype).contiguous().view(torch.int64 if dtype == torch.float64 else torch.int32)


def _checked(name: str, scores: Tensor) -> Tensor:
    """The scores of a tensor's survivors; raises UserError where one is NaN."""
    if scores.isnan().any():
        raise UserError(f"{name!r} has weights that are NaN and cannot be ranked: train with a lower learning rate")
    return scores


def _apportion(keep: int, sizes: list[int]) -> list[int]:
    """Whole shares of `keep` in proportion to `sizes`, by largest remainder; the earlier first among equals."""
    total = sum(sizes)
    shares = [keep * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(keep * sizes[i] % total), i))
    for i in by_remainder[: keep - sum(shares)]:
        shares[i] += 1
    return shares

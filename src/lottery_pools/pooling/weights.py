"""Arithmetic on name → tensor: pure functions; integer tensors are copied from the first operand, never averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket

Tensors = Mapping[str, Tensor]


def lerp(first: Tensors, second: Tensors, alpha: float) -> dict[str, Tensor]:
    """α · first + (1 - α) · second, typed and placed as `first`; exactly the one or the other at α = 1 and 0."""
    return {
        name: torch.lerp(second[name].to(a), a, alpha) if a.is_floating_point() else a.clone()
        for name, a in first.items()
    }


def average(items: Sequence[Tensors]) -> dict[str, Tensor]:
    """The mean of several, typed and placed as the first: summed smallest first, so the same bits in any order."""
    # on the CPU, since not every device has float64
    return {
        name: torch.stack([item[name].cpu() for item in items]).sort(0).values.mean(0, dtype=torch.float64).to(first)
        if first.is_floating_point()
        else first.clone()
        for name, first in items[0].items()
    }


def distance(first: Tensors, second: Tensors, names: Sequence[str]) -> float:
    """Euclidean distance over the tensors `names`."""
    differences = (first[name].cpu().double() - second[name].cpu().double() for name in names)
    return math.sqrt(sum(float(difference.square().sum()) for difference in differences))


def prune_back(weights: Tensors, ticket: Ticket, scope: Literal["global", "layer"] = "global") -> dict[str, Tensor]:
    """The largest weights by magnitude, exactly as many as `ticket` keeps: over the network, or tensor by tensor."""
    return masks.apply(weights, back_mask(weights, ticket, scope))


def back_mask(weights: Tensors, ticket: Ticket, scope: Literal["global", "layer"] = "global") -> dict[str, Tensor]:
    """The mask of `prune_back`."""
    scores = masks.magnitude(weights, ticket.mask)
    everywhere = masks.dense(weights, ticket.mask)
    if scope == "global":
        return masks.prune(scores, everywhere, ticket.kept)
    return {
        name: masks.prune({name: scores[name]}, {name: everywhere[name]}, kept)[name]
        if (kept := int(mask.sum()))
        else torch.zeros_like(everywhere[name])
        for name, mask in ticket.mask.items()
    }

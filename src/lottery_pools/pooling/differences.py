"""Tickets as differences from the rewind point: what TIES merges.

A ticket's difference is θᵢ - base over all parameters, pruned weights (-base) included. Buffers are averaged. Sums are
taken in float64 on the CPU, one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lottery_pools.errors import UserError
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.arithmetic import Tensors, wide
from lottery_pools.pooling.task import Network, PoolingTask
from lottery_pools.tickets.ticket import Ticket


def merge_by_sign(task: PoolingTask, tickets: Sequence[Ticket], trim: float, scale: float) -> Network:
    """TIES: base + λ · (disjoint mean of the trimmed differences), pruned back.

    Args:
        task: its `base` is the weights at the rewind point.
        tickets: the tickets to merge.
        trim: the share of each difference that is kept, the largest.
        scale: λ.
    """
    if task.base is None:
        raise UserError("this method merges differences from the rewind point: give `base`, the weights at that point")
    base, parameters = task.base, set(task.parameters)
    thresholds = [_threshold(task.parameters, base, ticket, trim) for ticket in tickets]
    like, weights = task.target.weights, [ticket.weights for ticket in tickets]
    buffers = {name: tensor for name, tensor in like.items() if name not in parameters}
    means = arithmetic.weighted(buffers, weights, [1 / len(weights)] * len(weights))
    mixed = {}
    for name, tensor in like.items():
        if name in means:
            mixed[name] = means[name]
        else:
            agreed = _agreed((item[name] for item in weights), base[name], thresholds)
            mixed[name] = (wide(base[name]) + scale * agreed).to(tensor)
    return task.prune(mixed, (ticket.mask for ticket in tickets))


def _threshold(parameters: Sequence[str], base: Tensors, ticket: Ticket, share: float) -> float:
    """The magnitude that `share` of a ticket's difference, all parameters taken together, reaches."""
    flat = torch.cat(
        [(wide(ticket.weights[name], base[name]) - wide(base[name])).abs().flatten() for name in parameters]
    )
    keep = max(1, round(share * flat.numel()))
    return float(flat.kthvalue(flat.numel() - keep + 1).values)


def _agreed(tensors: Iterable[Tensor], base: Tensor, thresholds: Sequence[float]) -> Tensor:
    """The disjoint mean of one tensor's differences: of those that reach their threshold and have the elected sign."""
    sums = [torch.zeros_like(wide(base)) for _ in range(2)]
    counts = [torch.zeros_like(sums[0]) for _ in range(2)]
    for tensor, threshold in zip(tensors, thresholds, strict=True):
        difference = wide(tensor, base) - wide(base)
        kept = difference.masked_fill(difference.abs() < threshold, 0)
        for sign, total, count in zip((1, -1), sums, counts, strict=True):
            agrees = kept * sign > 0
            total += kept.masked_fill(~agrees, 0)
            count += agrees
    positive, negative = (total / count.clamp(min=1) for total, count in zip(sums, counts, strict=True))
    elected = sums[0] + sums[1]
    return torch.where(elected > 0, positive, negative).masked_fill(elected == 0, 0)

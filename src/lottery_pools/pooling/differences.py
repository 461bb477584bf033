"""Tickets as differences from the rewind point: what TIES merges.

A ticket's difference is θᵢ - base over all parameters, pruned weights (-base) included. Buffers are averaged. Sums are
taken in float64 on the CPU, one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
    base = _base(task)
    thresholds = [_threshold(task, base, ticket, trim) for ticket in tickets]

    def merge(name: str) -> Tensor:
        sums = [torch.zeros_like(wide(base[name])) for _ in range(2)]
        counts = [torch.zeros_like(sums[0]) for _ in range(2)]
        for ticket, threshold in zip(tickets, thresholds, strict=True):
            difference = wide(ticket.weights[name], base[name]) - wide(base[name])
            kept = difference.masked_fill(difference.abs() < threshold, 0)
            for sign, total, count in zip((1, -1), sums, counts, strict=True):
                agrees = kept * sign > 0
                total += kept.masked_fill(~agrees, 0)
                count += agrees
        positive, negative = (total / count.clamp(min=1) for total, count in zip(sums, counts, strict=True))
        elected = sums[0] + sums[1]
        agreed = torch.where(elected > 0, positive, negative).masked_fill(elected == 0, 0)
        return wide(base[name]) + scale * agreed

    return _merged(task, tickets, merge)


def _base(task: PoolingTask) -> Tensors:
    if task.base is None:
        raise UserError("this method merges differences from the rewind point: give `base`, the weights at that point")
    return task.base


def _threshold(task: PoolingTask, base: Tensors, ticket: Ticket, share: float) -> float:
    """The magnitude that `share` of a ticket's difference, all parameters taken together, reaches."""

    def magnitudes() -> Iterator[Tensor]:
        for name in task.parameters:
            yield (wide(ticket.weights[name], base[name]) - wide(base[name])).abs().flatten()

    flat = torch.cat(list(magnitudes()))
    keep = max(1, round(share * flat.numel()))
    return float(flat.kthvalue(flat.numel() - keep + 1).values)


def _merged(task: PoolingTask, tickets: Sequence[Ticket], merge: Callable[[str], Tensor]) -> Network:
    """The network with `merge(name)` for every parameter and the tickets' mean for every buffer, pruned back."""
    like, parameters = task.target.weights, set(task.parameters)
    weights = [ticket.weights for ticket in tickets]
    buffers = {name: tensor for name, tensor in like.items() if name not in parameters}
    averages = arithmetic.weighted(buffers, weights, [1 / len(weights)] * len(weights))
    mixed = {name: averages[name] if name in averages else merge(name).to(like[name]) for name in like}
    return task.prune(mixed, (ticket.mask for ticket in tickets))

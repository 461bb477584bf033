"""TIES and DARE: tickets merged by their differences from the rewind point, which is added back before pruning.

A ticket's difference is θ_i - base over all parameters, pruned weights (-base) included. Buffers are averaged. Sums
are taken in float64 on the CPU, one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lottery_pools.errors import UserError
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.arithmetic import Tensors, wide
from lottery_pools.pooling.search import Network, Pooled, Problem, Settings, Steps
from lottery_pools.pooling.soups import choose, equal_shares
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets.ticket import Ticket

TRIM = 0.2
"""Share of each difference that TIES keeps, the largest."""
SCALES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
"""λ of TIES, tried on the score."""
DROPS = (0.1, 0.5, 0.9)
"""Share p of each difference that DARE drops, tried on the score."""


def ties(problem: Problem) -> Pooled:
    """TIES: trim every difference to its largest 20 %, elect a sign a weight, average those that agree, scale by λ."""
    options = [{"trim": TRIM, "scale": scale} for scale in SCALES]
    return choose(problem, build_ties, equal_shares(problem.tickets), options)


def build_ties(problem: Problem, steps: Steps, settings: Settings) -> Network:
    """base + λ · (disjoint mean of the trimmed differences), pruned."""
    tickets = [ticket for ticket, _ in steps]
    base = _base(problem)
    scale: float = settings["scale"]
    thresholds = [_threshold(problem, base, ticket, settings["trim"]) for ticket in tickets]

    def merge(name: str) -> Tensor:
        sums = [torch.zeros_like(wide(base[name])) for _ in range(2)]
        counts = [torch.zeros_like(sums[0]) for _ in range(2)]
        for ticket, threshold in zip(tickets, thresholds, strict=True):
            difference = wide(ticket.weights[name]) - wide(base[name])
            kept = difference.masked_fill(difference.abs() < threshold, 0)
            for sign, total, count in zip((1, -1), sums, counts, strict=True):
                agrees = kept * sign > 0
                total += kept.masked_fill(~agrees, 0)
                count += agrees
        positive, negative = (total / count.clamp(min=1) for total, count in zip(sums, counts, strict=True))
        elected = sums[0] + sums[1]
        agreed = torch.where(elected > 0, positive, negative).masked_fill(elected == 0, 0)
        return wide(base[name]) + scale * agreed

    return _merged(problem, tickets, merge)


def dare(problem: Problem) -> Pooled:
    """DARE: drop a random share p of every difference, rescale the rest by 1/(1 - p), average."""
    options = [{"drop": drop, "seed": problem.seed} for drop in DROPS]
    return choose(problem, build_dare, equal_shares(problem.tickets), options)


def build_dare(problem: Problem, steps: Steps, settings: Settings) -> Network:
    """base + mean of the rescaled differences, pruned; what is dropped depends on the seed and the ticket's level."""
    tickets = [ticket for ticket, _ in steps]
    base = _base(problem)
    drop: float = settings["drop"]
    draws = [generator(settings["seed"], "dare", ticket.level) for ticket in tickets]

    def merge(name: str) -> Tensor:
        total = torch.zeros_like(wide(base[name]))
        for ticket, draw in zip(tickets, draws, strict=True):
            difference = wide(ticket.weights[name]) - wide(base[name])
            total += difference.masked_fill(torch.rand(difference.shape, generator=draw) < drop, 0)
        return wide(base[name]) + total / ((1 - drop) * len(tickets))

    return _merged(problem, tickets, merge)


def _base(problem: Problem) -> Tensors:
    if problem.base is None:
        raise UserError("this method merges differences from the rewind point: give `base`, the weights at that point")
    return problem.base


def _threshold(problem: Problem, base: Tensors, ticket: Ticket, share: float) -> float:
    """The magnitude that `share` of a ticket's difference, all parameters taken together, reaches."""

    def magnitudes() -> Iterator[Tensor]:
        for name in problem.parameters:
            yield (wide(ticket.weights[name]) - wide(base[name])).abs().flatten()

    flat = torch.cat(list(magnitudes()))
    keep = max(1, round(share * flat.numel()))
    return float(flat.kthvalue(flat.numel() - keep + 1).values)


def _merged(problem: Problem, tickets: Sequence[Ticket], merge: Callable[[str], Tensor]) -> Network:
    """The network with `merge(name)` for every parameter and the tickets' mean for every buffer, pruned."""
    like, parameters = problem.target.weights, set(problem.parameters)
    items = [ticket.weights for ticket in tickets]
    buffers = {name: tensor for name, tensor in like.items() if name not in parameters}
    averages = arithmetic.weighted(buffers, items, [1 / len(items)] * len(items))
    mixed = {name: averages[name] if name in averages else merge(name).to(like[name]) for name in like}
    return problem.prune(mixed, (ticket.mask for ticket in tickets))

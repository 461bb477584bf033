"""What mixing tickets gains without any choice among them: plain means, sign agreement, parts of the network.

    python -m benchmarks.mixtures runs/mnist1d

Every way mixes the target with all sparser tickets, or with all tickets. The result keeps as many weights as the
target, and BatchNorm is re-estimated on all images of `pooling.recalibration`. Where only sparser tickets are mixed,
nothing is left to prune. Gains are over the recalibrated target, on the test samples of the run: use runs of
`data.test_part = look`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.soups import runs_of, table
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.selection import logits
from lottery_pools.pooling import arithmetic
from lottery_pools.pooling.methods.fading_soup import faded
from lottery_pools.pooling.pruning import prune_back
from lottery_pools.pooling.result import Ingredients
from lottery_pools.pooling.soup import equal_shares
from lottery_pools.tickets import masks
from lottery_pools.tickets.measures import hits
from lottery_pools.tickets.ticket import Ticket, load_into

Weights = dict[str, Tensor]
Combine = Callable[[Tensor, Tensor], Tensor]
"""Makes one tensor of those of all tickets, stacked (tickets, …) in float64, and of their masks, stacked likewise."""
Mix = Callable[[Sequence[Ticket], int], Weights]
"""Makes a network of all tickets of a run, from dense to sparse, and the target's place among them."""


def agreeing_or_zero(weights: Tensor, _: Tensor) -> Tensor:
    """The mean in which a ticket counts as zero where its sign is not that of the sum."""
    return (weights * _agree(weights)).mean(0)


def agreeing(weights: Tensor, _: Tensor) -> Tensor:
    """The mean of those that have the sign of the sum, as in TIES (Yadav et al., 2023, section 3)."""
    agree = _agree(weights)
    return (weights * agree).sum(0) / agree.sum(0).clamp(min=1)


def surviving(weights: Tensor, masks: Tensor) -> Tensor:
    """The mean of those tickets in which the weight is not pruned."""
    return weights.sum(0) / masks.sum(0).clamp(min=1)


def half_surviving(weights: Tensor, masks: Tensor) -> Tensor:
    """Half way between the plain mean and the mean of those in which the weight is not pruned."""
    return (weights.mean(0) + surviving(weights, masks)) / 2


def _agree(weights: Tensor) -> Tensor:
    return (weights.sign() == weights.sum(0).sign()) & (weights != 0)


def plain(tickets: Sequence[Ticket], target: int) -> Weights:
    """The mean of the target and all sparser tickets, as `sparser-soup`."""
    return pruned(tickets[target], equal_shares(tickets[target:]))


def uniform(tickets: Sequence[Ticket], target: int) -> Weights:
    """The mean of all tickets, as `uniform-soup`."""
    return pruned(tickets[target], equal_shares(tickets))


def with_denser(ratio: float) -> Mix:
    """All tickets; a denser one counts `ratio` times as much as the next sparser one, sparser ones as the target."""

    def mix(tickets: Sequence[Ticket], target: int) -> Weights:
        return pruned(tickets[target], faded(tickets[target:], tickets[:target][::-1], ratio))

    return mix


def within_mask(tickets: Sequence[Ticket], target: int) -> Weights:
    """The mean of all tickets, of which only the weights in the target's mask are kept."""
    return masks.apply(mean(tickets[target], equal_shares(tickets)), tickets[target].mask)


def pruned(target: Ticket, ingredients: Ingredients) -> Weights:
    """The weighted mean of some tickets, pruned back to as many weights as the target has."""
    return prune_back(mean(target, ingredients), target)


def mean(target: Ticket, ingredients: Ingredients) -> Weights:
    """The weighted mean of some tickets, typed as the target."""
    weights, shares = [ticket.weights for ticket, _ in ingredients], [share for _, share in ingredients]
    return arithmetic.weighted(target.weights, weights, shares)


def combined(combine: Combine) -> Mix:
    """The plain mean of all sparser tickets, but for prunable weights, which `combine` makes."""

    def mix(tickets: Sequence[Ticket], target: int) -> Weights:
        network, members = plain(tickets, target), tickets[target:]
        for name in tickets[target].mask:
            weights = torch.stack([member.weights[name].double() for member in members])
            masks = torch.stack([member.mask[name] for member in members])
            network[name] = combine(weights, masks).to(network[name].dtype)
        return network

    return mix


def beyond(factor: float) -> Mix:
    """From the target to the plain mean, and on: `factor` times the way."""

    def mix(tickets: Sequence[Ticket], target: int) -> Weights:
        return arithmetic.lerp(plain(tickets, target), tickets[target].weights, factor)

    return mix


def joined(shallow: Mix, deep: Mix) -> Mix:
    """The first half of the tensors from one mixture, the second half from another."""

    def mix(tickets: Sequence[Ticket], target: int) -> Weights:
        first, second = shallow(tickets, target), deep(tickets, target)
        return {name: first[name] if place < len(first) / 2 else second[name] for place, name in enumerate(first)}

    return mix


def alone(tickets: Sequence[Ticket], target: int) -> Weights:
    """The target."""
    return dict(tickets[target].weights)


MIXES: dict[str, Mix] = {
    "plain mean of all sparser tickets": plain,
    "sign agreement, others count as zero": combined(agreeing_or_zero),
    "sign agreement, others are left out": combined(agreeing),
    "mean of those not pruned": combined(surviving),
    "half way to the mean of those not pruned": combined(half_surviving),
    "0.75 of the way to the plain mean": beyond(0.75),
    "1.25 of the way to the plain mean": beyond(1.25),
    "plain mean in the first half, target in the second": joined(plain, alone),
    "target in the first half, plain mean in the second": joined(alone, plain),
    "all tickets, denser ones by 0.5 a level": with_denser(0.5),
    "all tickets, denser ones by 0.85 a level": with_denser(0.85),
    "all tickets": uniform,
    "all tickets, within the target's mask": within_mask,
    "all tickets in the first half, sparser in the second": joined(uniform, plain),
    "sparser tickets in the first half, all in the second": joined(plain, uniform),
}

BEST = "test samples choose: the best of these, more than any rule can gain"


def gains(run: Run) -> dict[str, list[Tensor]]:
    """For each way to mix, by target: each test sample's hit less that of the recalibrated target."""
    model, test = run.network(), run.dataset.test
    tickets = run.tickets(model)

    def by_target(mix: Mix) -> list[Tensor]:
        """Each test sample's hit, for every target."""
        correct = []
        for target in range(len(tickets)):
            load_into(model, mix(tickets, target))
            run.recalibrate(model)
            correct.append(hits(logits(model, run.config, run.dataset, test), test.labels).double())
        return correct

    unmixed = by_target(alone)
    result = {
        name: [mixed - of_target for mixed, of_target in zip(by_target(mix), unmixed, strict=True)]
        for name, mix in MIXES.items()
    }
    of_targets = zip(*result.values(), strict=True)
    result[BEST] = [max(of_target, key=lambda gain: float(gain.mean())) for of_target in of_targets]
    return result


if __name__ == "__main__":
    print(table([gains(run) for run in runs_of(Path(sys.argv[1]))]))

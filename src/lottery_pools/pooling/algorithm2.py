"""Algorithm 2 of Lottery Pools (Yin et al., AAAI 2023, arXiv 2208.10842): mix candidates in, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lottery_pools.pooling.result import Ingredients, Pooled, Settings, Steps, Trial

if TYPE_CHECKING:
    from lottery_pools.pooling.task import Network, PoolingTask
    from lottery_pools.tickets.ticket import Ticket


def neighbours(tickets: Sequence[Ticket], target: int) -> list[Ticket]:
    """All other tickets, nearest level first, of two equally near ones the denser: t-1, t+1, t-2, t+2, …"""
    candidates = [ticket for ticket in tickets if ticket.level != target]
    return sorted(candidates, key=lambda ticket: (abs(ticket.level - target), ticket.level))


def greedy(task: PoolingTask, coefficients: Callable[[int], Sequence[float]]) -> Pooled:
    """Algorithm 2: mix each candidate into the best network so far where the mixture scores at least as high.

    At any moment four networks are in memory beside the module, whatever the number of candidates: the best so far, the
    candidate, its best trial and the trial.

    Args:
        task: the target, its candidates and the tools.
        coefficients: `coefficients(n)` are the α to try when n tickets are in the best network. Of several equally good
            ones the first is taken.
    """
    target_score, best = task.evaluate(task.target_network)
    threshold = target_score
    trials: list[Trial] = []
    recipe: Steps = ()
    for candidate in task.candidates:
        alphas = coefficients(len(recipe) + 1)
        if not task.evaluator.can_afford(len(alphas)):
            break
        score, alpha, network = best_trial(task, best, candidate, alphas)
        accepted = score >= threshold
        trials.append(Trial(candidate.level, alpha, score, threshold, accepted))
        if accepted:
            best, threshold, recipe = network, score, (*recipe, (candidate.level, alpha))
    return task.result(best, recipe, threshold, target_score, trials)


def accept_all(task: PoolingTask, coefficient: Callable[[int], float]) -> Pooled:
    """Mix every candidate in, whatever that scores, and take the best of the networks on the way.

    This is Algorithm 2 without its acceptance test: a candidate that lowers the score stays in what follows. The target
    alone is one of the networks on the way.

    Args:
        task: the target, its candidates and the tools.
        coefficient: `coefficient(n)` is α when n tickets are in the running mixture.
    """
    target_score, network = task.evaluate(task.target_network)
    best, threshold = network, target_score
    trials: list[Trial] = []
    steps: Steps = ()
    recipe: Steps = ()
    for candidate in task.candidates:
        if not task.evaluator.can_afford(1):
            break
        alpha = coefficient(len(steps) + 1)
        score, network = task.evaluate(mix(task, network, candidate, alpha))
        steps = (*steps, (candidate.level, alpha))
        accepted = score >= threshold
        trials.append(Trial(candidate.level, alpha, score, threshold, accepted))
        if accepted:
            best, threshold, recipe = network, score, steps
    return task.result(best, recipe, threshold, target_score, trials)


def best_trial(
    task: PoolingTask, best: Network, candidate: Ticket, coefficients: Sequence[float]
) -> tuple[float, float, Network]:
    """(score, α, network) of the best coefficient, the first of equals; the network is the very one that was scored."""
    candidate = replace(candidate, weights=dict(candidate.weights), mask=dict(candidate.mask))  # read its file once

    def trial(alpha: float) -> tuple[float, float, Network]:
        score, network = task.evaluate(mix(task, best, candidate, alpha))
        return score, alpha, network

    return max(map(trial, coefficients), key=lambda tried: tried[0])


def mix(task: PoolingTask, best: Network, candidate: Ticket, alpha: float) -> Network:
    """Prune_{d_t}(α · best + (1 - α) · candidate): one trial of Algorithm 2, before it is recalibrated."""
    from lottery_pools.pooling import arithmetic

    mixed = arithmetic.lerp(best[0], candidate.weights, alpha)
    return task.prune(mixed, (best[1], candidate.mask))


def mix_in_turn(task: PoolingTask, ingredients: Ingredients, settings: Settings) -> Network:
    """The network that `greedy` accepted, without a search; the last mixture is not yet recalibrated."""
    network = task.target_network
    for candidate, alpha in ingredients:
        network = mix(task, task.recalibrated(network), candidate, alpha)
    return network

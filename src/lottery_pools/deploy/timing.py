"""How long functions take: called in turn, so that whatever else the machine does slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """What one call took, in seconds, the mean of its repetitions in one round."""

    wall: float
    """By the clock on the wall."""
    processor: float
    """Of all threads of the process: work of other processes is not in it."""


def in_turn(
    functions: Mapping[str, Callable[[], object]], rounds: int, at_least: float = 0.0, hopeless: float = float("inf")
) -> dict[str, list[Spent]]:
    """Call each of the functions once to warm up, then all in turn, so many rounds; what each took, round by round.

    Args:
        functions: Name → function.
        rounds: Rounds, 1 or more.
        at_least: Seconds of a round for which a short function is repeated, so that the clock is fine enough.
        hopeless: A function that took so many times as long as the fastest has no further rounds, from the third on:
            its better round of the first two counts, since the system may interrupt any single one.

    Example:
        ```python
        spent = in_turn({"ours": lambda: compiled(x), "theirs": lambda: model(x)}, rounds=7)
        ```
    """
    for function in functions.values():
        function()
    spent: dict[str, list[Spent]] = {name: [] for name in functions}
    remaining = list(functions)
    for number in range(rounds):
        for name in remaining:
            spent[name].append(_once(functions[name], at_least))
        if number > 0:
            best = {name: min(once.wall for once in spent[name]) for name in functions}
            remaining = [name for name in remaining if best[name] <= hopeless * min(best.values())]
    return spent


def _once(function: Callable[[], object], at_least: float) -> Spent:
    """What a call takes, on average over as many as fill `at_least` seconds, one at the least."""
    calls = 0
    wall, processor = time.perf_counter(), time.process_time()
    while True:
        function()
        calls += 1
        if (passed := time.perf_counter() - wall) >= at_least:
            return Spent(passed / calls, (time.process_time() - processor) / calls)

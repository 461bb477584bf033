"""Compiled or dense: timed once on this machine, and remembered in the cache."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from lottery_pools.deploy import compiler
from lottery_pools.deploy.library import CompiledNetwork
from lottery_pools.runs.folder import write

MANY = 64
"""Samples of the batch that is timed for all calls with many."""
FEW = 8
"""Calls with fewer samples are timed by one sample."""
RUNS = 5


class Step(Protocol):
    """A compiled program, as far as it is timed here."""

    networks: dict[int, CompiledNetwork]

    def __call__(self, x: Tensor, threads: int) -> Tensor: ...


@dataclass(eq=False)
class Choice:
    """Which of the two is faster, by (shape of a sample, whether there are many, threads)."""

    faster: dict[tuple[object, ...], bool] = field(default_factory=dict)

    def compiled(self, x: Tensor, program: Step, dense: Callable[[Tensor], Tensor], threads: int) -> bool:
        """Whether the compiled program is faster than dense PyTorch on a batch such as x; timed where not known."""
        many = len(x) >= FEW
        key = (tuple(x.shape[1:]), many, threads)
        if key not in self.faster:
            sample = x[:MANY] if many else x[:1]
            self.faster[key] = _remembered(program, key, lambda: _times(program, dense, sample, threads))
        return self.faster[key]


def seconds(function: Callable[[], object], runs: int = RUNS) -> float:
    """The least time of some runs, after one to warm up."""
    function()
    least = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        function()
        least = min(least, time.perf_counter() - start)
    return least


def _times(program: Step, dense: Callable[[Tensor], Tensor], x: Tensor, threads: int) -> dict[str, float]:
    """The seconds of both on x."""
    ours = seconds(lambda: program(x, threads))
    start = time.perf_counter()
    dense(x)
    theirs = time.perf_counter() - start
    if theirs < 3 * ours:  # too close for one run, which also warms up
        theirs = seconds(lambda: dense(x))
    return {"compiled": ours, "dense": theirs}


def _remembered(program: Step, key: tuple[object, ...], measure: Callable[[], dict[str, float]]) -> bool:
    """The answer from the cache, or measured and put there.

    The file's name is a digest of the compiled sources, the processor, the kind of call and PyTorch's version.
    """
    found = compiler.find()
    texts = [one.library(part).source.text for one in program.networks.values() for part in one.parts]
    content = "\n".join([*texts, found.version, found.processor, repr(key), torch.__version__])
    path = compiler.cache() / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.json"
    try:
        times = json.loads(path.read_text(encoding="utf-8"))
        return bool(times["compiled"] <= times["dense"])
    except (OSError, ValueError, KeyError, TypeError):
        times = measure()
    write(path, json.dumps(times, sort_keys=True))
    return bool(times["compiled"] <= times["dense"])

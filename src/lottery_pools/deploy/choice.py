"""Compiled or dense: timed once on this machine, and remembered in the cache."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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


@dataclass(frozen=True)
class Times:
    """Seconds of one batch of `samples`: compiled, and by dense PyTorch."""

    samples: int
    compiled: float
    dense: float


@dataclass(eq=False)
class Choice:
    """How long both take, by (shape of a sample, samples, threads)."""

    known: dict[tuple[object, ...], Times] = field(default_factory=dict)

    def times(self, x: Tensor, program: Step, dense: Callable[[Tensor], Tensor], threads: int) -> Times:
        """The times of batches such as x, which has a sample at least: of its first one, or of its first `MANY`."""
        sample = x[:MANY] if len(x) >= FEW else x[:1]
        # Batches of 8 to 64 samples are alike here: the first of them is timed.
        key = (tuple(x.shape[1:]), len(sample) > 1, threads)
        if key not in self.known:
            self.known[key] = _remembered(program, key, lambda: _times(program, dense, sample, threads))
        return self.known[key]


def seconds(function: Callable[[], object], runs: int = RUNS) -> float:
    """The least time of some runs, after one to warm up."""
    function()
    least = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        function()
        least = min(least, time.perf_counter() - start)
    return least


def _times(program: Step, dense: Callable[[Tensor], Tensor], x: Tensor, threads: int) -> Times:
    """The seconds of both on x."""
    ours = seconds(lambda: program(x, threads))
    start = time.perf_counter()
    dense(x)
    theirs = time.perf_counter() - start
    if theirs < 3 * ours:  # too close for one run, which also warms up
        theirs = seconds(lambda: dense(x))
    return Times(len(x), ours, theirs)


def _remembered(program: Step, key: tuple[object, ...], measure: Callable[[], Times]) -> Times:
    """The times from the cache, or measured and put there.

    The file's name is a digest of the compiled sources, the processor, the kind of batch and PyTorch's version.
    """
    found = compiler.find()
    texts = [one.library(part).source.text for one in program.networks.values() for part in one.parts]
    content = "\n".join([*texts, found.version, found.processor, repr(key), torch.__version__])
    path = compiler.cache() / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.json"
    try:
        return Times(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # not there, or damaged
        times = measure()
    write(path, json.dumps(asdict(times), sort_keys=True))
    return times

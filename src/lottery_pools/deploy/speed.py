"""How fast a network is on this machine, compiled and by dense PyTorch."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from statistics import median

import torch

from lottery_pools.deploy import timing
from lottery_pools.deploy.compiled import Compiled
from lottery_pools.runs.seeds import generator
from lottery_pools.runs.speeds import Speed

BATCHES = (1, 64)
ROUNDS = 7
AT_LEAST = 0.02
"""Seconds of a round, so that the clock is fine enough."""


@torch.no_grad()
def measure(compiled: Compiled, shape: tuple[int, ...]) -> list[Speed]:
    """The speed of a network for one sample and for 64, compiled and by PyTorch, which is dense.

    All are called in turn, `ROUNDS` times; the median counts. PyTorch's is that of the faster order of memory.
    """
    speeds = []
    program = compiled.program(shape)
    for samples in BATCHES:
        x = torch.randn(samples, *shape, generator=generator(0, "speed"))
        last = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
        spent = timing.in_turn(
            {
                "compiled": lambda x=x: program(x, compiled.threads),  # type: ignore[misc]
                "dense": lambda x=x: compiled.dense(x),  # type: ignore[misc]
                "channels last": lambda x=last: compiled.dense(x),  # type: ignore[misc]
            },
            ROUNDS,
            AT_LEAST,
        )
        seconds = {name: median(once.wall for once in rounds) for name, rounds in spent.items()}
        dense = min(seconds["dense"], seconds["channels last"])
        speeds.append(Speed(samples, compiled.threads, seconds["compiled"], dense, processor()))
    return speeds


def processor() -> str:
    """What this machine's processor is called."""
    try:
        names = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        names = None
    return names[1].strip() if names else platform.processor() or platform.machine()

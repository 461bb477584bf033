"""Compiled or dense: timed once on this machine for each class of batch sizes, and remembered in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lottery_pools.deploy import compiler, timing
from lottery_pools.deploy.library import ALONE, CompiledNetwork, alone
from lottery_pools.runs import strict_json
from lottery_pools.runs.disk import write

CLASSES = ((1, 1), (2, 4), (5, ALONE), (ALONE + 1, 16), (17, 32), (33, 63), (64, 64), (65, 256))
"""Batch sizes, from and to, that one timing stands for; the last is for all larger ones too."""
RUNS = 5
AT_LEAST = 0.001
"""Seconds of a run, so that what comes before it counts little, and short enough to be seldom interrupted."""
HOPELESS = 3.0
"""How many times as slow as the fastest, in the better of two runs, is not timed again."""


class Step(Protocol):
    """A compiled program, as far as it is timed here."""

    networks: dict[int, CompiledNetwork]

    def __call__(self, x: Tensor, threads: int) -> Tensor: ...


@dataclass(frozen=True)
class Times:
    """Seconds of one batch of `samples`: compiled, and by dense PyTorch in either order of memory."""

    samples: int
    compiled: float
    contiguous: float
    channels_last: float | None = None
    """Of images only."""

    @property
    def dense(self) -> float:
        """Seconds of dense PyTorch at its fastest."""
        return min(self.contiguous, float("inf") if self.channels_last is None else self.channels_last)

    @cached_property
    def fastest(self) -> str:
        """The name of the fastest of the three."""
        seconds = {name: value for name, value in asdict(self).items() if name != "samples" and value is not None}
        return min(seconds, key=lambda name: seconds[name])


@dataclass(eq=False)
class Choice:
    """How long all of them take, by (shape of a sample, batch size that is timed, threads)."""

    known: dict[tuple[object, ...], Times] = field(default_factory=dict)

    def times(self, x: Tensor, program: Step, dense: Mapping[str, Callable[[Tensor], Tensor]], threads: int) -> Times:
        """The times for batches of the class of x, which has a sample at least; `dense` has the fields of `Times`."""
        size = timed(x.shape[0], next((network.lanes for network in program.networks.values()), 1))
        key = (tuple(x.shape[1:]), size, threads)
        if key not in self.known:
            batch = torch.cat([x.detach()] * -(-size // x.shape[0]))[:size]
            functions = {"compiled": lambda: program(batch, threads)}
            functions |= {name: lambda function=function: function(batch) for name, function in dense.items()}  # type: ignore[misc]
            self.known[key] = _remembered(program, key, functions)
        return self.known[key]


@cache
def timed(samples: int, lanes: int) -> int:
    """The batch size that is timed for batches of `samples`, where `lanes` are computed side by side.

    Of its class it is the one in which the compiled network wastes most: where that wins, it wins for the others too.
    """
    first, last = next((first, last) for first, last in reversed(CLASSES) if samples >= first)

    def tiles_a_sample(size: int) -> float:
        few = alone(lanes)
        whole = size // lanes + (size % lanes > few)
        return (whole + (size % lanes / few if size % lanes <= few else 0)) / size

    return max(range(first, last + 1), key=lambda size: (tiles_a_sample(size), size))


def _remembered(program: Step, key: tuple[object, ...], functions: Mapping[str, Callable[[], object]]) -> Times:
    """The times from the cache, or measured and put there.

    The file's name is a digest of the compiled sources, the processor, the kind of batch and PyTorch's version.
    """
    c_compiler = compiler.find()
    texts = [network.library(part).source.text for network in program.networks.values() for part in network.parts]
    content = "\n".join([*texts, c_compiler.version, c_compiler.processor, repr(key), torch.__version__])
    path = compiler.cache() / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.json"
    try:
        return _times(path)
    except (OSError, ValueError):  # not there, or damaged
        spent = timing.in_turn(functions, RUNS, AT_LEAST, HOPELESS)
    assert isinstance(key[1], int)
    times = Times(key[1], **{name: min(once.wall for once in rounds) for name, rounds in spent.items()})
    write(path, json.dumps(asdict(times), sort_keys=True))
    return times


def _times(path: Path) -> Times:
    """The times that a file of the cache holds; raises OSError or ValueError where it holds none."""
    values = strict_json.parse(path.read_bytes())
    if not isinstance(values, dict) or values.keys() != {field.name for field in fields(Times)}:
        raise ValueError("it holds no times")
    times = Times(**values)
    seconds = (times.compiled, times.contiguous, 1.0 if times.channels_last is None else times.channels_last)
    if type(times.samples) is not int or not all(type(value) is float and value > 0 for value in seconds):
        raise ValueError("a time is no number of seconds")
    return times

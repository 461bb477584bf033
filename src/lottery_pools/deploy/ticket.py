"""The command `compile`: one ticket as C files with their library, and how fast it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from lottery_pools.deploy import compiled, compiler, speed
from lottery_pools.deploy.graph import Network
from lottery_pools.deploy.standalone import Standalone, write_standalone
from lottery_pools.runs import speeds
from lottery_pools.runs.disk import remove
from lottery_pools.runs.speeds import Speed


@dataclass(frozen=True)
class Compilation:
    """What became of a ticket."""

    files: Standalone
    target: str
    """What the code is tuned for."""
    weights: int
    """Weights that are not zero, after BatchNorm is folded into them."""
    all_weights: int
    speeds: tuple[Speed, ...]
    """None where they were not asked for, or this processor cannot run the code."""


@dataclass(frozen=True)
class Choices:
    """How a ticket is compiled."""

    target: str | None = None
    """"avx512", "avx2", "neon" or "plain"; None: what this processor has."""
    threads: int | None = None
    """Threads of the timing; None: PyTorch's number."""
    timed: bool = True
    """Whether it is timed."""


def compile_ticket(
    ticket: Path, module: nn.Module, shape: tuple[int, ...], out: Path, choices: Choices | None = None
) -> Compilation:
    """Write a ticket as C files and their library into the folder `out`, and time it beside dense PyTorch.

    Args:
        ticket: The ticket's file, to which the speed belongs.
        module: The network with the ticket's weights, in evaluation mode.
        shape: The shape of one sample.
        out: The folder. The run's report shows the speed if it is `compiled_folder(ticket)`.
        choices: How; by default for this processor, timed.

    Raises:
        UserError: As `write_standalone`.

    Example:
        ```python
        compile_ticket(path, lp.load_model(path), (3, 32, 32), compiled_folder(path))
        ```
    """
    choices = choices or Choices()
    c_compiler = compiler.find()
    target = choices.target or c_compiler.target
    files = write_standalone(module, shape, out, target)
    network = compiled.compile(
        module, threads=choices.threads, target=target if c_compiler.has(target) else None, engine="c"
    )
    measured: list[Speed] = []
    if choices.timed and c_compiler.has(target):
        measured = speed.measure(network, shape)
        speeds.keep(measured, ticket, out)
    else:
        remove(out / speeds.FILE)  # of an earlier ticket or target
    kept, every = _weights(network.program(shape).traced.networks)
    return Compilation(files, target, kept, every, tuple(measured))


def _weights(networks: tuple[Network, ...]) -> tuple[int, int]:
    """(weights that are not zero, all weights)"""
    weights = [op.weight for network in networks for op in network.convolutions]
    return sum(int(np.count_nonzero(weight)) for weight in weights), sum(weight.size for weight in weights)

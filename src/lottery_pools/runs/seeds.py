"""Named random streams: each source of randomness draws from a generator that depends on the seed and on its name only.

No generator is passed on from one step to the next. A run can therefore stop after any epoch and continue, or do its
work in another order or on another machine, and still draw the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *name: str | int) -> int:
    """Return a seed for the random stream called `name`: an integer in [0, 2^63), from SHA-256 of seed and name.

    Args:
        seed: The seed of the run.
        name: The parts of the stream's name: what is drawn, and for which level, epoch and so on.

    Examples:
        >>> derive(0, "augment", 1, 7)
        8999235656694526356
    """
    digest = hashlib.sha256(json.dumps([seed, *name]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *name: str | int) -> torch.Generator:
    """Return a generator at the start of the random stream called `name`.

    It is on the CPU, so that the numbers are the same whatever device they are then used on.

    Args:
        seed: The seed of the run.
        name: The parts of the stream's name: what is drawn, and for which level, epoch and so on.

    Examples:
        Two generators of one stream draw the same numbers, those of different streams are independent:

        >>> import torch
        >>> first = torch.rand(3, generator=generator(0, "augment", 1, 7))
        >>> torch.equal(first, torch.rand(3, generator=generator(0, "augment", 1, 7)))
        True
        >>> torch.equal(first, torch.rand(3, generator=generator(0, "augment", 1, 8)))
        False
    """
    import torch

    return torch.Generator().manual_seed(derive(seed, *name))

"""Named random streams: a generator is a function of the seed and a name, so work can stop, move or be reordered."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *name: str | int) -> int:
    """A 63-bit seed for the stream called `name`, e.g. `derive(0, "augment", level, epoch)`."""
    digest = hashlib.sha256(json.dumps([seed, *name]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *name: str | int) -> torch.Generator:
    """A CPU generator at the start of the stream called `name`: the same numbers on every device."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *name))

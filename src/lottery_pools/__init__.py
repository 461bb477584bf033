"""Lottery Pools: train lottery tickets, pool them into stronger sparse networks, and prove the gain.

The public names; each is documented where it is defined. Importing the package does not import torch: a name does,
when it is first used, so that the command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lottery_pools.errors import UserError
from lottery_pools.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from lottery_pools.deploy.compiled import compile
    from lottery_pools.pooling.batchnorm import recalibrate
    from lottery_pools.pooling.likelihood import log_likelihood
    from lottery_pools.pooling.methods import METHODS, pool, replay
    from lottery_pools.pooling.search import Pooled, Trial
    from lottery_pools.tickets.files import load, save
    from lottery_pools.tickets.masks import from_zeros
    from lottery_pools.tickets.ticket import Ticket

__all__ = [
    "METHODS",
    "Pooled",
    "Ticket",
    "Trial",
    "UserError",
    "compile",
    "from_zeros",
    "load",
    "log_likelihood",
    "pool",
    "recalibrate",
    "replay",
    "save",
]

_HOMES = {
    "METHODS": "pooling.methods",
    "Pooled": "pooling.search",
    "Ticket": "tickets.ticket",
    "Trial": "pooling.search",
    "compile": "deploy.compiled",
    "from_zeros": "tickets.masks",
    "load": "tickets.files",
    "log_likelihood": "pooling.likelihood",
    "pool": "pooling.methods",
    "recalibrate": "pooling.batchnorm",
    "replay": "pooling.methods",
    "save": "tickets.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lottery_pools' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lottery_pools.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

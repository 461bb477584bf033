"""Lottery Pools: train lottery tickets, pool them into stronger sparse networks, and measure the gain.

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
    from lottery_pools.data.preprocessing import Preprocessing
    from lottery_pools.deploy.compiled import compile
    from lottery_pools.exchange.card import Card, Figure
    from lottery_pools.exchange.export import export
    from lottery_pools.exchange.imported_run import import_run
    from lottery_pools.exchange.network import load_model
    from lottery_pools.exchange.predict import Predictions, predict
    from lottery_pools.exchange.prune import to_prune
    from lottery_pools.exchange.read import read
    from lottery_pools.pooling.batchnorm import recalibrate
    from lottery_pools.pooling.likelihood import log_likelihood
    from lottery_pools.pooling.method import Method
    from lottery_pools.pooling.methods import METHODS
    from lottery_pools.pooling.pool import pool
    from lottery_pools.pooling.recipe import Recipe, replay
    from lottery_pools.pooling.result import Pooled, Trial
    from lottery_pools.tickets.default_training import DefaultTraining
    from lottery_pools.tickets.files import load, save
    from lottery_pools.tickets.masks import from_zeros
    from lottery_pools.tickets.own_training import imp
    from lottery_pools.tickets.ticket import Ticket

__all__ = [
    "METHODS",
    "Card",
    "DefaultTraining",
    "Figure",
    "Method",
    "Pooled",
    "Predictions",
    "Preprocessing",
    "Recipe",
    "Ticket",
    "Trial",
    "UserError",
    "compile",
    "export",
    "from_zeros",
    "imp",
    "import_run",
    "load",
    "load_model",
    "log_likelihood",
    "pool",
    "predict",
    "read",
    "recalibrate",
    "replay",
    "save",
    "to_prune",
]

_HOMES = {
    "METHODS": "pooling.methods",
    "Card": "exchange.card",
    "DefaultTraining": "tickets.default_training",
    "Figure": "exchange.card",
    "Method": "pooling.method",
    "Pooled": "pooling.result",
    "Predictions": "exchange.predict",
    "Preprocessing": "data.preprocessing",
    "Recipe": "pooling.recipe",
    "Ticket": "tickets.ticket",
    "compile": "deploy.compiled",
    "Trial": "pooling.result",
    "export": "exchange.export",
    "from_zeros": "tickets.masks",
    "imp": "tickets.own_training",
    "import_run": "exchange.imported_run",
    "load": "tickets.files",
    "load_model": "exchange.network",
    "log_likelihood": "pooling.likelihood",
    "pool": "pooling.pool",
    "predict": "exchange.predict",
    "read": "exchange.read",
    "recalibrate": "pooling.batchnorm",
    "replay": "pooling.recipe",
    "save": "tickets.files",
    "to_prune": "exchange.prune",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lottery_pools' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lottery_pools.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

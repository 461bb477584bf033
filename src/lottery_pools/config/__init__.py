"""Settings: what an experiment can be told, and how that is written down. Imports nothing heavy.

>>> from lottery_pools import config
>>> config.Training(epochs=30).epochs
30
"""

from lottery_pools.config.schema import (
    PAPER_COEFFICIENTS,
    Config,
    Data,
    Difficulty,
    Evaluation,
    Model,
    Pooling,
    Pruning,
    Training,
)

__all__ = [
    "PAPER_COEFFICIENTS",
    "Config",
    "Data",
    "Difficulty",
    "Evaluation",
    "Model",
    "Pooling",
    "Pruning",
    "Training",
]

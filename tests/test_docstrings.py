"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

MODULES = (
    "data.corruptions",
    "data.sources",
    "errors",
    "models.registry",
    "runs.engine",
    "runs.disk",
    "runs.folder",
    "runs.results",
    "runs.strict_json",
    "runs.seeds",
)
"""The modules whose docstrings have examples that run."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    module = importlib.import_module(f"lottery_pools.{name}")
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0

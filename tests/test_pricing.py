"""What is refused before any work: methods that the task of the data is not for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lottery_pools.errors import UserError
from lottery_pools.experiment.pricing import check_pooling


def run_on(task: str) -> Any:
    config = SimpleNamespace(data=SimpleNamespace(task=task), pooling=SimpleNamespace(budget=None))
    return SimpleNamespace(levels=range(3), config=config, folder=None)


@pytest.mark.parametrize("method", ["consensus-soup", "interpolation-agreement", "fisher", "learned-soup"])
@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_methods_for_classes_are_refused_where_there_are_none(method: str, task: Any) -> None:
    network: Any = None
    check_pooling(network, run_on("single-label"), [method])
    check_pooling(network, run_on(task), ["trimmed-soup", "interpolation", "regmean"])
    with pytest.raises(UserError, match=f"{method} needs one label a sample, and data.task is {task}: leave it out"):
        check_pooling(network, run_on(task), ["trimmed-soup", method])

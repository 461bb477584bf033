from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError
from lottery_pools.models import registry
from lottery_pools.tickets import checks, imp, masks
from tests.test_imp import CONFIG, DATA, dense_run, pruned, run


def none_kept(config: Config, tmp_path: Path) -> None:
    run(config, tmp_path)


@pytest.mark.parametrize("act", [none_kept, lambda config, _: checks.check_settings(config, DATA)])
def test_a_density_that_keeps_no_weight(tmp_path: Path, act: Callable[[Config, Path], None]) -> None:
    prunable = masks.count(masks.dense(dense_run(0), registry.prunable(imp.network(CONFIG, DATA, 0), "convolutions")))
    with pytest.raises(UserError) as error:
        act(pruned(densities=(0.5, 1e-7)), tmp_path)
    assert str(error.value) == (
        f"density 1e-07 of level 2 keeps none of {prunable[1]} prunable weights: "
        "lower pruning.levels or take a larger network"
    )


def test_a_rewind_point_after_the_last_step() -> None:
    checks.check_settings(pruned(rewind=8, rewind_unit="steps"), DATA)
    with pytest.raises(UserError, match=r"^pruning\.rewind is step 9: training has only 9 steps$"):
        checks.check_settings(pruned(rewind=9, rewind_unit="steps"), DATA)


def test_a_network_with_another_number_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    monkeypatch.setattr(imp, "network", lambda *_: wrong)
    with pytest.raises(UserError) as error:
        checks.check_settings(CONFIG, DATA)
    assert str(error.value) == (
        "model 'resnet20' gives (2, 5) for samples (2, 3, 8, 8), 'mnist1d' has 3 classes: "
        "make the model output (batch, 3)"
    )

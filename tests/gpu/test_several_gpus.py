"""Two processes on two real GPUs, which talk by NCCL: the run of one process, but for rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lottery_pools.config import toml
from lottery_pools.pooling.recipe import Recipe
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files
from tests import two_processes
from tests.test_distributed import LEVELS, settings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")]


def test_two_gpus_give_what_one_gives(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(toml.to_toml(settings()))
    for name, size in (("one", 1), ("two", 2)):
        two_processes.start(str(tmp_path / "settings.toml"), str(tmp_path / name), "cuda", size=size)
    of_one, of_two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    for level in LEVELS:
        first, second = files.load(of_one.ticket(level)), files.load(of_two.ticket(level))
        assert (first.kept, first.origin["train_images"]) == (second.kept, second.origin["train_images"])
        for name, tensor in first.weights.items():
            torch.testing.assert_close(second.weights[name], tensor, rtol=1e-3, atol=1e-3)
        pools = [files.load(folder.pool("trimmed-soup", level)) for folder in (of_one, of_two)]
        assert Recipe.of(pools[0]).target == Recipe.of(pools[1]).target == level

"""The diagnosis of a run: every method's parts add up, and a soup of nested masks loses nothing by its last pruning."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lottery_pools.experiment import diagnose, stages
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files
from tests.test_stages import ONE, tiny


def test_gains_of_all_that_are_explained_are_split(tmp_path: Path) -> None:
    pooling = dataclasses.replace(tiny().pooling, methods=(*diagnose.EXPLAINED, "swa"))
    stages.run(tiny(pooling=pooling), tmp_path / "run", ONE)
    (diagnosis,) = diagnose.diagnose(tiny(pooling=pooling), tmp_path / "run", ONE, points=2)
    split = {(part["method"], part["level"]): part for part in diagnosis["attribution"]}
    assert set(split) == {(method, level) for method in diagnose.EXPLAINED for level in range(3)}
    for (method, level), part in split.items():
        parts = sum(part[name] for name in ("batchnorm", "takeover", "averaging", "repruning"))
        assert parts == pytest.approx(part["pooled"] - part["ticket"])
        recipe = files.read_metadata(RunFolder(tmp_path / "run").pool(method, level))["origin"]["recipe"]
        if method == "trimmed-soup" and all(member >= level for member, _ in recipe):
            assert part["repruning"] == 0

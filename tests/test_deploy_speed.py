"""Speeds are measured for one sample and for many, of the compiled network and of PyTorch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import nn

import lottery_pools as lp
from lottery_pools.deploy import speed


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_both_are_timed_at_both_batch_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path))
    monkeypatch.setattr(speed, "AT_LEAST", 0.0)
    compiled = lp.compile(nn.Conv2d(2, 3, 3), threads=1, engine="c")
    single, batched = speed.measure(compiled, (2, 5, 6))
    assert (single.samples, batched.samples) == (1, 64)
    assert single.threads == batched.threads == 1
    assert min(single.compiled, single.dense, batched.compiled, batched.dense) > 0
    assert single.processor == speed.processor() != ""

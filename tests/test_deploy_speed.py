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
    one, many = speed.measure(compiled, (2, 5, 6))
    assert (one.samples, many.samples) == (1, 64)
    assert one.threads == many.threads == 1
    assert min(one.compiled, one.dense, many.compiled, many.dense) > 0
    assert one.processor == speed.processor() != ""

"""What all tests share: one thread a process, and where real data lies."""

from __future__ import annotations

import os
import sys

# Only `make test-gpu` sees a GPU: all other tests give the same results on a machine that has one. PyTorch reads these
# when it is imported.
if os.environ.get("LOTTERY_POOLS_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# Experiments take every core for threads where nothing is said, also those that a test runs in its own process: two
# processes of tests would then wait for each other, and one test would change the threads of the next.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# No deadline: these machines are shared, and a slow example is no wrong one.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes what the command line sets for its worker processes."""
    monkeypatch.setenv("PYTHONSAFEPATH", "")


@pytest.fixture
def real_data() -> Path:
    """The folder with cifar10/ and cifar100/ parquet files; skips where it is absent."""
    folder = Path(os.environ.get("LOTTERY_POOLS_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "cifar100" / "train.parquet").exists():
        pytest.skip(f"no real CIFAR data at {folder} (set LOTTERY_POOLS_DATA)")
    return folder


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a test that fails at once: a suite that is cut off before its end has then said which."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.when} of {report.nodeid} failed", file=sys.__stderr__, flush=True)

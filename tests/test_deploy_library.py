"""Compiled networks on tensors: threads, workspaces, and parts computed one at a time and side by side."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from lottery_pools.deploy import library
from lottery_pools.deploy import plan as planning
from lottery_pools.deploy.graph import Network
from lottery_pools.deploy.library import CompiledNetwork
from lottery_pools.deploy.trace import trace
from lottery_pools.models import registry

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
SHAPE = (3, 8, 8)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing comes from an earlier run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def small() -> tuple[nn.Module, Network]:
    model = registry.build("resnet20", {"blocks": 1, "width": 4}, 10, SHAPE, 0).eval()
    (step,) = trace(model, torch.zeros(1, *SHAPE)).steps
    assert isinstance(step, Network)
    return model, step


def samples(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_threads_share_tiles_or_operations_and_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "ENOUGH", 1)
    model, network = small()
    compiled = CompiledNetwork(network)
    for batch in (1, 3, 16, 40, 100):
        x = samples(batch)
        (serial,) = compiled([x.flatten(1)], threads=1)
        torch.testing.assert_close(serial, model(x), rtol=0, atol=1e-4)
        for threads in (2, 3):
            (parallel,) = compiled([x.flatten(1)], threads=threads)
            assert torch.equal(serial, parallel)
    assert len(compiled.library("rest").spare) == 1, "one workspace, used again"


@torch.no_grad()
def test_several_callers_at_once_do_not_share_a_workspace() -> None:
    _, network = small()
    compiled = CompiledNetwork(network)
    x = samples(64)
    (expected,) = compiled([x.flatten(1)], threads=1)
    with ThreadPoolExecutor(4) as pool:
        for (predicted,) in pool.map(lambda _: compiled([x.flatten(1)], threads=1), range(40)):
            assert torch.equal(predicted, expected)


@torch.no_grad()
def test_a_first_part_is_computed_one_sample_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, network = small()
    monkeypatch.setattr(planning, "CACHE", 16 * 4 * (4 + 4) * 10 * 10 - 1)
    monkeypatch.setattr(library, "ALONE", 2)
    compiled = CompiledNetwork(network)
    assert set(compiled.parts) == {"single", "first", "rest"}
    x = samples(50)
    (predicted,) = compiled([x.flatten(1)], threads=1)
    torch.testing.assert_close(predicted, model(x), rtol=0, atol=1e-4)
    assert set(compiled.libraries) == {"first", "rest", "single"}, "the last two of 50 alone"


@torch.no_grad()
def test_small_work_is_not_shared_among_threads() -> None:
    _, network = small()
    compiled = CompiledNetwork(network)
    positions = {"conv1": 64}  # of the first layer: 27 weights an output, 4 outputs
    assert compiled.work > 27 * 4 * positions["conv1"]
    compiled([samples(2).flatten(1)], threads=4)
    ((workspace, _),) = compiled.library("single").spare
    assert len(workspace) == compiled.library("single").source.workspace, "one thread's"

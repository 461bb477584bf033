"""Every method of pooling on a real GPU: as on a CPU, wherever the tickets are, and replay gives the same again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs import engine
from tests.device_pools import Place, pooled

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels that repeat to the bit, and float32 without TensorFloat-32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    engine.prepare(1, deterministic=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")
@pytest.mark.parametrize("place", ["device", "cpu", "files"])
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_pools_as_a_cpu_does(method: str, place: Place, tmp_path: Path) -> None:
    (on_gpu, replayed), (on_cpu, _) = pooled(method, "cuda", place, tmp_path), pooled(method, "cpu", place, tmp_path)
    assert [level for level, _ in on_gpu.recipe] == [level for level, _ in on_cpu.recipe]
    shares = [share for _, share in on_cpu.recipe]
    assert [share for _, share in on_gpu.recipe] == pytest.approx(shares, rel=1e-3)
    assert on_gpu.score == pytest.approx(on_cpu.score, rel=1e-3, abs=1e-3)
    for name, tensor in on_cpu.ticket.weights.items():
        weights = on_gpu.ticket.weights[name]
        assert weights.is_cuda
        assert torch.equal(replayed.weights[name], weights)
        torch.testing.assert_close(weights.cpu(), tensor, rtol=1e-3, atol=1e-3)

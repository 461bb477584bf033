"""A whole run on a real GPU: it repeats to the byte, replays to the byte, and pools as a CPU does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import lottery_pools as lp
from lottery_pools.config.schema import Pooling
from lottery_pools.experiment import replay, stages
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.engine import Machine
from lottery_pools.tickets import files
from tests.test_stages import hashes, tiny

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

GPU = Machine(device="cuda", workers=1, threads=1, deterministic=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        stages.run(
            tiny(pooling=Pooling(methods=tuple(METHODS), coefficients=(0.3, 0.6), recalibration=100)), folder, GPU
        )
        yield folder
    torch.use_deterministic_algorithms(False)


def test_a_run_repeats_to_the_byte(finished: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    stages.run(tiny(pooling=Pooling(methods=("trimmed-soup",), coefficients=(0.3, 0.6), recalibration=100)), again, GPU)
    first, second = hashes(finished), hashes(again)
    same = [name for name in second if name.endswith(".safetensors")]
    assert len(same) == 7
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_replays_to_the_byte(finished: Path, method: str) -> None:
    for level in range(3):
        assert replay.replay(finished / f"pools/{method}/level_{level:02d}.safetensors") is None


def pooled(device: str, method: str) -> lp.Pooled:
    """A pool of three tickets with one mask, on a device."""
    draws = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)).to(device)
    mask = {name: torch.rand(8, 8, generator=draws) < 0.5 for name in ("0.weight", "1.weight")}
    tickets = []
    for level in range(3):
        weights = {name: torch.randn(tensor.shape, generator=draws) for name, tensor in model.state_dict().items()}
        weights |= {name: weights[name] * kept for name, kept in mask.items()}
        weights_there = {name: tensor.to(device) for name, tensor in weights.items()}
        mask_there = {name: tensor.to(device) for name, tensor in mask.items()}
        tickets.append(lp.Ticket(weights_there, mask_there, level))
    samples, labels = torch.randn(64, 8, generator=draws).to(device), (torch.arange(64) % 8).to(device)

    def score(model: torch.nn.Module) -> torch.Tensor:
        return lp.log_likelihood(model.eval()(samples), labels)

    return lp.pool(model, tickets, target=0, score=score, method=method)


@pytest.mark.parametrize("method", ["trimmed-soup", "interpolation", "uniform-soup"])
def test_a_gpu_pools_as_a_cpu_does(method: str) -> None:
    on_cpu, on_gpu = pooled("cpu", method), pooled("cuda", method)
    assert on_gpu.recipe == on_cpu.recipe
    for name, tensor in on_cpu.ticket.weights.items():
        torch.testing.assert_close(on_gpu.ticket.weights[name].cpu(), tensor)


def test_tickets_of_a_gpu_are_read_on_a_cpu(finished: Path) -> None:
    ticket = files.load(finished / "tickets/level_02.safetensors")
    assert all(tensor.device.type == "cpu" for tensor in ticket.weights.values())

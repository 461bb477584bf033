"""What runs on a GPU, tried without one: no tensor of the CPU meets one of the device, whatever is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lottery_pools.config.schema import Evaluation, Pooling, Pruning
from lottery_pools.experiment import diagnose, replay, stages
from lottery_pools.experiment import report as reports
from lottery_pools.pooling import fisher
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files
from tests.device_pools import Place, pooled
from tests.other_device import MixedDevicesError, other_device
from tests.test_stages import ONE, tiny

PLACES = [
    pytest.param("cuda", "files"),
    pytest.param("cuda", "device", marks=pytest.mark.slow),
    pytest.param("mps", "cpu", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("device", "place"), PLACES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_pools_on_a_device_as_on_the_cpu(method: str, place: Place, device: str, tmp_path: Path) -> None:
    with other_device(device):
        result, replica = pooled(method, device, place, tmp_path)
        tensors = (*result.ticket.weights.values(), *result.ticket.mask.values())
        assert {tensor.device.type for tensor in tensors} == {device}
        weights = {name: tensor.cpu() for name, tensor in result.ticket.weights.items()}
        replayed = {name: tensor.cpu() for name, tensor in replica.weights.items()}
    expected, _ = pooled(method, "cpu", place, tmp_path)
    assert [level for level, _ in result.recipe] == [level for level, _ in expected.recipe]
    assert [share for _, share in result.recipe] == pytest.approx([share for _, share in expected.recipe])
    assert result.score == pytest.approx(expected.score)
    for name, tensor in expected.ticket.weights.items():
        torch.testing.assert_close(weights[name], tensor)
        assert torch.equal(replayed[name], weights[name])


@pytest.mark.parametrize("device", ["cuda", pytest.param("mps", marks=pytest.mark.slow)])
def test_a_run_on_a_device_is_that_of_the_cpu(device: str, tmp_path: Path) -> None:
    """Training, recorded steps with CUDA, pooling, shifted samples, evaluation, diagnosis and replay."""
    config = tiny(
        pruning=Pruning(rate=0.3, levels=1, rewind=1),
        pooling=Pooling(methods=("trimmed-soup",), recalibration=100),
        evaluation=Evaluation(corruptions=("shear",), severities=(1,), corrupted=50),
    )
    pool = RunFolder(tmp_path / "there").pool("trimmed-soup", 1)
    with other_device(device):
        machine = Machine(device=device, workers=1, threads=1)
        for stage in (stages.tickets, stages.pool, stages.evaluate):
            stage(config, tmp_path / "there", machine)
        diagnose.diagnose(config, tmp_path / "there", machine, points=3)
        assert replay.replay(pool) is None
    for stage in (stages.tickets, stages.pool, stages.evaluate):
        stage(config, tmp_path / "here", ONE)
    assert files.read_metadata(pool)["origin"]["device"] == device
    accuracies = [{row.key: row.accuracy for row in reports.read(tmp_path / name)[1]} for name in ("there", "here")]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)


def test_sums_that_are_left_on_the_cpu_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Fisher's once were: only a GPU had shown it."""
    add_squared_gradients = fisher._add_squared_gradients

    def add_here(sums: dict[str, Tensor], *arguments: Any) -> None:
        sums.update({name: total.cpu() for name, total in sums.items()})
        add_squared_gradients(sums, *arguments)

    monkeypatch.setattr(fisher, "_add_squared_gradients", add_here)
    with other_device("cuda"), pytest.raises(MixedDevicesError, match=r"aten.add_.*on the CPU"):
        pooled("fisher", "cuda", "cpu", tmp_path)


def test_what_a_card_refuses_is_refused_and_what_it_takes_is_taken() -> None:
    with other_device("cuda"):
        there, here = torch.arange(6.0, device="cuda").view(2, 3), torch.arange(6.0).view(2, 3)
        assert there.is_cuda
        assert there.device == torch.device("cuda", 0)
        refused: list[Any] = [
            lambda: there + here,
            lambda: there @ here.T,
            lambda: torch.cat([there, here]),
            lambda: torch.stack([there[0, 0], here[0, 0]]),
            lambda: there.index_select(0, torch.tensor([0])),
            lambda: here[torch.tensor([0], device="cuda")],
            lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
            lambda: there.numpy(),
        ]
        for mix in refused:
            with pytest.raises(RuntimeError):
                mix()
        assert (there + here.to("cuda")).tolist() == [[0, 2, 4], [6, 8, 10]]
        assert (there * torch.tensor(2.0))[torch.tensor([1])].tolist() == [[6, 8, 10]]
        assert here.copy_(there).device.type == "cpu"
        assert there.add_(1).cpu().numpy().tolist() == [[1, 2, 3], [4, 5, 6]]
    with other_device("mps"), pytest.raises(TypeError, match="float64"):
        torch.ones(2, device="mps").double()

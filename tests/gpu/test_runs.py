"""A whole run on a real GPU: it repeats to the byte, replays to the byte, and is explained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lottery_pools.config import toml
from lottery_pools.config.schema import Pooling
from lottery_pools.experiment import diagnose, replay, stages
from lottery_pools.pooling.methods import METHODS
from lottery_pools.runs.engine import Machine
from lottery_pools.tickets import files
from tests.test_stages import hashes, tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # PyTorch names operations of which it has no kernel that repeats; whether the bytes are equal is tested.
    pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation"),
]

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
    rerun = tmp_path / "again"
    stages.run(tiny(pooling=Pooling(methods=("trimmed-soup",), coefficients=(0.3, 0.6), recalibration=100)), rerun, GPU)
    first, second = hashes(finished), hashes(rerun)
    same = [name for name in second if name.endswith(".safetensors")]
    assert len(same) == 7
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_replays_to_the_byte(finished: Path, method: str) -> None:
    for level in range(3):
        assert replay.replay(finished / f"pools/{method}/level_{level:02d}.safetensors") is None


def test_a_run_is_explained_on_a_gpu(finished: Path) -> None:
    config = toml.read_toml(finished / "config.toml")
    (diagnosis,) = diagnose.diagnose(config, finished, GPU, points=3)
    assert len(diagnosis["pairs"]) == 3
    assert diagnosis["attribution"]


def test_tickets_of_a_gpu_are_read_on_a_cpu(finished: Path) -> None:
    ticket = files.load(finished / "tickets/level_02.safetensors")
    assert all(tensor.device.type == "cpu" for tensor in ticket.weights.values())

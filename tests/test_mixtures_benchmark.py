"""The benchmarks of soups and mixtures: what they mix, and that they read the runs that an experiment leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import mixtures, soups
from lottery_pools.config.data import Data
from lottery_pools.config.schema import Config, Model, Pruning
from lottery_pools.config.training import Training
from lottery_pools.experiment import stages
from lottery_pools.runs.engine import Machine
from lottery_pools.tickets.ticket import Ticket


def tickets() -> list[Ticket]:
    """Three tickets of four weights, each with one weight fewer, and a bias."""
    values = ([1.0, -4.0, 2.0, 8.0], [0.0, -2.0, 4.0, 4.0], [0.0, 0.0, -3.0, 6.0])
    return [
        Ticket({"w": torch.tensor(row), "b": torch.tensor([float(level)])}, {"w": torch.tensor(row) != 0}, level)
        for level, row in enumerate(values)
    ]


def expected(name: str, target: int) -> Tensor:
    return mixtures.MIXES[name](tickets(), target)["w"]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("plain mean of all sparser tickets", [0, -1, 0.5, 5]),
        ("sign agreement, others count as zero", [0, -1, 2, 5]),
        ("sign agreement, others are left out", [0, -2, 4, 5]),
        ("mean of those not pruned", [0, -2, 0.5, 5]),
        ("half way to the mean of those not pruned", [0, -1.5, 0.5, 5]),
        ("1.25 of the way to the plain mean", [0, -0.75, -0.375, 5.25]),
        ("plain mean in the first half, target in the second", [0, -1, 0.5, 5]),
        ("target in the first half, plain mean in the second", [0, -2, 4, 4]),
        ("all tickets", [0, -2, 1, 6]),
        ("all tickets, within the target's mask", [0, -2, 1, 6]),
        ("all tickets, denser ones by 0.5 a level", [0, -1.6, 0.8, 5.6]),
    ],
)
def test_a_mixture_is_what_its_name_says(name: str, weights: list[float]) -> None:
    assert torch.allclose(expected(name, 1), torch.tensor(weights, dtype=torch.float32))


@pytest.mark.parametrize("name", list(mixtures.MIXES))
def test_a_mixture_has_no_more_weights_than_its_target(name: str) -> None:
    for target, ticket in enumerate(tickets()):
        assert int((expected(name, target) != 0).sum()) <= int(ticket.mask["w"].sum())


def test_the_bias_is_the_plain_mean_whatever_is_done_to_prunable_weights() -> None:
    mixed = mixtures.MIXES["sign agreement, others are left out"](tickets(), 1)
    assert mixed["b"].tolist() == [1.5]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tickets of two seeds, each with samples of its own, as the planned studies have."""
    config = Config(
        seeds=(0, 1),
        data=Data(name="mnist1d", train=100, validation=50, test=60, draw="per-seed"),
        model=Model("conv1d", {"width": 8, "depth": 2}),
        training=Training(epochs=2, batch=50, lr=0.05, schedule="cosine"),
        pruning=Pruning(rate=0.3, levels=2, rewind=1),
    )
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    stages.tickets(config, folder, Machine(device="cpu", workers=1, threads=1))
    return folder


@pytest.mark.parametrize("benchmark", [soups, mixtures])
def test_runs_whose_seeds_draw_their_own_samples_are_measured(run: Path, benchmark: object) -> None:
    by_seed = [benchmark.gains(of_seed) for of_seed in soups.runs_of(run)]  # type: ignore[attr-defined]
    assert len(by_seed) == 2
    assert all(gain.shape == (60,) for gains in by_seed for of_levels in gains.values() for gain in of_levels)
    assert "of 6 |" in soups.table(by_seed)


def test_the_best_mixture_by_test_samples_is_a_ceiling(run: Path) -> None:
    by_name = mixtures.gains(soups.runs_of(run)[0])
    for target, best in enumerate(by_name[mixtures.BEST]):
        assert float(best.mean()) == max(float(gains[target].mean()) for gains in by_name.values())

"""Tickets are read and checked once a process, and anew where their file has changed."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.experiment import diagnose, opening, stages, ticket_cache
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.ticket_cache import TicketCache
from lottery_pools.models import registry
from lottery_pools.pooling import learning
from lottery_pools.runs.disk import digest
from lottery_pools.runs.folder import RunFolder
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import LazyTensors
from tests.test_stages import ONE, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three tickets and nothing else."""
    folder = tmp_path_factory.mktemp("cache") / "run"
    stages.tickets(tiny(), folder, ONE)
    return folder


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for each test."""
    monkeypatch.setattr(ticket_cache, "of_this_process", cache(ticket_cache.of_this_process.__wrapped__))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, str]]:
    """How often each tensor was read from its file: (id of the mapping, name) → count."""
    counts: Counter[tuple[int, str]] = Counter()
    read = LazyTensors.__getitem__

    def counted(self: LazyTensors, name: str) -> Tensor:
        tensor: Tensor = read(self, name)
        counts[id(self), name] += 1
        return tensor

    monkeypatch.setattr(LazyTensors, "__getitem__", counted)
    return counts


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was loaded, which checks it."""
    counts: Counter[str] = Counter()
    load = files.load

    def counted(path: Path, *rest: Any) -> Any:
        counts[str(path)] += 1
        return load(path, *rest)

    monkeypatch.setattr(files, "load", counted)
    return counts


def run_of(folder: Path) -> Run:
    return opening.resolve(tiny(), folder, ONE).runs[0]


def paths_of(run: Run) -> list[Path]:
    return [run.folder.ticket(level) for level in run.levels]


@pytest.mark.parametrize("targets", [(0,), (0, 1, 2)])
def test_pooling_reads_each_ticket_once_for_all_targets_and_methods(
    targets: tuple[int, ...],
    trained: Path,
    tmp_path: Path,
    reads: Counter[tuple[int, str]],
    loads: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learning, "LEARNED_SOUP_STEPS", 3)
    shutil.copytree(trained, tmp_path / "run")
    pooling = replace(tiny().pooling, methods=("average", "interpolation", "ties", "learned-soup"), targets=targets)
    stages.pool(tiny(pooling=pooling), tmp_path / "run", ONE)
    folder = RunFolder(tmp_path / "run")
    assert loads == {str(path): 1 for path in (folder.ticket(0), folder.ticket(1), folder.ticket(2), folder.rewind)}
    # twice to check it, then once more into memory
    assert max(reads.values()) <= 3


def test_the_diagnosis_reads_each_ticket_once(trained: Path, tmp_path: Path, loads: Counter[str]) -> None:
    shutil.copytree(trained, tmp_path / "run")
    stages.run(tiny(), tmp_path / "run", ONE)
    ticket_cache.of_this_process.cache_clear()
    loads.clear()
    diagnose.diagnose(tiny(), tmp_path / "run", ONE, points=2)
    assert {loads[str(RunFolder(tmp_path / "run").ticket(level))] for level in range(3)} == {1}


def test_tickets_too_large_for_memory_are_checked_once_and_give_the_same_pools(
    trained: Path, tmp_path: Path, loads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = {}
    for name in ("held", "lazy"):
        shutil.copytree(trained, tmp_path / name)
        if name == "lazy":
            monkeypatch.setattr(ticket_cache, "of_this_process", partial(lambda cache: cache, TicketCache(limit=10)))
        loads.clear()
        stages.pool(tiny(), tmp_path / name, ONE)
        assert set(loads.values()) == {1}
        paths = sorted((tmp_path / name / "pools").rglob("*.safetensors"))
        pools[name] = {str(path.relative_to(tmp_path / name)): digest(path) for path in paths}
    assert len(pools["held"]) == 12
    assert pools["held"] == pools["lazy"]
    run = run_of(tmp_path / "lazy")
    assert all(isinstance(ticket.weights, LazyTensors) for ticket in run.tickets(run.network()))


def test_a_file_that_changes_is_read_anew(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    run, cache = run_of(tmp_path / "run"), TicketCache()
    model, paths = run.network(), paths_of(run)
    first = cache.load(paths, model)
    assert cache.load(paths, model) == first  # the very same values, for tickets compare by identity
    before = cache.digest(paths[2])
    files.save(replace(first[2], origin={"changed": True}), paths[2])
    changed = cache.load(paths, model)
    assert changed[:2] == first[:2]
    assert changed[2].origin == {"changed": True}
    assert before != cache.digest(paths[2]) == digest(paths[2])
    paths[2].unlink()
    with pytest.raises(UserError, match=r"no ticket file .*level_02\.safetensors"):
        cache.load(paths, model)


def test_what_is_known_is_still_checked_against_the_model(trained: Path) -> None:
    run, cache = run_of(trained), TicketCache()
    cache.load(paths_of(run), run.network())
    other: nn.Module = registry.build("conv1d", {"width": 12, "depth": 2}, 10, (1, 40), 0)
    with pytest.raises(UserError, match=r"\(8, 1, 5\) in the tensors of .*level_00\.safetensors and \(12, 1, 5\)"):
        cache.load(paths_of(run), other)


def test_no_more_than_the_limit_is_held_and_the_oldest_is_forgotten(trained: Path, loads: Counter[str]) -> None:
    run = run_of(trained)
    model, paths = run.network(), paths_of(run)
    numbers = sum(tensor.numel() for tensor in model.state_dict().values())
    cache = TicketCache(limit=2 * numbers + 1)
    for path in (paths[0], paths[1], paths[2], paths[2], paths[0]):
        (ticket,) = cache.load([path], model)
        assert isinstance(ticket.weights, dict)
    assert [loads[str(path)] for path in paths] == [2, 1, 1]

"""A real Dask cluster on loopback: the same bytes as local processes, though a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from lottery_pools.config.schema import Pooling
from lottery_pools.errors import Notice, UserError
from lottery_pools.experiment import stages
from lottery_pools.experiment.execution import Watching
from lottery_pools.runs import cluster, worker
from lottery_pools.runs.cluster import Place, Setup
from lottery_pools.runs.engine import Machine, run_tasks
from lottery_pools.runs.events import Event
from tests.local_cluster import LocalCluster, die, fail, local_cluster, threads_and_folder
from tests.test_stages import ONE, hashes, tiny

pytest.importorskip("distributed", reason="needs the extra cluster")


@pytest.fixture(scope="module")
def two_workers() -> Iterator[LocalCluster]:
    with local_cluster(2) as cluster:
        yield cluster


def test_a_killed_worker_loses_nothing_and_changes_no_byte(tmp_path: Path, two_workers: LocalCluster) -> None:
    killed: list[Event] = []

    def kill_one(event: Event) -> None:
        """Kill a worker while both train, each the tickets of a seed."""
        if event.kind == "epoch" and not killed:
            killed.append(event)
            os.kill(two_workers.pids[0], signal.SIGKILL)

    config = tiny(seeds=(0, 1), pooling=Pooling(methods=("average",), recalibration=100))
    far = Machine(device="cpu", threads=1, cluster=two_workers.address)
    for machine, out, watching in (
        (far, tmp_path / "far", Watching(observers=(kill_one,))),
        (ONE, tmp_path / "near", Watching()),
    ):
        stages.tickets(config, out, machine, watching)
        stages.pool(config, out, machine)
        stages.evaluate(config, out, machine)
    assert killed
    assert hashes(tmp_path / "far") == hashes(tmp_path / "near")


def test_workers_get_their_threads_and_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_workers: LocalCluster
) -> None:
    monkeypatch.chdir(tmp_path)
    (given,) = run_tasks(threads_and_folder, [()], 1, 3, two_workers.address)
    assert given == (3, str(tmp_path))
    shared = set(run_tasks(threads_and_folder, [()] * 4, 1, None, two_workers.address))
    assert shared == {(max(1, worker.cores() // 2), str(tmp_path))}


def test_mistakes_in_workers_are_one_line(two_workers: LocalCluster) -> None:
    with pytest.raises(UserError, match=r"^the loss is NaN: lower training.lr$"):
        list(run_tasks(fail, [()], 1, 1, two_workers.address))
    with pytest.raises(UserError, match=r"2 workers of the cluster died at the same task, perhaps for want of memory"):
        list(run_tasks(die, [()], 1, 1, two_workers.address))


@pytest.fixture
def this_worker(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """This process as a worker of a cluster."""
    this = SimpleNamespace(address="tcp://here:1", state=SimpleNamespace(nthreads=1))
    monkeypatch.setattr("distributed.get_worker", lambda: this)
    return this


def test_workers_that_cannot_do_the_work_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, this_worker: SimpleNamespace
) -> None:
    monkeypatch.chdir(tmp_path)
    setup = Setup(tmp_path, 1, {})
    task = cluster.packed(max, (3, 5))
    assert cluster.at_worker(setup, task) == 5
    with pytest.raises(UserError, match=r"does not see the folder .*nowhere \(No such file .*start the command in a"):
        cluster.at_worker(replace(setup, folder=tmp_path / "nowhere"), task)
    with pytest.raises(UserError, match=r"has lottery-pools .*, not 0\.0\.1: install the same one"):
        cluster.at_worker(replace(setup, version="0.0.1"), task)
    this_worker.state.nthreads = 2
    with pytest.raises(UserError, match=r"does 2 tasks at once, which share their random numbers: start it with --nth"):
        cluster.at_worker(setup, task)


def test_workers_are_spread_over_the_gpus_of_their_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, this_worker: SimpleNamespace
) -> None:
    chosen: list[int] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "gpus", lambda: 4)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    for number in range(6):
        setup = Setup(tmp_path, 1, {this_worker.address: Place(number, 6)})
        cluster.at_worker(setup, cluster.packed(max, (3, 5)))
    assert chosen == [0, 1, 2, 3, 0, 1]


def test_workers_are_numbered_on_their_machines() -> None:
    hosts = {"tcp://b:1": "b", "tcp://a:7": "a", "tcp://b:3": "b", "tcp://b:2": "b"}
    places = cluster._places({address: {"host": host} for address, host in hosts.items()})
    assert places == {
        "tcp://a:7": Place(0, 1),
        "tcp://b:1": Place(0, 3),
        "tcp://b:2": Place(1, 3),
        "tcp://b:3": Place(2, 3),
    }


def test_the_work_waits_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MagicMock()
    client.return_value.scheduler_info.return_value = {"workers": {}}
    monkeypatch.setattr("distributed.Client", client)
    with pytest.warns(Notice, match="tcp://there:8786 has no workers yet: the work waits for them"):
        assert list(run_tasks(fail, [], 1, 1, "tcp://there:8786")) == []

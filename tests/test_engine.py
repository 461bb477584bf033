"""Tasks on processes and clusters: the order of results, the errors that come through, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace, TracebackType

import pytest
import torch

from lottery_pools.errors import UserError
from lottery_pools.runs import engine
from lottery_pools.runs.engine import Machine, Workers, run_tasks


def work(name: int, seconds: float) -> tuple[int, int, int]:
    """(name, threads, process); a negative name is a mistake."""
    import torch

    time.sleep(seconds)
    if name < 0:
        raise UserError(f"task {name} is wrong: mend it")
    return name, torch.get_num_threads(), os.getpid()


def test_one_worker_works_here_in_order_one_task_at_a_time() -> None:
    before = torch.get_num_threads()
    try:
        finished = run_tasks(work, [(3, 0), (1, 0), (-2, 0), (9, 0)], workers=1, threads=2)
        assert next(finished) == (3, 2, os.getpid())
        assert next(finished) == (1, 2, os.getpid())
        with pytest.raises(UserError, match="task -2 is wrong"):
            next(finished)
    finally:
        torch.set_num_threads(before)
    assert list(run_tasks(work, [], workers=1, threads=before)) == []


def test_two_workers_keep_the_order_and_a_mistake_ends_what_is_under_way() -> None:
    bystander = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,))
    bystander.start()
    try:
        start = time.monotonic()
        finished = run_tasks(work, [(7, 0.5), (1, 0), (-2, 0), (9, 60)], workers=2, threads=3)
        first, second = next(finished), next(finished)
        assert (first[:2], second[:2]) == ((7, 3), (1, 3))
        assert os.getpid() not in (first[2], second[2])
        with pytest.raises(UserError, match="task -2 is wrong: mend it"):
            next(finished)
        assert time.monotonic() - start < 50
        assert multiprocessing.active_children() == [bystander]
    finally:
        bystander.kill()
        bystander.join()


def test_processes_stay_for_the_parts_that_follow() -> None:
    bystanders = set(multiprocessing.active_children())
    with Workers(Machine("cpu")) as workers:
        assert set(multiprocessing.active_children()) == bystanders, "none is started before there is work"

        def processes(threads: int) -> set[int]:
            return {process for _, given, process in workers.do(work, [(1, 0.5)] * 2, 2, threads) if given == threads}

        first = processes(1)
        assert len(first) == 2
        assert processes(1) == first
        others = processes(2)
        assert len(others) == 2
        assert not others & first, "a part with other threads has processes of its own"
        assert {process.pid for process in set(multiprocessing.active_children()) - bystanders} == others
    assert set(multiprocessing.active_children()) == bystanders


def test_an_exception_between_two_parts_stops_what_is_under_way() -> None:
    start = time.monotonic()
    with pytest.raises(KeyError), Workers(Machine("cpu")) as workers:  # noqa: PT012
        assert next(workers.do(work, [(1, 0), (9, 60)], 2, 1))[0] == 1
        raise KeyError
    assert time.monotonic() - start < 50
    assert multiprocessing.active_children() == []


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_one_line() -> None:
    with pytest.raises(UserError, match="a worker process was killed, perhaps for want of memory"):
        list(run_tasks(die, [(), ()], workers=2, threads=1))
    assert multiprocessing.active_children() == []


FOLLOW = """
import os
import time
from lottery_pools.runs.engine import run_tasks

def work(name):
    os.write(1, b"at work\\n")  # in one piece
    time.sleep(300)

if __name__ == "__main__":
    list(run_tasks(work, [(0,), (1,)], workers=2, threads=1))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FOLLOW)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["at work\n"] * 2
        parent.kill()
        # the workers hold the other end of this pipe: it closes when the last of them is gone
        assert parent.communicate(timeout=20)[0] == ""


class Client:
    """As much of Dask's as the engine uses."""

    addresses: list[str] = []  # noqa: RUF012

    def __init__(self, address: str) -> None:
        if address == "tcp://nowhere:1":
            raise OSError("timed out")
        self.addresses.append(address)

    def __enter__(self) -> Client:
        self.executor = ThreadPoolExecutor(2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.executor.shutdown()

    def get_executor(self, pure: bool) -> ThreadPoolExecutor:
        assert not pure
        return self.executor

    def scheduler_info(self, n_workers: int) -> dict[str, dict[str, dict[str, str]]]:
        return {"workers": {"tcp://here:1": {"host": "here"}}}


def test_a_cluster_does_the_same_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("distributed")
    fake.Client, fake.KilledWorker = Client, RuntimeError  # type: ignore[attr-defined]
    state = SimpleNamespace(nthreads=1)
    fake.get_worker = lambda: SimpleNamespace(address="tcp://here:1", state=state)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distributed", fake)
    finished = run_tasks(work, [(7, 0.05), (1, 0), (-2, 0)], workers=1, threads=1, cluster="tcp://here:8786")
    assert [next(finished)[0], next(finished)[0]] == [7, 1]
    with pytest.raises(UserError, match="task -2 is wrong"):
        next(finished)
    assert Client.addresses == ["tcp://here:8786"]
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://nowhere:1 \(timed out\)"):
        list(run_tasks(work, [(7, 0)], workers=1, threads=1, cluster="tcp://nowhere:1"))


def test_a_cluster_without_its_package_is_a_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"needs the extra `cluster`: pip install 'lottery-pools\[cluster\]'"):
        list(run_tasks(work, [(7, 0)], workers=1, threads=1, cluster="tcp://here:8786"))


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Machine("cpu").share(3) == (3, 2)
    assert Machine("cpu").share(100) == (8, 1)
    assert Machine("cpu").share(0) == (1, 8)
    assert Machine("cpu", workers=5).share(3) == (5, 1)
    assert Machine("cpu", threads=6).share(3) == (3, 6)
    assert Machine("cpu", workers=20).share(3) == (20, 1)
    monkeypatch.setattr(Machine, "torch_device", lambda machine: torch.device(machine.device))
    monkeypatch.setattr(engine, "gpus", lambda: 1)
    assert Machine("cuda").share(3) == (1, 8)
    assert Machine("cuda", workers=2).share(3) == (2, 4)
    monkeypatch.setattr(engine, "gpus", lambda: 4)
    assert Machine("cuda").share(3) == (3, 2)
    assert Machine("cuda").share(30) == (4, 2)
    assert Machine("cuda:1").share(30) == (1, 8), "a certain one"


def test_a_cluster_keeps_auto_for_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(cluster="tcp://here:8786").device_of_runs == "auto"
    assert Machine("cpu", cluster="tcp://here:8786").device_of_runs == "cpu"
    assert Machine().device_of_runs in ("cpu", "cuda", "mps")


def test_devices_that_are_not_here_are_refused_in_one_line() -> None:
    assert Machine("cpu").torch_device() == torch.device("cpu")
    assert Machine().torch_device().type in ("cpu", "cuda", "mps")
    for device in ("cuda:99", "gpu"):
        with pytest.raises(
            UserError, match=rf"--device {device} cannot be used here \(.+\): try --device cpu"
        ) as caught:
            Machine(device).torch_device()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("variable", "threads"), [("1", 1), ("3,2", 3), ("20", 8), ("", 8), ("many", 8), ("0", 8)])
def test_threads_are_no_more_than_openmp_is_told(monkeypatch: pytest.MonkeyPatch, variable: str, threads: int) -> None:
    """On a busy machine, two threads on two cores that others use took five times as long as one."""
    monkeypatch.setattr(engine, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert Machine("cpu", workers=1).share(3) == (1, threads)
    assert Machine("cpu", workers=1, threads=5).share(3) == (1, 5), "what is asked for holds"


def test_no_workers_or_threads_are_refused() -> None:
    with pytest.raises(UserError, match="--workers is 0: give 1 or more"):
        Machine(workers=0)
    with pytest.raises(UserError, match="--threads is -1: give 1 or more"):
        Machine(threads=-1)


def test_this_wing_is_imported_without_torch() -> None:
    wing = "engine, folder, results, rows, seeds"
    code = f"import sys; from lottery_pools.runs import {wing}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""The harness of faults: what it counts, that it can find something out, and a short run of each kind of fault."""

from __future__ import annotations

import dataclasses
import errno
import faulthandler
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import __main__ as harness
from tests.faults import disks, kills, load, mutations, page, processes
from tests.faults.injection import Injection, inject
from tests.faults.kinds import KINDS
from tests.faults.mutations import Counts
from tests.faults.server import Command, Ended
from tests.faults.version import note, version

ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


# The page


@pytest.mark.skipif(not harness.STATE.exists(), reason="the harness was not run to its end")
def test_the_page_is_what_the_harness_found() -> None:
    state = json.loads(harness.STATE.read_text(encoding="utf-8"))
    assert (ROOT / "docs/reliability.md").read_text(encoding="utf-8") == page.page(state)


def test_the_page_says_what_failed_and_which_versions_were_tried() -> None:
    counts = dataclasses.asdict(Counts(tried=3, refused=2, tracebacks=1, failures=["flip_a_bit, number 2: oh"]))
    state = {"machine": "here", "seed": 5, "files": {"ticket": counts}, "kill": {}, "errno": {}, "processes": {}}
    versions = [{"source": "aa", "commit": "c1"}, {"source": "bb", "commit": ""}]
    text = page.page({**state, "load": {}, "versions": versions[:1]})
    assert "One version of the code was tried throughout: digest of the source `aa` (commit c1)." in text
    assert "| ticket | 3 | 2 | 0 | 0 | 0 | 0 | 1 | 0.00 | 0 |" in text
    assert "flip_a_bit, number 2: oh" in text
    mixed = page.page({**state, "load": {"rows": {"failure": "too slow"}}, "versions": versions})
    assert "counts are of several versions of the code, by digests of the source: `aa` (commit c1), `bb`." in mixed
    assert "load of rows: too slow" in mixed


# Seeds and versions


def test_a_state_has_one_seed_and_one_version(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = harness.read(path, None)
    assert state["seed"] != harness.read(path, None)["seed"]
    state = harness.read(path, 7)
    note(state, {"source": "aa", "commit": ""}, is_mixed=False)
    note(state, {"source": "aa", "commit": "later"}, is_mixed=False)
    assert len(state["versions"]) == 1
    with pytest.raises(SystemExit, match="the state is of version aa, the code is bb: begin another state, or say --m"):
        note(state, {"source": "bb", "commit": ""}, is_mixed=False)
    note(state, {"source": "bb", "commit": ""}, is_mixed=True)
    assert [known["source"] for known in state["versions"]] == ["aa", "bb"]
    path.write_text(json.dumps(state))
    assert harness.read(path, None)["seed"] == harness.read(path, 7)["seed"] == 7
    with pytest.raises(SystemExit, match="the state has the seed 7"):
        harness.read(path, 8)


def test_a_version_is_the_content_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = version(tmp_path)["source"]
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("compiled")
    assert version(tmp_path)["source"] == first
    (tmp_path / "a.py").write_text("2")
    assert version(tmp_path)["source"] != first


# Damaged files, read by a copy of this process


@linux
def test_a_reader_that_crashes_or_fails_is_counted_and_the_next_file_comes(tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.name == "published pools")
    apart, here = Counts(), Counts()
    mutations.run_apart(tmp_path / "apart", kind, range(20), apart, seed=3)
    mutations.run(tmp_path / "here", kind, range(20), here, seed=3)
    assert (apart.tried, apart.refused, apart.unsigned) == (here.tried, here.refused, here.unsigned)
    reads = 0

    def crash(path: Path) -> object:
        nonlocal reads
        reads += 1
        if reads == 3:  # the first reads the undamaged file
            faulthandler.disable()  # else it prints where all threads are
            os.abort()
        return kind.read(path)

    crashing = Counts()
    mutations.run_apart(tmp_path / "crash", dataclasses.replace(kind, read=crash), range(4), crashing, seed=3)
    assert (crashing.tried, crashing.tracebacks) == (4, 2)
    assert crashing.failures[0] == "number 1: the process ended with -6"


# Operations that are spoiled


def spoiled(work: Callable[[], object], injection: Injection) -> str:
    """How `work` ends in a copy of this process, in which an operation is spoiled."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        with os.fdopen(writing, "w") as answer:
            inject(injection)
            try:
                work()
                answer.write("done")
            except OSError as error:
                answer.write(errno.errorcode[error.errno or 0])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    _, status = os.waitpid(process, 0)
    return text or str(os.waitstatus_to_exitcode(status))


@linux
def test_every_operation_can_be_spoiled_and_a_write_is_torn(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "new").mkdir()
        with (tmp_path / "new" / "a").open("wb") as file:
            file.write(b"0123456789")
            file.flush()
            os.fsync(file.fileno())
        (tmp_path / "new" / "a").rename(tmp_path / "b")
        (tmp_path / "b").unlink()
        (tmp_path / "new").rmdir()

    def place() -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}

    def clean() -> None:
        for path in sorted(tmp_path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    left: dict[str, set[str]] = {}
    for operation in ("mkdir", "open", "write", "fsync", "rename", "unlink"):
        injection = Injection(str(tmp_path), "EIO", 1, operation, stays=operation == "write")
        assert spoiled(work, injection) == "EIO", operation
        left[operation] = place()
        if operation == "write":
            assert (tmp_path / "new" / "a").read_bytes() == b"01234"
        clean()
    assert left == {
        "mkdir": set(),
        "open": {"new"},
        "write": {"new", "new/a"},
        "fsync": {"new", "new/a"},
        "rename": {"new", "new/a"},
        "unlink": {"new", "b"},
    }
    for number, operation in enumerate(("mkdir", "open", "write", "fsync", "rename", "unlink"), start=1):
        assert spoiled(work, Injection(str(tmp_path), "SIGKILL", number)) == "-9"
        assert place() == left[operation]
        clean()
    assert spoiled(work, Injection(str(tmp_path), "EIO", 7)) == "done"
    assert spoiled(work, Injection(str(tmp_path / "elsewhere"), "EIO", 1)) == "done"


@linux
def test_a_full_disk_stays_full_but_lets_go_of_files(tmp_path: Path) -> None:
    (tmp_path / "old").touch()

    def work() -> None:
        for name in ("a", "b"):
            try:
                (tmp_path / name).write_text("x" * 100)
            except OSError:
                (tmp_path / f"{name}.failed").symlink_to("nowhere")
        (tmp_path / "old").unlink()

    assert spoiled(work, Injection(str(tmp_path), "ENOSPC", 2, stays=True)) == "done"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.failed", "b.failed"}
    assert spoiled(lambda: (tmp_path / "a").unlink(), Injection(str(tmp_path), "EROFS", 1, stays=True)) == "EROFS"


# Commands


def test_what_is_wrong_with_an_end_is_counted() -> None:
    def counted(ended: Ended, kind: str = "ENOSPC", **how: object) -> tuple[bool, kills.Counts]:
        counts = kills.Counts()
        command = Command(["pool"], ".", kind, **{"at": 3, **how})  # type: ignore[arg-type]
        return kills._count(command, ended, counts), counts

    line = "lottery-pools: cannot write a: No space left\n"
    assert counted(Ended(0, "", "")) == (False, kills.Counts(ended=1))
    assert counted(Ended(2, "", line)) == (True, kills.Counts(faults=1, by_kind={"ENOSPC": 1}))
    assert counted(Ended(2, "", line), stays=True)[1].by_kind == {"full disk": 1}
    assert counted(Ended(-9, "", ""), "SIGKILL")[1].tracebacks == 0
    for kind, ended in (
        ("ENOSPC", Ended(1, "", line)),
        ("ENOSPC", Ended(2, "", line + line)),
        ("ENOSPC", Ended(2, "", "")),
        ("ENOSPC", Ended(2, "", "Traceback (most recent call last):")),
        ("SIGTERM", Ended(-15, "", "")),
        ("SIGINT", Ended(143, "", line)),
    ):
        counts = counted(ended, kind)[1]
        assert counts.tracebacks == len(counts.failures) == 1
        assert "at operation 3" in counts.failures[0]


@pytest.fixture(scope="module")
def server() -> Iterator[kills.Server]:
    with kills.Server() as server:
        yield server


@linux
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "errno"])
def test_a_disturbed_run_is_finished_with_the_same_bytes(server: kills.Server, fault: str, tmp_path: Path) -> None:
    expected = kills.undisturbed(server, tmp_path / "undisturbed")
    counts = kills.Counts()
    for number in range(2):
        draw = random.Random(f"{fault} 11 {number}")
        kills.one_run(server, tmp_path / str(number), draw, fault, expected, counts)
    assert counts.failures == []
    assert (counts.bytes_differing, counts.leftovers, counts.tracebacks) == (0, 0, 0)
    assert counts.faults > 4


@linux
@pytest.mark.slow
def test_a_kill_at_each_removal_after_a_level_leaves_nothing(server: kills.Server, tmp_path: Path) -> None:
    """Copies of a level stayed where the process was killed between saving the level and removing them."""
    arguments = [*kills.SCRIPT[0]]
    arguments[arguments.index("--limit") + 1] = "50"
    codes = []
    for number in range(1, 40):  # every file that is written has a removal too, of what there is none
        ended = server.run(Command(arguments, str(tmp_path), "SIGKILL", at=number, operation="unlink"))
        codes.append(ended.code)
        if ended.code == 0:
            break
    assert codes.count(-9) > 2
    assert codes[-1] == 0
    assert kills.leftovers(tmp_path) == []


@linux
@pytest.mark.slow
def test_commands_with_workers_leave_no_process(tmp_path: Path) -> None:
    counts = processes.Counts()
    for number in range(4):
        processes.one(tmp_path, random.Random(f"processes 11 {number}"), counts)
    assert counts.failures == []
    assert counts.orphans == counts.tracebacks == counts.bytes_differing == 0


@linux
@pytest.mark.slow
def test_disks_that_are_full_or_read_only(tmp_path: Path) -> None:
    result = disks.tried(tmp_path, sizes=(40,))
    if not result["mounted"]:
        pytest.skip("no file system can be mounted here")
    assert result == {"mounted": True, "refused": 2, "tracebacks": 0, "differing": 0, "failures": []}


# Load


@pytest.mark.parametrize(("name", "size"), [("rows", 4000), ("runs", 12), ("tickets", 4)])
def test_load_is_held(name: str, size: int, tmp_path: Path) -> None:
    values = load.LOADS[name][0](tmp_path / "run", size)
    assert values[name] == pytest.approx(size, rel=0.2)
    if name == "tickets":
        assert values["pools"] == 2 * size


def test_the_harness_says_what_it_takes() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.faults", "--help"], capture_output=True, text=True, check=True)
    for option in ("--seed", "--mixed", "--state", "--files", "--kills", "--errors", "--loads", "--report"):
        assert option in done.stdout

"""Files on disk: complete or absent, and reasons in words."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lottery_pools.errors import UserError
from lottery_pools.runs.disk import cache_root, digest, failed_write, remove, write
from lottery_pools.runs.folder import RunFolder, lock


def test_write_takes_text_and_bytes(tmp_path: Path) -> None:
    for content in ("ä", "ä".encode()):
        path = tmp_path / "deep" / "er" / "file"
        write(path, content)
        assert path.read_bytes() == "ä".encode()
        assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        assert [path.parent for path in tmp_path.iterdir()]  # beside it: the same file system, so the rename is atomic
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "file", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "file", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_files_are_removed_or_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    remove(tmp_path / "a", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match=r"cannot write to .*: Read-only file system; choose another folder"):
        remove(tmp_path / "a")


def test_where_nothing_can_be_written_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/below: .*; choose another folder"):
        write(tmp_path / "file" / "below", "content")
    with pytest.raises(UserError, match=r"cannot write .*below/log\.jsonl: "):
        RunFolder(tmp_path / "file" / "below").event(stage="training")
    with (
        pytest.raises(UserError, match=r"cannot write to .*below: .*; choose another folder with --out"),
        lock(tmp_path / "file" / "below"),
    ):
        pass


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space, then run the same command again"),
        (errno.EDQUOT, "free some space, then run the same command again"),
        (errno.EACCES, "choose another folder"),
        (errno.EROFS, "choose another folder"),
        (errno.EIO, "remove the cause, then run the same command again"),
    ],
)
def test_the_advice_on_a_failed_write_fits_its_reason(number: int, advice: str) -> None:
    error = OSError(number, os.strerror(number))
    assert str(failed_write("rows", error)) == f"cannot write rows: {os.strerror(number)}; {advice}"


def test_digest_is_the_start_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"lottery" * 100_000)
    assert digest(tmp_path / "file") == hashlib.sha256(b"lottery" * 100_000).hexdigest()[:16]


@pytest.mark.skipif(os.name != "posix", reason="needs a password file")
def test_a_user_without_an_entry_in_the_password_file_and_without_a_home_trains(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pwd\ndef unknown(*asked):\n    raise KeyError(f'not found: {asked}')\n"
        "pwd.getpwuid = pwd.getpwnam = unknown\n"
    )
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")}
    paths = os.pathsep.join(filter(None, [str(tmp_path), kept.get("PYTHONPATH", "")]))
    train = ["tickets", "--preset", "demo", "--limit", "20", "--seeds", "0", "--pruning.levels", "0", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "lottery_pools", *train, "--out", str(tmp_path / "run")],
        env={**kept, "PYTHONPATH": paths},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/tickets/level_00.safetensors").exists()


def test_without_a_home_directory_the_cache_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.delenv("LOTTERY_POOLS_CACHE", raising=False)
    with pytest.raises(
        UserError, match=r"no home directory for the cache ~/\.cache/lottery-pools: set LOTTERY_POOLS_CACHE to a"
    ):
        cache_root()

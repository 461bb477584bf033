"""A run's folder: its layout, files that are complete or absent, one writer at a time, and its log."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run: one seed, its tickets, pools and rows."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def results(self) -> Path:
        return self.path / "results.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def rewind(self) -> Path:
        return self.path / "tickets" / "rewind.safetensors"

    def ticket(self, level: int) -> Path:
        return self.path / "tickets" / f"level_{level:02d}.safetensors"

    def pool(self, method: str, level: int) -> Path:
        return self.path / "pools" / method / f"level_{level:02d}.safetensors"

    def event(self, **values: Any) -> None:
        """Add a line to the log: what happened, and when (seconds since 1970)."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": round(time.time(), 3), **values}) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {self.log}: {error.strerror}; free some space, then run the same") from error


def run_folder(config: Config, out: Path, seed: int) -> RunFolder:
    """One seed's run folder: `out` itself, or below it where the experiment has several seeds."""
    return RunFolder(out if len(config.seeds) == 1 else out / f"seed_{seed}")


def cache_root() -> Path:
    """Where decoded and corrupted images are kept: `$LOTTERY_POOLS_CACHE`, by default `~/.cache/lottery-pools`."""
    return Path(os.environ.get("LOTTERY_POOLS_CACHE") or "~/.cache/lottery-pools").expanduser()


def write(path: Path, content: str | bytes) -> None:
    """Write a file so that under its final name it is complete: beside it first, to disk, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error


def digest(path: Path) -> str:
    """Sixteen hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder`, with all runs below it, for this process; raises UserError where another one holds any of it.

    The runs that it lies in (a seed's or a trained baseline's) are held from being held whole, not from work on
    their other parts. A kill releases all; files that the killed process had not finished are removed when the folder
    is next held.
    """
    with contextlib.ExitStack() as held:
        for above in folder.resolve().parents:
            if (above / "config.toml").exists() and (above / ".lock").exists():
                held.enter_context(_locked(above, fcntl.LOCK_SH))
        held.enter_context(_locked(folder, fcntl.LOCK_EX))
        for below in ("", "tickets/", "pools/**/", "trained_baselines/**/", "seed_*/**/"):
            for unfinished in folder.glob(f"{below}.*.tmp"):
                if re.fullmatch(r"\..+\.\d+\.tmp", unfinished.name):
                    unfinished.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out") from error
    with file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process works on {folder}: wait for it, or choose another folder") from None
        yield

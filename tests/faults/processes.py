"""Run the command line in a process of its own, with faults injected into its file operations."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INJECTION = '''
"""Imported by every Python process that has this folder on its path: counts file operations, and spoils one of them."""
import builtins, errno, io, os, signal

_left = int(os.environ["FAULT_AT"])
_kind = os.environ["FAULT_KIND"]
_root = os.environ["FAULT_ROOT"]

def _spoil(path):
    global _left
    try:
        name = os.path.abspath(os.fspath(path)) if not isinstance(path, int) else os.readlink(f"/proc/self/fd/{path}")
    except (TypeError, OSError):
        return
    if not name.startswith(_root):
        return
    _left -= 1
    if _left:
        return
    if _kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, _kind)
    raise OSError(number, os.strerror(number), str(path))

def _watch(module, name, place=0):
    plain = getattr(module, name)
    def watched(*args, **kwargs):
        if len(args) > place:
            _spoil(args[place])
        return plain(*args, **kwargs)
    setattr(module, name, watched)

for _name in ("fsync", "rename", "replace", "unlink", "mkdir", "truncate", "ftruncate"):
    _watch(os, _name)
_plain_open = io.open
def _open(file, mode="r", *args, **kwargs):
    if any(letter in mode for letter in "wax+"):
        _spoil(file)
    return _plain_open(file, mode, *args, **kwargs)
builtins.open = io.open = _open
'''
"""A sitecustomize module. Only operations below FAULT_ROOT count."""

RUN = (
    *("run", "--preset", "demo", "--seeds", "0", "--limit", "60", "--pruning.levels", "2", "--workers", "1"),
    *("--pooling.methods", "average", "trimmed-soup", "--evaluation.trained-baselines", "sparse-model-soups"),
)
"""A whole run in some seconds: tickets, a baseline that trains copies, pools, rows, report."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code; negative: the signal that ended it."""
    output: str
    errors: str

    @property
    def traceback(self) -> bool:
        """Whether it ended in a traceback: a bug of ours."""
        return "Traceback (most recent call last)" in self.errors


def command(arguments: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> Ended:
    """Run `lottery-pools` with these arguments in `folder`, on one thread, with a cache of its own."""
    plain = {**os.environ, "OMP_NUM_THREADS": "1", "LOTTERY_POOLS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "lottery_pools", *arguments],
        cwd=folder,
        env={**plain, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def spoiled(arguments: Sequence[str], folder: Path, kind: str, at: int) -> Ended:
    """The same, the `at`-th file operation below `folder` being spoiled: `kill`, or the name of an errno."""
    with tempfile.TemporaryDirectory() as injected:
        (Path(injected) / "sitecustomize.py").write_text(INJECTION, encoding="utf-8")
        search = os.pathsep.join([injected, *filter(None, [os.environ.get("PYTHONPATH")])])
        faults = {"FAULT_AT": str(at), "FAULT_KIND": kind, "FAULT_ROOT": str(folder.resolve())}
        return command(arguments, folder, {"PYTHONPATH": search, **faults})


def digests(run: Path) -> dict[str, str]:
    """What a run leaves that must not depend on faults: its tickets, pools, rows and report, by their path in it."""
    kept = [*run.rglob("*.safetensors"), *run.rglob("results.jsonl"), *run.rglob("report.*"), *run.rglob("config.toml")]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(kept)}


def leftovers(run: Path) -> list[str]:
    """Files that only an unfinished run has."""
    patterns = ("*.tmp", ".*.tmp", "*.partial.safetensors", "*.copy_*.safetensors")
    return sorted(str(path.relative_to(run)) for pattern in patterns for path in run.rglob(pattern))

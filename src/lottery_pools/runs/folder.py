"""The folder of a run: its layout, its log, its lock, and what in it is unfinished."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_pools.config.schema import Config
from lottery_pools.errors import Notice, UserError
from lottery_pools.runs import ranks
from lottery_pools.runs.disk import failed_write, is_temporary, no_link, remove

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""The error numbers of a file system without locks: Lustre mounted without flock, NFS without a lock daemon."""
_UNFINISHED_LEVEL = re.compile(r"(level_\d+)(\.copy_\d+)?(\.partial)?\.safetensors")
"""The names of tickets, of the copies that their levels train (`RunFolder.copy`), and of the checkpoints of both
(`checkpoint_of`)."""
_FOLDERS_OF_A_RUN = ("", "tickets/", "pools/**/", "trained_baselines/**/", "tuned/**/", "seed_*/**/")
"""The folders, as glob patterns below a run's folder, into which runs write."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, that is of one seed, and the paths of the files in it. The files need not exist yet.

    Args:
        path: The folder.

    Examples:
        >>> folder = RunFolder(Path("runs/demo"))
        >>> folder.results.as_posix()
        'runs/demo/results.jsonl'
        >>> folder.ticket(3).as_posix()
        'runs/demo/tickets/level_03.safetensors'
        >>> folder.pool("average", 3).as_posix()
        'runs/demo/pools/average/level_03.safetensors'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The settings of the run, all of them written out."""
        return self.path / "config.toml"

    @property
    def data(self) -> Path:
        """Where the data are, and what identifies them (`data.record`)."""
        return self.path / "data.json"

    @property
    def results(self) -> Path:
        """The measurements, one row a line (`runs.results`)."""
        return self.path / "results.jsonl"

    @property
    def log(self) -> Path:
        """What happened and when, one event a line (`event`)."""
        return self.path / "log.jsonl"

    @property
    def rewind(self) -> Path:
        """The weights at the rewind point, to which the surviving weights return after each pruning."""
        return self.path / "tickets" / "rewind.safetensors"

    def ticket(self, level: int) -> Path:
        """The ticket of a level; level 0 is the dense network."""
        return self.path / "tickets" / f"level_{level:02d}.safetensors"

    def copy(self, level: int, number: int) -> Path:
        """One of the networks whose mean becomes the ticket of a level; removed when that ticket is there."""
        return self.path / "tickets" / f"level_{level:02d}.copy_{number}.safetensors"

    def pool(self, method: str, level: int) -> Path:
        """The pooled network that a method made for the ticket of a level."""
        return self.path / "pools" / method / f"level_{level:02d}.safetensors"

    def tuned(self, name: str, level: int) -> Path:
        """A network of a level, fine-tuned on the held-out samples as a control of that name."""
        return self.path / "tuned" / name / f"level_{level:02d}.safetensors"

    def event(self, **values: Any) -> None:
        """Add a line to the log: `values` as JSON, and the time in seconds since 1970.

        Of several processes that share the work of a run (`ranks`), only the first does.

        Raises:
            UserError: The log cannot be written.
        """
        if not ranks.of_this_process().leads:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with open(self.log, "a+b", opener=no_link) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - 1, 0))
                begun = b"\n" if file.read(1) not in (b"", b"\n") else b""  # a line that a kill cut off is ended
                file.write(begun + json.dumps({"time": round(time.time(), 3), **values}).encode() + b"\n")
        except OSError as error:
            raise failed_write(self.log, error) from error


def checkpoint_of(path: Path) -> Path:
    """The checkpoint of the training whose result is saved as `path`; removed when that result is there.

    >>> checkpoint_of(Path("tickets/level_03.safetensors")).name
    'level_03.partial.safetensors'
    """
    return path.with_name(f"{path.stem}.partial.safetensors")


def run_folder(config: Config, out: Path, seed: int) -> RunFolder:
    """Return the folder of one seed's run: `out` itself, or a folder in it if the experiment has several seeds."""
    return RunFolder(out if len(config.seeds) == 1 else out / f"seed_{seed}")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes from working on `folder`, or on a run inside it, while the context is open.

    Runs contain runs: that of an experiment with several seeds contains one for each seed, and a run contains those of
    its trained baselines. Locking an inner run also keeps others from locking the run that it lies in, but not from
    locking other inner runs beside it. The operating system releases the locks when the process ends, even if it is
    killed. Temporary files that a killed process left behind are removed here. Of several processes that share the
    work of a run (`ranks`), the first locks the folder for all.

    Args:
        folder: The folder to lock; it is created if it does not exist.

    Raises:
        UserError: Another process works on the folder, on a run inside it or on one that it lies in; or the folder
            cannot be written.
    """
    if not ranks.of_this_process().leads:
        yield
        return
    with contextlib.ExitStack() as locks:
        for outer in folder.resolve().parents:
            if (outer / "config.toml").exists() and (outer / ".lock").exists():
                locks.enter_context(_locked(outer, alone=False))
        locks.enter_context(_locked(folder, alone=True))
        remove_unfinished(folder)
        yield


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left in a run's own folders, or in one that is published, and no other files.

    These are the temporary files of `disk.writing`, and the copies and checkpoints of levels whose ticket is there,
    which a process removes itself unless it is killed in between.
    """
    for below in _FOLDERS_OF_A_RUN:
        for file in folder.glob(f"{below}.*.tmp"):
            if is_temporary(file):
                remove(file)
        _remove_unfinished_levels(folder.glob(f"{below}level_*.*.safetensors"))


def remove_unfinished_level(ticket: Path) -> None:
    """Remove the copies and the checkpoints of a level whose ticket is in this file."""
    _remove_unfinished_levels(ticket.parent.glob(f"{ticket.stem}.*.safetensors"))


def _remove_unfinished_levels(files: Iterable[Path]) -> None:
    """Remove those of the files that are copies and checkpoints of levels whose ticket is there."""
    for file in files:
        level = _UNFINISHED_LEVEL.fullmatch(file.name)
        if level and file.with_name(f"{level[1]}.safetensors").exists():
            remove(file)


@contextlib.contextmanager
def _locked(folder: Path, alone: bool) -> Iterator[None]:
    """Hold the lock file of one folder, alone or together with others; where there are no locks, say so and go on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise failed_write(f"to {folder}", error, "choose another folder with --out") from error
    with file:
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, "this system has no file locks")
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process works on {folder}: wait for it, or choose another folder") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise failed_write(f"to {folder}", error, "choose another folder with --out") from error
            warnings.warn(
                f"{folder} is where files cannot be locked ({error.strerror}): start no second command on this folder",
                Notice,
                stacklevel=1,
            )
        yield

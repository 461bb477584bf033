"""Spoils one file operation of this process: the process is killed or stopped there, or the operation fails.

Opening for writing, every write, flushing, renaming, removing, making folders and truncating are operations. A write
that fails or is killed has written half of its bytes, as on a disk that is full.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPERATIONS = ("fsync", "rename", "replace", "unlink", "mkdir", "truncate", "ftruncate")
"""Functions of `os`; beside them there are `open` and `write`."""
FULL = ("open", "write", "mkdir", "fsync")
"""What fails on a full disk, `open` where it makes a file."""


@dataclass
class Injection:
    """What is spoiled, and what of it is still to come."""

    root: str
    """Operations below this folder are counted."""
    kind: str
    """A signal, or the name of an errno."""
    left: int
    """The operation to spoil; the first is 1."""
    operation: str = ""
    """Only operations of this name are counted; empty: all."""
    stays: bool = False
    """Whether all operations that follow fail too: with ENOSPC what needs space, else all."""
    spoiled: bool = False

    torn: set[int] = field(default_factory=set)
    """The open files of which half a write was done, so that the rest of it fails."""

    def spoil(self, operation: str, path: Any) -> None:
        """Be told of an operation on a path or an open file's number, and spoil it if it is the one."""
        if self.is_next(operation, path):
            self.strike(path)

    def is_next(self, operation: str, path: Any) -> bool:
        """Whether this is the operation that is to be spoiled; raises OSError where operations go on failing."""
        if not self._is_below(path):
            return False
        if self.spoiled:
            if self.stays and (self.kind != "ENOSPC" or operation in FULL):
                raise self._error(path)
            return False
        if self.operation in ("", operation):
            self.left -= 1
        self.spoiled = self.left <= 0 and self.operation in ("", operation)
        return self.spoiled

    def strike(self, path: Any) -> None:
        """Let happen what is to happen."""
        if self.kind.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.kind))
        else:
            raise self._error(path)

    def _error(self, path: Any) -> OSError:
        number = getattr(errno, self.kind)
        return OSError(number, os.strerror(number), str(path))

    def _is_below(self, path: Any) -> bool:
        try:
            name = (
                str(Path(f"/proc/self/fd/{path}").readlink()) if isinstance(path, int) else str(Path(path).absolute())
            )
        except (TypeError, OSError):
            return False
        return name.startswith(self.root)


def inject(injection: Injection) -> None:
    """Watch the file operations of this process from now on."""

    def watch(name: str) -> None:
        plain = getattr(os, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            if args:
                injection.spoil(name, args[0])
            return plain(*args, **kwargs)

        setattr(os, name, watched)

    for name in OPERATIONS:
        watch(name)
    builtins.open = io.open = _opening(injection)


def _opening(injection: Injection) -> Callable[..., Any]:
    """`open`, whose files for writing are watched."""
    plain_open = io.open

    class Watched(io.FileIO):
        def write(self, content: Any) -> int:
            if id(self) in injection.torn:
                injection.torn.remove(id(self))
                injection.strike(self.name)
            if not injection.is_next("write", self.name):
                return super().write(content)
            if injection.kind in ("SIGTERM", "SIGINT"):  # Python handles them between writes
                injection.strike(self.name)
            written = super().write(memoryview(content).cast("B")[: memoryview(content).nbytes // 2])
            if injection.kind == "SIGKILL":
                injection.strike(self.name)
            injection.torn.add(id(self))
            return written

    def watched_open(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
        closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if not any(letter in mode for letter in "wax+") or not injection._is_below(file):
            return plain_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        injection.spoil("open", file)
        raw = Watched(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffer: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline, buffering == 1)
        text.mode = mode  # type: ignore[misc]
        return text

    return watched_open

"""Files on disk: written so that they are complete or absent, removed, identified; and why one cannot be written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lottery_pools.errors import UserError
from lottery_pools.runs import ranks

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a full disk and of an exhausted quota."""
REFUSALS = (*NO_SPACE, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ESTALE)
"""The error numbers by which a system refuses what is right in itself: no error with one of them is a bug of ours."""
_UNSUITABLE_PATH = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
)
"""The error numbers of a path where nothing can be written: read-only, not permitted, not a folder, or too long."""
OTHER_CACHE = "set LOTTERY_POOLS_CACHE to another folder"
"""The advice if the cache is in a place that cannot be written (`failed_write`)."""
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
"""The names of the temporary files of `writing`."""


def no_link(path: str, flags: int) -> int:
    """Open a file as `open` does, but not through a symbolic link: in a stranger's folder it may lead anywhere.

    To be given to `open` as its `opener`, where a file is changed in place.
    """
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def cache_root() -> Path:
    """Return the folder for decoded and corrupted images: `$LOTTERY_POOLS_CACHE`, or `~/.cache/lottery-pools`.

    Raises:
        UserError: There is no home directory, as for a user id without an entry in the password file.
    """
    place = os.environ.get("LOTTERY_POOLS_CACHE") or "~/.cache/lottery-pools"
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise UserError(f"no home directory for the cache {place}: {OTHER_CACHE.replace('another', 'a')}") from error


def failed_write(target: Path | str, error: OSError, elsewhere: str = "choose another folder") -> UserError:
    """Return the error for a write that failed, with the advice that fits the reason.

    Args:
        target: What could not be written, as the message names it after "cannot write".
        error: The reason, as the operating system gives it.
        elsewhere: The advice for a path that cannot be written at all: read-only, not permitted, or not a folder.

    Examples:
        >>> full = OSError(errno.ENOSPC, "No space left on device")
        >>> raise failed_write("results.jsonl", full)
        Traceback (most recent call last):
        lottery_pools.errors.UserError: cannot write results.jsonl: No space left on device; free some space, ...
    """
    if error.errno in NO_SPACE:
        advice = "free some space, then run the same command again"
    elif error.errno in _UNSUITABLE_PATH:
        advice = elsewhere
    else:
        advice = "remove the cause, then run the same command again"
    return UserError(f"cannot write {target}: {error.strerror or error}; {advice}")


def write(path: Path, content: str | bytes, elsewhere: str = "choose another folder") -> None:
    """Write a file so that whenever it exists under its name, it is complete.

    The content goes to a temporary file in the same folder, is flushed to the disk, and the file is then renamed. The
    folders above are created. Of several processes that share the work of a run (`ranks`), only the first writes.

    Args:
        path: The file to write or replace.
        content: Text, stored as UTF-8, or bytes.
        elsewhere: The advice if this path cannot be written at all (`failed_write`).

    Raises:
        UserError: The file cannot be written. What was there before is still there.
    """
    if ranks.of_this_process().leads:
        with writing(path, elsewhere) as file:
            file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path, elsewhere: str = "choose another folder") -> Iterator[IO[bytes]]:
    """A file to be written piece by piece, which is there under its name, complete, when the context ends well.

    Args:
        path: The file to write or replace.
        elsewhere: The advice if this path cannot be written at all (`failed_write`).

    Yields:
        The temporary file, for reading and writing.

    Raises:
        UserError: The file cannot be written. What was there before is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb+") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise failed_write(path, error, elsewhere) from error


def is_temporary(path: Path) -> bool:
    """Whether a file has the name of one that `writing` has not finished."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove(*paths: Path) -> None:
    """Remove those of the files that are there.

    Raises:
        UserError: A file cannot be removed.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise failed_write(f"to {path.parent}", error) from error


def digest(path: Path) -> str:
    """Return the first sixteen hexadecimal digits of the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]

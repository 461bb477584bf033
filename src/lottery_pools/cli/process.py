"""A command as a process: its exit codes, and its streams, signals, notices and workers."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from lottery_pools.errors import Notice, UserError, plain
from lottery_pools.runs import ranks
from lottery_pools.runs.disk import NO_SPACE, REFUSALS


class Terminated(BaseException):
    """The process was asked to end (SIGTERM), as schedulers do when time is up."""


def run(command: Callable[[], None]) -> None:
    """Do what the process was started for; raises SystemExit with the exit code that `commands.USAGE` lists."""
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what an ASCII terminal cannot show is no reason to stop
    warnings.showwarning = _show_warning
    os.environ.pop("MPLBACKEND", None)  # of a notebook that started us, and perhaps missing here: figures are files
    os.environ["PYTHONSAFEPATH"] = "1"  # files in the current folder hide no modules from the workers
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command()
        sys.stdout.flush()
        ranks.leave()
    except UserError as error:
        sys.exit(_stop(str(error), 2))
    except KeyboardInterrupt:
        code = _stop("interrupted; run the same command again to go on", 130)
        exec("")  # Python forgets an interrupt within generated code, by which it would end instead of with our code
        sys.exit(code)
    except Terminated:
        sys.exit(_stop("terminated; run the same command again to go on", 143))
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        _discard_output()
        sys.exit(141)  # as the shell calls the end of a program by SIGPIPE
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        if error.filename is not None or error.errno not in NO_SPACE:
            place = f"{error.filename}: " if error.filename is not None else ""
            sys.exit(_stop(f"{place}{error.strerror}; remove the cause, then run the same command again", 2))
        _discard_output()
        sys.exit(_stop(f"cannot write the output: {error.strerror}; what the command made is kept", 2))


def _open_what_is_closed() -> None:
    """Let what was started with a closed standard input, output or error read nothing and write nowhere.

    Otherwise the next file that is opened would take the place of the output.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _stop(message: str, code: int) -> int:
    """Say in one line why the command stops, end its workers, and return the exit code."""
    for process in multiprocessing.active_children():
        process.terminate()
    print(f"lottery-pools: {plain(message)}", file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _discard_output() -> None:
    """Let nothing more go to standard output, where Python would fail once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a notice as one line; other warnings as Python does. The parameters are those of `warnings.showwarning`."""
    if not ranks.of_this_process().leads:
        return
    if issubclass(category, Notice):
        print(f"lottery-pools: note: {plain(str(message))}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)

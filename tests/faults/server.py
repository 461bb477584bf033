"""A process that runs commands in copies of itself, so that each starts within milliseconds.

It reads one JSON object a line from standard input, a `Command`, and answers with one, an `Ended`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from tests.faults.injection import Injection, inject


@dataclass(frozen=True)
class Command:
    """A command, and what happens to it."""

    arguments: list[str]
    folder: str
    """Where it is run."""
    kind: str = ""
    """A signal, or the name of an errno; empty: nothing happens."""
    at: int = 0
    """The file operation below `folder` that is spoiled; 0: a signal comes after `seconds`."""
    seconds: float = 0.0
    operation: str = ""
    """Only operations of this name are counted; empty: all."""
    stays: bool = False
    """Whether what follows fails too, as on a full or a read-only disk."""


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


def serve(commands: TextIO, answers: TextIO) -> None:
    """Run the commands that come in, each in a process of its own, one after the other."""
    import matplotlib.backends.backend_svg  # noqa: F401 – all that commands import late is imported once, here
    import torch

    from lottery_pools.experiment import diagnose, replay, report, stages  # noqa: F401

    torch.set_num_threads(1)
    for line in commands:
        ended = _run(Command(**json.loads(line)))
        answers.write(json.dumps(asdict(ended)) + "\n")
        answers.flush()


def _run(command: Command) -> Ended:
    with tempfile.TemporaryDirectory() as scratch:
        output, errors = Path(scratch) / "output", Path(scratch) / "errors"
        ready, say_ready = os.pipe()
        process = os.fork()
        if not process:
            _become(command, output, errors, say_ready)
        os.close(say_ready)
        os.read(ready, 1)  # a signal before the command has begun says nothing about it
        os.close(ready)
        if command.kind and not command.at:
            _interrupt(process, command)
        _, status = os.waitpid(process, 0)
        return Ended(os.waitstatus_to_exitcode(status), output.read_text(), errors.read_text())


def _interrupt(process: int, command: Command) -> None:
    """Send the signal in time, by a process of its own."""
    import time

    end = time.monotonic() + command.seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)
    os.kill(process, getattr(signal, command.kind))


def _become(command: Command, output: Path, errors: Path, say_ready: int) -> None:
    """In a copy of the server: be the command, and end. `say_ready` is told when signals are handled."""
    code = 1
    try:
        for stream, path in ((sys.stdout, output), (sys.stderr, errors)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.dup2(descriptor, stream.fileno())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(command.folder)
        os.environ["LOTTERY_POOLS_CACHE"] = str(Path(command.folder) / "cache")
        sys.argv = ["lottery-pools", *command.arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # of a harness in the background it would be ignored
        if command.kind and command.at:
            root = str(Path(command.folder).resolve())
            inject(Injection(root, command.kind, command.at, command.operation, command.stays))
        from lottery_pools.cli import commands

        dispatch = commands.dispatch
        commands.dispatch = lambda arguments: (os.write(say_ready, b"."), dispatch(arguments))[1]
        commands.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.stdin, os.fdopen(os.dup(1), "w"))

"""A command as a process: exit codes, signals, streams that are closed or full, notices."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from lottery_pools.cli import commands


def test_a_mistake_ends_the_process_with_code_2() -> None:
    done = subprocess.run([sys.executable, "-m", "lottery_pools", "rnu"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lottery-pools: unknown command 'rnu': did you mean 'run'?\n"


def test_a_bug_of_ours_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arguments: list[str]) -> None:
        raise RuntimeError("our bug")

    monkeypatch.setitem(commands.COMMANDS, "run", broken)
    monkeypatch.setattr(sys, "argv", ["lottery-pools", "run"])
    with pytest.raises(RuntimeError, match="our bug"):
        commands.main()


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interr")]
)
def test_a_signal_ends_a_run_in_one_line(tmp_path: Path, number: int, code: int, word: str) -> None:
    run = ["run", "--preset", "demo", "--quiet", "--seeds", "0", "1", "--workers", "2", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "lottery_pools", *run],
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background has them ignore interrupts
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    while not list(tmp_path.glob("run/seed_*/log.jsonl")):
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert errors.startswith(f"lottery-pools: {word}"), errors
    assert errors.count("\n") == 1, errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lottery_pools", "presets"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cannot write the output: No space left on device" in done.stderr


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `main` sets for its process stays out of this one."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for name in ("MPLBACKEND", "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")


@pytest.mark.usefixtures("within")
@pytest.mark.parametrize("name", ["EIO", "EROFS", "EACCES", "EDQUOT", "ENOSPC", "EMFILE"])
def test_a_file_that_the_system_refuses_is_one_line_whoever_asked_for_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, name)

    def refused(arguments: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(commands, "dispatch", refused)
    with pytest.raises(SystemExit) as stop:
        commands.main()
    assert stop.value.code == 2
    said = f"lottery-pools: some/file: {os.strerror(number)}; remove the cause, then run the same command again\n"
    assert capsys.readouterr().err == said


@pytest.mark.usefixtures("within")
def test_a_missing_file_that_nobody_expected_is_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(arguments: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "some/file")

    monkeypatch.setattr(commands, "dispatch", missing)
    with pytest.raises(FileNotFoundError):
        commands.main()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_input_and_output_are_no_error(closing: str, tmp_path: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m lottery_pools presets {closing}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    line = f"{shlex.quote(sys.executable)} -m lottery_pools rnu {closing}"
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=False).returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="needs SIGPIPE")
def test_a_reader_that_leaves_ends_the_command_as_it_ends_others() -> None:
    code = "import sys; from lottery_pools.cli import commands\n"
    code += "commands.dispatch = lambda words: print('line\\n' * 1_000_000)\ncommands.main()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_notice_is_one_line() -> None:
    code = "import warnings; from lottery_pools.cli import commands; from lottery_pools.errors import Notice;"
    code += "commands.dispatch = lambda words: warnings.warn('mind this', Notice); commands.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "lottery-pools: note: mind this\n")


def test_an_interrupt_within_generated_code_has_the_same_exit_code(tmp_path: Path) -> None:
    # As while a dataclass is being made: Python would then end by the signal itself, although it was dealt with.
    code = "from lottery_pools.cli import commands\n"
    code += "commands.dispatch = lambda words: exec('raise KeyboardInterrupt')\ncommands.main()\n"
    (tmp_path / "interrupted.py").write_text(code)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "lottery-pools: interrupted; run the same command again to go on\n"

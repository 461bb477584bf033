"""The compiler: found, asked, cached; its absence and its failures are told in one line."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from lottery_pools.deploy import compiler
from lottery_pools.errors import UserError

needed = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UserError, match=r"no C compiler \(cc, gcc, clang\): install one"):
        compiler.find()
    monkeypatch.setenv("CC", "mycc")
    with pytest.raises(UserError, match=r"no C compiler \(mycc\)"):
        compiler.find()


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'fatal error: no headers' >&2\necho more >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(UserError, match="fatal error: no headers") as error:
        compiler.find()
    assert "\n" not in str(error.value)


@needed
def test_a_library_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path))
    text = "PUBLIC int answer(void) { return 42; }\n"
    library = compiler.build(text)
    assert library.with_suffix(".c").read_text(encoding="utf-8") == text
    changed = library.stat().st_mtime_ns
    assert compiler.build(text) == library
    assert library.stat().st_mtime_ns == changed
    assert compiler.build(text, "plain") != library
    assert sorted(path.suffix for path in library.parent.iterdir()) == [".c", ".c", ".so", ".so"]


@needed
def test_a_damaged_library_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path))
    text = "PUBLIC int answer(void) { return 42; }\n"
    library = compiler.build(text)
    whole = library.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1] + bytes([whole[-1] ^ 1])):
        library.unlink()  # not written over: this process has it in memory
        library.write_bytes(damaged)
        rebuilt = compiler.build(text)
        assert ctypes.CDLL(str(rebuilt)).answer() == 42
        assert [path for path in rebuilt.parent.iterdir() if path.suffix == ".so"] == [rebuilt]


@needed
def test_a_source_that_does_not_compile_leaves_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="failed"):
        compiler.build("int broken(\n")
    assert not list(tmp_path.rglob("*.so"))


@needed
def test_a_target_that_the_processor_lacks_is_refused() -> None:
    installed = compiler.find()
    foreign = "neon" if installed.target != "neon" else "avx512"
    with pytest.raises(UserError, match=f"does not have '{foreign}'"):
        installed.flags(foreign)
    with pytest.raises(UserError, match="did you mean 'avx512'"):
        installed.flags("avx51")


@needed
def test_a_cache_that_cannot_be_written_is_replaced_for_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path / "file"))
    assert compiler.build("PUBLIC int one(void) { return 1; }\n").exists()

"""The system's C compiler: found at run time, asked what this machine can do, and run once for each source.

Libraries are kept under the cache folder. Their names say what they were made of (the source, the compiler, its flags
and this processor) and have a digest of what was made, so that a damaged one is made again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.disk import cache_root, digest, write

FLAGS = (
    "-std=gnu11",
    "-O2",
    "-fvect-cost-model=dynamic",  # plain loops become vectors too; all of -O3 takes twice as long to compile
    "-ffp-contract=fast",  # a multiplication and an addition may become one instruction
    "-fno-math-errno",
    "-Wno-psabi",  # vectors wider than the target's registers are passed between our own functions only
)
LIBRARY = (
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    '-DPUBLIC=__attribute__((visibility("default")))',
    "-DTHREADS",
    "-pthread",
)
TARGETS = {"avx512": (), "neon": (), "avx2": ("-mno-avx512f",), "plain": ("-DPLAIN",)}
"""Target → flags beside those of this machine."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler, and what it knows of this machine."""

    path: str
    version: str
    """The first line that it says of itself."""
    native: tuple[str, ...]
    """Flags for exactly this processor."""
    processor: str
    """A digest of what the processor can do, as the compiler sees it."""
    target: str
    """The target for this processor."""

    def flags(self, target: str) -> tuple[str, ...]:
        """The flags for a target on this machine; raises UserError where this processor does not have it."""
        if target not in TARGETS:
            raise unknown("target", target, TARGETS)
        if not self.has(target):
            possible = ", ".join(sorted(filter(self.has, TARGETS)))
            raise UserError(f"this processor does not have {target!r}: choose one of: {possible}")
        return (*FLAGS, *self.native, *TARGETS[target])

    def has(self, target: str) -> bool:
        """Whether this processor can run what is compiled for a target."""
        return target in (self.target, "plain") or (target, self.target) == ("avx2", "avx512")


def find() -> Compiler:
    """The compiler that `$CC` names, or `cc`, `gcc` or `clang`; raises UserError where there is none."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    for name in names:
        if path := shutil.which(name):
            return _ask(path)
    raise UserError(
        f"no C compiler ({', '.join(names)}): install one, as with `apt install gcc`, or set CC to its path"
    )


@functools.cache
def _ask(path: str) -> Compiler:
    """What a compiler says of itself and of this machine."""
    version = _run([path, "--version"]).splitlines()[0]
    macros = ""
    native: tuple[str, ...] = ()
    for flags in (("-march=native",), ("-mcpu=native",), native):
        try:
            macros = _run([path, *flags, "-dM", "-E", "-x", "c", os.devnull])
        except UserError:
            continue
        native = flags
        break
    names = {line.split()[1] for line in macros.splitlines() if line.startswith("#define")}
    abilities = hashlib.sha256("\n".join(sorted(macros.splitlines())).encode()).hexdigest()
    if "__AVX512F__" in names:
        target = "avx512"
    elif {"__AVX2__", "__FMA__"} <= names:
        target = "avx2"
    else:
        target = "neon" if "__ARM_NEON" in names else "plain"
    return Compiler(path, version, native, abilities[:16], target)


def _run(command: Sequence[str]) -> str:
    """What a command prints; raises UserError with its first complaint where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"cannot run {command[0]}: {error}; set CC to a C compiler that works") from error
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        reason = complaints[0] if complaints else f"exit code {done.returncode}"
        raise UserError(f"{command[0]} failed: {reason}; set CC to another C compiler")
    return done.stdout


def cache() -> Path:
    """The folder of sources and libraries; a temporary one where the cache cannot be written."""
    folder = cache_root() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _temporary()
    return folder if os.access(folder, os.W_OK) else _temporary()


@functools.cache
def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="lottery-pools-"))


def build(text: str, target: str | None = None) -> Path:
    """The shared library of a C source, compiled for this machine unless it is in the cache.

    `target` is the processor's own where not given. Raises UserError where there is no compiler or it fails.
    """
    compiler = find()
    flags = (*compiler.flags(target or compiler.target), *LIBRARY)
    content = "\n".join([compiler.version, compiler.processor, *flags, text])
    key = hashlib.sha256(content.encode()).hexdigest()[:24]
    for library in sorted(cache().glob(f"{key}-*.so")):
        if library.stem == f"{key}-{digest(library)}":
            return library
        library.unlink(missing_ok=True)  # damaged: the process that loads it would end
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        source, made = Path(folder) / "network.c", Path(folder) / "network.so"
        source.write_text(text, encoding="utf-8")
        _run([compiler.path, *flags, "-o", str(made), str(source), "-lm"])
        library = cache() / f"{key}-{digest(made)}.so"
        write(library.with_suffix(".c"), text)
        made.replace(library)
    return library

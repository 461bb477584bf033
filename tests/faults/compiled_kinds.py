"""The kinds of files in the cache of compiled networks: libraries, and which way was the faster one."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lottery_pools.deploy import choice, compiler
from tests.faults.changes import edit_json_file
from tests.faults.kind import Kind

SOURCE = "PUBLIC int answer(void) { return 42; }\n"


class CompiledAgainError(ValueError):
    """The library in the cache was not loaded: `build` would compile it again."""

    def __init__(self) -> None:
        super().__init__("compiled again")


def write_library(path: Path) -> None:
    """Compile a library into the cache, and copy it to `path`."""
    os.environ["LOTTERY_POOLS_CACHE"] = str(path.parent)
    library = compiler.build(SOURCE)
    path.write_bytes(library.read_bytes())
    path.with_suffix(".name").write_text(str(library))


def read_library(path: Path) -> Any:
    """What the library in the cache answers once `path` is in its place."""
    library = Path(path.with_suffix(".name").read_text())
    library.unlink(missing_ok=True)  # the one that is loaded stays in memory
    library.write_bytes(path.read_bytes())
    run = compiler._run
    compiler._run = _refuse
    try:
        return ctypes.CDLL(str(compiler.build(SOURCE))).answer()
    finally:
        compiler._run = run


def _refuse(command: Sequence[str]) -> str:
    raise CompiledAgainError


def write_times(path: Path) -> None:
    """Write how long a network took in three ways."""
    path.write_text(json.dumps(asdict(choice.Times(8, 0.001, 0.002, 0.003)), sort_keys=True))


COMPILED_KINDS = (
    Kind(
        "compiled library", write_library, read_library, True, "library.so", refusals=(CompiledAgainError,),
        names_file="no",
    ),
    Kind(
        "cache of times", write_times, choice._times, False, "a.json", (edit_json_file,),
        refusals=(ValueError,), names_file="no",
    ),
)  # fmt: skip
"""Kinds of files in the cache of compiled networks."""

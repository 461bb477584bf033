"""Which version of the code was tried: counts of several versions are added up only where that is asked for."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import lottery_pools

SOURCE = Path(lottery_pools.__file__).parent


def version(source: Path = SOURCE) -> dict[str, str]:
    """The digest of all files of the package, and the commit that is checked out, where git says one."""
    whole = hashlib.sha256()
    for path in sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        whole.update(
            f"{path.relative_to(source).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return {"source": whole.hexdigest()[:16], "commit": _commit(source)}


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def note(state: dict[str, Any], now: dict[str, str], is_mixed: bool) -> None:
    """Put the version into the state of the harness.

    Raises:
        SystemExit: The state was begun with another version, and `is_mixed` does not allow to go on.
    """
    versions = state.setdefault("versions", [])
    if versions and now["source"] != versions[-1]["source"] and not is_mixed:
        raise SystemExit(
            f"the state is of version {versions[-1]['source']}, the code is {now['source']}: begin another state, or "
            "say --mixed to add up counts of both"
        )
    if now["source"] not in [known["source"] for known in versions]:
        versions.append(now)

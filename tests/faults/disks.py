"""A disk that is really full, and one that is really read-only, where the system lets us mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.kills import SCRIPT, Server, kept, undisturbed
from tests.faults.server import Command


def mounted(folder: Path, options: str) -> bool:
    """Mount a file system in memory there; False where the system does not let us."""
    folder.mkdir(parents=True, exist_ok=True)
    return _done("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))


def tried(scratch: Path, sizes: Sequence[int] = (8, 40, 120, 300)) -> dict[str, Any]:
    """Run all commands on disks of so many kilobytes until one is refused, make room, and run them to the end.

    Then on a disk that is read-only. Returns what happened; `mounted` is false where nothing could be tried.
    """
    disk = scratch / "disk"
    result: dict[str, Any] = {"mounted": mounted(disk, "size=64k"), "refused": 0, "tracebacks": 0, "differing": 0}
    if not result["mounted"]:
        return result
    _done("umount", str(disk))
    result["failures"] = []
    with Server() as server:
        expected = undisturbed(server, scratch / "undisturbed")
        for size in sizes:
            if not mounted(disk, f"size={size}k"):
                continue
            _until_refused(server, disk, result)
            _done("mount", "-o", "remount,size=64m", str(disk))
            _to_the_end(server, disk, expected, result)
            _done("mount", "-o", "remount,ro", str(disk))
            _until_refused(server, disk, result)
            _done("umount", str(disk))
    return result


def _until_refused(server: Server, disk: Path, result: dict[str, Any]) -> None:
    for arguments in SCRIPT:
        ended = server.run(Command(list(arguments), str(disk)))
        if ended.code:
            result["refused"] += 1
            if ended.code != 2 or ended.traceback or len(ended.errors.strip().splitlines()) != 1:
                result["tracebacks"] += 1
                result["failures"].append(ended.errors[-1500:])
            return


def _to_the_end(server: Server, disk: Path, expected: dict[str, bytes], result: dict[str, Any]) -> None:
    for arguments in SCRIPT:
        ended = server.run(Command(list(arguments), str(disk)))
        if ended.code:
            result["tracebacks"] += 1
            result["failures"].append(ended.errors[-1500:])
    files = kept(disk)
    result["differing"] += sum(files.get(name) != expected.get(name) for name in {*files, *expected})


def _done(*arguments: str) -> bool:
    try:
        return subprocess.run(arguments, capture_output=True).returncode == 0
    except OSError:
        return False

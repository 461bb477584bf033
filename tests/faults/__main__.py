"""Run the harness for longer than the tests do, and write docs/reliability.md.

    python -m tests.faults --state faults.json            # goes on where it was stopped
    python -m tests.faults --state faults.json --report   # only writes the page

Every fault is decided by its number and the seed, so that it can be tried again by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.faults import kills, mutations, page
from tests.faults.kinds import KINDS
from tests.faults.mutations import Counts

STEP = 100
"""Damaged files between two savings of the state."""


def main() -> None:
    """Try what is left to be tried, and write the page after each kind of fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="File that keeps what was found.")
    parser.add_argument("--files", type=int, default=1500, help="Damaged files of each kind.")
    parser.add_argument("--kills", type=int, default=200, help="Commands that are killed.")
    parser.add_argument("--errors", type=int, default=100, help="Commands that are refused a file operation.")
    parser.add_argument("--out", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--report", action="store_true", help="Try nothing, write the page.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = read(options.state)
    if not options.report:
        damage(state, options)
        for fault, goal in (("kill", options.kills), ("errno", options.errors)):
            spoil(state, fault, goal, options)
    options.out.write_text(page.page(state), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


def read(path: Path) -> dict[str, Any]:
    """What was found so far."""
    if path.exists():
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return state
    return {"machine": f"{platform.system()}, Python {platform.python_version()}", "files": {}, "kill": {}, "errno": {}}


def keep(state: dict[str, Any], options: argparse.Namespace) -> None:
    """Write down what was found so far."""
    beside = options.state.with_suffix(".tmp")
    beside.write_text(json.dumps(state, indent=1), encoding="utf-8")
    beside.rename(options.state)


def damage(state: dict[str, Any], options: argparse.Namespace) -> None:
    """Damage files of every kind, as many as are left."""
    with tempfile.TemporaryDirectory() as scratch:
        for kind in KINDS:
            counts = Counts(**state["files"].get(kind.name, {}))
            while counts.tried < options.files:
                numbers = range(counts.tried, min(counts.tried + STEP, options.files))
                mutations.run(Path(scratch) / kind.name.replace(" ", "_"), kind, numbers, counts)
                state["files"][kind.name] = dataclasses.asdict(counts)
                keep(state, options)


def spoil(state: dict[str, Any], fault: str, goal: int, options: argparse.Namespace) -> None:
    """Kill commands, or refuse them a file operation, until so many have been."""
    with kills.Server() as server, tempfile.TemporaryDirectory() as scratch:
        expected = kills.undisturbed(server, Path(scratch) / "undisturbed")
        counts = kills.Counts(**state[fault])
        while counts.faults < goal:
            kills.one_run(server, Path(scratch) / f"{fault}_{counts.runs}", fault, expected, counts)
            state[fault] = dataclasses.asdict(counts)
            keep(state, options)


if __name__ == "__main__":
    main()

"""Run the harness for longer than the tests do, and write docs/reliability.md.

    python -m tests.faults --state faults.json            # goes on where it was stopped
    python -m tests.faults --state faults.json --report   # only writes the page

Every fault is decided by its number and the seed, which is drawn anew for every new state unless it is given, is
printed, and is kept in the state: so a fault can be tried again by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import random
import secrets
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.faults import disks, kills, load, mutations, page, processes
from tests.faults.kinds import KINDS
from tests.faults.mutations import Counts
from tests.faults.version import note, version

STEP = 300
"""Damaged files between two savings of the state."""
STATE = Path(__file__).parents[2] / "docs" / "results" / "reliability.json"
"""The state from which docs/reliability.md was made."""


def main() -> None:
    """Try what is left to be tried, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="File that keeps what was found.")
    parser.add_argument("--seed", type=int, help="Decides all faults of a new state; left out: drawn anew.")
    parser.add_argument("--mixed", action="store_true", help="Go on although the code is another than before.")
    parser.add_argument("--files", type=int, default=600, help="Damaged files of each kind.")
    parser.add_argument("--kills", type=int, default=200, help="Commands that are killed or stopped.")
    parser.add_argument("--errors", type=int, default=100, help="Commands that are refused a file operation.")
    parser.add_argument("--processes", type=int, default=20, help="Commands with workers, stopped or started twice.")
    parser.add_argument("--loads", nargs="*", choices=list(load.LOADS), default=list(load.LOADS), help="Loads to try.")
    parser.add_argument("--again", nargs="*", default=[], help="Kinds of files that were mended: tried anew.")
    parser.add_argument("--out", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--report", action="store_true", help="Try nothing, write the page.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = read(options.state, options.seed)
    if not options.report:
        for name in options.again:
            tried_by = state["versions"][-1]["source"]
            state.setdefault("mended", []).append({"name": name, "version": tried_by, **state["files"].pop(name)})
        note(state, version(), options.mixed)
        print(f"seed {state['seed']}, version {state['versions'][-1]}", flush=True)
        try_all(state, options)
        keep(state, options)
    options.out.write_text(page.page(state), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


def read(path: Path, seed: int | None) -> dict[str, Any]:
    """What was found so far; raises SystemExit where it was found with another seed."""
    if path.exists():
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if seed not in (None, state["seed"]):
            raise SystemExit(f"the state has the seed {state['seed']}: begin another state for another seed")
        return state
    machine = f"{platform.system()}, Python {platform.python_version()}, PyTorch {torch.__version__}"
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    return {"machine": machine, "seed": seed, "files": {}, "kill": {}, "errno": {}, "processes": {}, "load": {}}


def keep(state: dict[str, Any], options: argparse.Namespace) -> None:
    """Write down what was found so far."""
    beside = options.state.with_suffix(".tmp")
    beside.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    beside.rename(options.state)


def try_all(state: dict[str, Any], options: argparse.Namespace) -> None:
    """Everything, one kind of fault after the other."""
    damage(state, options)
    for fault, goal in (("kill", options.kills), ("errno", options.errors)):
        spoil(state, fault, goal, options)
    with tempfile.TemporaryDirectory() as scratch:
        counts = processes.Counts(**state["processes"])
        while counts.tried < options.processes:
            draw = random.Random(f"processes {state['seed']} {counts.tried}")
            processes.one(Path(scratch), draw, counts)
            state["processes"] = dataclasses.asdict(counts)
            keep(state, options)
        if "disks" not in state:
            state["disks"] = disks.tried(Path(scratch) / "disks")
            keep(state, options)
    for name in options.loads:
        if name not in state["load"]:
            with tempfile.TemporaryDirectory() as scratch:
                state["load"][name] = load.measured(name, Path(scratch) / "run")
            keep(state, options)


def damage(state: dict[str, Any], options: argparse.Namespace) -> None:
    """Damage files of every kind, as many as are left."""
    with tempfile.TemporaryDirectory() as scratch:
        for kind in KINDS:
            counts = Counts(**state["files"].get(kind.name, {}))
            folder = Path(scratch) / "".join(letter if letter.isalnum() else "_" for letter in kind.name)
            while counts.tried < options.files:
                numbers = range(counts.tried, min(counts.tried + STEP, options.files))
                mutations.run_apart(folder, kind, numbers, counts, state["seed"])
                state["files"][kind.name] = dataclasses.asdict(counts)
                keep(state, options)


def spoil(state: dict[str, Any], fault: str, goal: int, options: argparse.Namespace) -> None:
    """Kill commands, or refuse them a file operation, until so many have been."""
    counts = kills.Counts(**state[fault])
    if counts.faults >= goal:
        return
    with kills.Server() as server, tempfile.TemporaryDirectory() as scratch:
        expected = kills.undisturbed(server, Path(scratch) / "undisturbed")
        while counts.faults < goal:
            draw = random.Random(f"{fault} {state['seed']} {counts.runs}")
            kills.one_run(server, Path(scratch) / f"{fault}_{counts.runs}", draw, fault, expected, counts)
            state[fault] = dataclasses.asdict(counts)
            keep(state, options)


if __name__ == "__main__":
    main()

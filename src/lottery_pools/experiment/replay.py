"""Replay: the search for a pooled ticket is done again, and must give the same recipe, scores, costs and weights.

Nothing that the file of the pooled ticket claims is believed, but for its method, target, threads, device and budget,
which say what is to be done again.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lottery_pools.config import toml
from lottery_pools.config.trust import NOTHING, Trust
from lottery_pools.data import record
from lottery_pools.errors import UserError, shown
from lottery_pools.experiment import tasks, ticket_cache
from lottery_pools.experiment.run import Run
from lottery_pools.experiment.searches import Search
from lottery_pools.experiment.selection import calibration_batches, recalibration_images
from lottery_pools.pooling import recipe as recipes
from lottery_pools.pooling.methods import find
from lottery_pools.runs.disk import digest
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.worker import prepare
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket

_MOST_THREADS = 1024
"""More threads than any processor runs well: a file must not make this process start them."""


def replay(
    pooled: Path, out: Path | None = None, trust: Trust = NOTHING, search: bool = True, data: str | None = None
) -> str | None:
    """Make a pooled ticket again and compare it with its file, byte by byte.

    Args:
        pooled: the file of the pooled ticket, in the folder of its run.
        out: where to keep the file that is made; none: it is thrown away.
        trust: what the run's settings may run.
        search: whether the search for the recipe is done again, which forwards as many images as it did then;
            otherwise recipe, scores and costs are those that the file claims, and only the weights are computed.
        data: where the data are now, as the setting `data.name`; none: where they were.

    Returns what differs, in words; None where the bytes are the same.

    Raises UserError where the file is none of a run's pools, a parent ticket is missing or no longer the same, the data
    are missing or have changed, or this machine lacks the device.

    Example:
        ```python
        assert replay(Path("runs/demo/seed_0/pools/interpolation/level_03.safetensors")) is None
        ```
    """
    origin = files.read_metadata(pooled)["origin"]
    run = _run(pooled, origin, trust, data)
    parents = _parents(run, pooled, origin)
    stored = files.load(pooled)
    run.check_place(pooled, stored, _level_of(pooled), pooled.resolve().parent.name)
    again = _searched(run, stored) if search else _rebuilt(run, pooled, parents, origin)
    with tempfile.TemporaryDirectory() as scratch:
        path = out or Path(scratch) / pooled.name
        files.save(again, path)
        return None if path.read_bytes() == pooled.read_bytes() else _difference(stored, files.load(path))


def _run(pooled: Path, origin: Mapping[str, Any], trust: Trust, data: str | None) -> Run:
    """The run that a pooled ticket lies in, on the device that it was pooled on."""
    folder = _run_folder(pooled, origin)
    config = toml.read_toml(folder.config, trust)
    known = record.read(folder.data)
    if known is None:
        config = replace(config, data=replace(config.data, name=data or config.data.name))
    else:
        known = replace(known, place=record.located(known, config.data.name, data, folder.path))
    config = replace(config, pooling=replace(config.pooling, budget=origin.get("budget", config.pooling.budget)))
    seed = config.seeds[0]
    return Run(config.of_seed(seed), seed, folder, origin["device"], data=known)


def _difference(stored: Ticket, again: Ticket) -> str:
    """The first thing in which a pooled ticket differs from the one that was made again, in words."""
    origin = stored.origin
    may_differ = str(origin.get("device")).startswith("cuda") and not origin.get("deterministic")
    return _first_difference(stored, again) + ("; a GPU may do so without --deterministic" if may_differ else "")


def _first_difference(stored: Ticket, again: Ticket) -> str:
    for key in dict.fromkeys(("recipe", *again.origin, *stored.origin)):
        if stored.origin.get(key) != again.origin.get(key):
            return f"its {key} is {shown(stored.origin.get(key), 80)}, made again {shown(again.origin.get(key), 80)}"
    for name in stored.weights:
        if not torch.equal(stored.weights[name], again.weights[name]):
            return f"the weights of {shown(name)} are others"
    return (
        "what it holds is the same, written otherwise: by another version of the package, or with zeros of other sign"
    )


def _run_folder(pooled: Path, origin: Mapping[str, Any]) -> RunFolder:
    """The run that a pooled ticket lies in; raises UserError where it cannot be replayed from there."""
    if "recipe" not in origin:
        raise UserError(f"{pooled} is a trained ticket, it has no recipe: give a file from a run's pools folder")
    folder = RunFolder(pooled.resolve().parent.parent.parent)
    if "parents" not in origin or not folder.config.exists():
        raise UserError(
            f"{pooled} lies beside no run that has its parents: give RUN/pools/METHOD/level_NN.safetensors, "
            "or rebuild it in Python with lp.replay"
        )
    threads = origin.get("threads")
    if type(threads) is not int or not 1 <= threads <= _MOST_THREADS:
        raise UserError(f"{pooled} says it was pooled by {shown(threads)} threads: it is damaged, restore it")
    try:
        Machine(origin["device"]).torch_device()
    except UserError as error:
        raise UserError(
            f"{pooled} was pooled on {origin['device']}, which this machine lacks: replay it there"
        ) from error
    return folder


def _candidates(run: Run, origin: Mapping[str, Any]) -> RunFolder:
    """The run whose tickets were the candidates."""
    return RunFolder((run.folder.path / origin["candidates"]).resolve())


def _parents(run: Run, pooled: Path, origin: Mapping[str, Any]) -> list[Path]:
    """The files that a ticket was pooled from; raises UserError where one is missing or no longer the same."""
    candidates = _candidates(run, origin)
    paths = {level: candidates.ticket(level) for level in run.levels}
    paths[origin["target"]] = run.folder.ticket(origin["target"])
    for level, path in paths.items():
        if not path.exists() or digest(path) != origin["parents"].get(str(level)):
            raise UserError(f"{path} is not the ticket that {pooled} was pooled from: restore it, or pool again")
    return list(paths.values())


def _level_of(pooled: Path) -> int:
    """The level that a pool's file is called by; raises UserError where it is called otherwise."""
    name = re.fullmatch(r"level_(\d{1,9})", pooled.stem)
    if name is None:
        raise UserError(f"{pooled} is not called level_NN.safetensors: give it its name back")
    return int(name[1])


def _searched(run: Run, stored: Ticket) -> Ticket:
    """The pooled ticket as the search makes it today, with its recipe, scores, trials and costs."""
    prepare(stored.origin["threads"], bool(stored.origin.get("deterministic")))
    candidates = _candidates(run, stored.origin)
    same_folder = candidates.path.resolve() == run.folder.path.resolve()
    name = str(stored.origin["method"])
    search = Search(name, find(name), run.folder if same_folder else candidates, allow_other_run=not same_folder)
    return tasks.pooled(run, search, stored.level)


def _rebuilt(run: Run, pooled: Path, parents: list[Path], origin: Mapping[str, Any]) -> Ticket:
    """The pooled ticket, computed as it was, with as many threads, on the same device; its origin is believed."""
    prepare(origin["threads"], bool(origin.get("deterministic")))
    model = run.network()
    rewind_points = [run.folder.rewind] if run.folder.rewind.exists() else []
    # As in the search, in the memory of the device: the same kernels give the same bits.
    tickets = ticket_cache.of_this_process().load([*parents, *rewind_points], model)
    recalibrating = recalibration_images(run.config, run.dataset)
    ticket = recipes.replay(
        model,
        tickets[: len(parents)],
        recipes.Recipe.of(files.load(pooled, model)),
        run.recalibrate,
        base=tickets[-1].weights if rewind_points else None,
        samples=lambda: calibration_batches(run.config, run.dataset, run.seed, recalibrating),
        allow_other_run=_candidates(run, origin) != run.folder,
    )
    return replace(ticket, origin=origin)

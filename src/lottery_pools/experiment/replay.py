"""Replay: a pooled ticket is rebuilt from its recipe and the tickets of its run, to the same bytes."""

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
from lottery_pools.errors import UserError
from lottery_pools.experiment import tasks, ticket_cache
from lottery_pools.experiment.run import Run, Search
from lottery_pools.experiment.selection import calibration_batches, recalibration_images
from lottery_pools.pooling import pool as pooling
from lottery_pools.pooling.methods import find
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder, digest
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket


def replay(
    pooled: Path, out: Path | None = None, trust: Trust = NOTHING, search: bool = False, data: str | None = None
) -> bool:
    """Rebuild a pooled ticket from its recipe; True where the bytes are those of its file.

    Args:
        pooled: the file of the pooled ticket, in the folder of its run.
        out: where to keep the rebuilt file; none: it is thrown away.
        trust: what the run's settings may run.
        search: whether the search for the recipe is done again too, so that its scores, costs and candidates are
            compared as well; otherwise they are taken from the file, and only the weights are computed.
        data: where the data are now, as the setting `data.name`; none: where they were.

    Raises UserError where the file is none of a run's pools, a parent ticket is missing or no longer the same, the data
    are missing or have changed, or this machine lacks the device.

    Example:
        ```python
        replay(Path("runs/demo/seed_0/pools/interpolation/level_03.safetensors"))
        ```
    """
    origin = files.read_metadata(pooled)["origin"]
    folder = _run_folder(pooled, origin)
    config = toml.read_toml(folder.config, trust)
    known = record.read(folder.data)
    if known is None:
        config = replace(config, data=replace(config.data, name=data or config.data.name))
    else:
        known = replace(known, place=record.located(known, config.data.name, data, folder.path))
    seed = config.seeds[0]
    run = Run(config.of_seed(seed), seed, folder, origin["device"], data=known)
    parents = _parents(run, pooled, origin)
    stored = files.load(pooled)
    run.check_place(pooled, stored, _level_of(pooled), pooled.resolve().parent.name)
    if search:
        rebuilt = _searched(run, stored)
        origin = rebuilt.origin
    else:
        rebuilt = _rebuilt(run, pooled, parents, origin)
    with tempfile.TemporaryDirectory() as scratch:
        path = out or Path(scratch) / pooled.name
        files.save(replace(rebuilt, origin=origin), path)
        return path.read_bytes() == pooled.read_bytes()


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
    torch.set_num_threads(stored.origin["threads"])
    candidates = _candidates(run, stored.origin)
    same_folder = candidates.path.resolve() == run.folder.path.resolve()
    name = str(stored.origin["method"])
    search = Search(name, find(name), run.folder if same_folder else candidates, allow_other_run=not same_folder)
    return tasks.pooled(run, search, stored.level)


def _rebuilt(run: Run, pooled: Path, parents: list[Path], origin: Mapping[str, Any]) -> Ticket:
    """The pooled ticket, computed as it was: with as many threads, on the same device."""
    torch.set_num_threads(origin["threads"])
    model = run.network()
    rewind_points = [run.folder.rewind] if run.folder.rewind.exists() else []
    # As in the search, in the memory of the device: the same kernels give the same bits.
    tickets = ticket_cache.of_this_process().load([*parents, *rewind_points], model)
    recalibrating = recalibration_images(run.config, run.dataset)
    return pooling.replay(
        model,
        tickets[: len(parents)],
        pooling.Recipe.of(files.load(pooled, model)),
        run.recalibrate,
        base=tickets[-1].weights if rewind_points else None,
        samples=lambda: calibration_batches(run.config, run.dataset, run.seed, recalibrating),
        allow_other_run=_candidates(run, origin) != run.folder,
    )

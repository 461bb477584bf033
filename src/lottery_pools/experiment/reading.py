"""What the folders of runs hold, read and checked for a report: rows, how pools came about, speeds, diagnoses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError, plain
from lottery_pools.experiment import placement
from lottery_pools.runs import speeds, strict_json
from lottery_pools.runs.folder import RunFolder, run_folder
from lottery_pools.runs.rows import BASELINES, AnyRow, PoolRow
from lottery_pools.tickets import files


def rows_and_pools(
    config: Config, folder: Path, read: Callable[[Path], list[AnyRow]]
) -> tuple[list[AnyRow], list[PoolRow]]:
    """The rows of all runs of a folder, as `read` reads them from each run's file, and how the runs' pools came about.

    Raises UserError where there are no rows, a run has those of another seed, a pool is not what its place says, or a
    row was measured on another file than lies in its place.
    """
    runs = {seed: run_folder(config, folder, seed) for seed in config.seeds}
    rows = {}
    for seed, run in runs.items():
        rows[seed] = read(run.results)
        placement.check_rows(run.results, rows[seed], (seed,))
    if not any(rows.values()):
        raise UserError(f"{folder} has no results yet: run `lottery-pools evaluate {folder}` first")
    pools = [
        inert(_pool_row(path, config.of_seed(seed), seed))
        for seed, run in runs.items()
        for path in sorted((run.path / "pools").glob("*/level_*.safetensors"))
    ]
    for seed, run in runs.items():
        _check_files(run, rows[seed])
    return [inert_row(row) for of_run in rows.values() for row in of_run], pools


def _check_files(run: RunFolder, rows: Sequence[AnyRow]) -> None:
    """Raise UserError where a row was measured on another file than the one that lies in its place.

    Files are compared by the digest of their tensors, where both row and file carry one.
    """
    digests: dict[Path, str] = {}
    for row in rows:
        level = row.source if row.method == "admissible" else row.level
        path = run.ticket(level) if row.method in BASELINES else run.pool(row.method, row.level)
        if row.tensors and path not in digests:
            digests[path] = files.tensors_digest(path) if path.exists() else ""
        if row.tensors and digests[path] and digests[path] != row.tensors:
            raise UserError(
                f"{run.results} has a row of {row.method} at level {row.level} that was measured on another file than "
                f"{path}: restore that file, or delete {run.results.name} and evaluate again"
            )


def _pool_row(path: Path, config: Config, seed: int) -> PoolRow:
    """What a pooled ticket's file says of how it came about; raises UserError where it is not what its place says."""
    metadata = files.read_metadata(path)
    origin = metadata["origin"]
    if not origin.keys() >= {"recipe", "seed", "search_images"}:
        raise UserError(f"{path} is no pool of a run: remove it from there")
    level = path.stem.removeprefix("level_")
    if not level.isdecimal():
        raise UserError(f"{path} is not called level_NN.safetensors: give it its name back, or remove it")
    placement.check(placement.place(path, int(level), config, seed, path.parent.name), metadata["level"], origin)
    recipe = tuple((level, alpha) for level, alpha in origin["recipe"])
    density = metadata["kept"] / metadata["prunable"]
    return PoolRow(
        origin["seed"],
        path.parent.name,
        metadata["level"],
        density,
        recipe,
        origin["search_images"],
        origin.get("scored_by", "accuracy"),
    )


def speeds_of(config: Config, folder: Path) -> list[speeds.SpeedRow]:
    """How fast the networks are that were compiled, by seed, method and level."""
    if (folder / "results.jsonl.xz").exists():
        return speeds.read(folder / "speeds.jsonl")
    rows = []
    for seed in config.seeds:
        path = run_folder(config, folder, seed).path
        for ticket in sorted((*path.glob("tickets/level_*.safetensors"), *path.glob("pools/*/level_*.safetensors"))):
            if measured := speeds.of_ticket(ticket):
                header = files.read_metadata(ticket)
                density = header["kept"] / header["prunable"]
                method = "ticket" if ticket.parent.name == "tickets" else ticket.parent.name
                rows += [speeds.SpeedRow(seed, method, header["level"], density, speed) for speed in measured]
    return sorted(rows, key=lambda row: (row.seed, row.method != "ticket", row.method, row.level, row.speed.samples))


def read_json(path: Path) -> Any:
    """What a file of JSON holds."""
    try:
        return strict_json.parse(path.read_bytes(), finite=False)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): restore or delete it") from error


def inert(value: Any) -> Any:
    """A value of settings or of a diagnosis whose texts do nothing where they are shown (`errors.plain`)."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {inert(key): inert(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(inert, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: inert(getattr(value, field.name)) for field in fields(value)})
    return value


def inert_row(row: AnyRow) -> AnyRow:
    """The row with names that do nothing where they are shown."""
    names = {"run": row.run, "method": row.method, "split": row.split, "corruption": row.corruption}
    if all(name.isprintable() for name in names.values()):
        return row
    return replace(row, **{key: plain(name) for key, name in names.items()})  # type: ignore[arg-type]

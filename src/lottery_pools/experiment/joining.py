"""Runs of one experiment that were made apart, such as on several machines, put together from their rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Evaluation
from lottery_pools.data.record import GENERATED
from lottery_pools.errors import UserError
from lottery_pools.experiment import report, settings_files
from lottery_pools.experiment.report import Held
from lottery_pools.reporting.content import ReportContent
from lottery_pools.runs.rows import PoolRow, Row

Item = TypeVar("Item")
Parts = Mapping[Path, Held]
"""What each of some folders holds."""


def publish(folders: Sequence[Path], to: Path) -> ReportContent:
    """Publish several folders as one experiment; returns what its report shows.

    The folders may differ in their seeds, methods, trained baselines and corruptions, and in where their data are. What
    several of them have must be the same in all.

    Args:
        folders: Of runs, or published ones. The settings name the data as the first of them does.
        to: The folder that is written, as by `report.publish`.

    Raises UserError where a folder is named twice, other settings or the data differ, two folders have other results
    for the same network, and as `report.publish` does.

    Example:
        ```python
        joining.publish([Path("runs/first-seeds"), Path("runs/other-seeds")], Path("results"))
        ```
    """
    report.check_named_once(folders, "to put them together")
    if to.resolve() in {folder.resolve() for folder in folders}:
        raise UserError(f"{to} is one of the folders: publish into a folder of its own")
    content = joined({folder: report.held(folder) for folder in folders})
    report.write_published(content, to)
    return content


def joined(parts: Parts) -> ReportContent:
    """What several folders hold, as one experiment. Raises UserError as `publish`."""
    config = _settings({folder: part.config for folder, part in parts.items()})
    _check_data(config, parts)
    rows = _each_once({folder: part.rows for folder, part in parts.items()}, _network, _result)
    pools = _each_once({folder: part.pools for folder, part in parts.items()}, _pool, lambda pool: pool.steps)
    diagnoses = [diagnosis for part in parts.values() for diagnosis in part.diagnoses]
    speeds = dict.fromkeys(speed for part in parts.values() for speed in part.speeds)
    return report.content_of(
        Held(
            config,
            sorted(rows, key=lambda row: row.seed),
            sorted(pools, key=lambda pool: pool.seed),
            diagnoses if len(diagnoses) == len(config.seeds) else [],
            list(speeds),
        )
    )


def _settings(configs: Mapping[Path, Config]) -> Config:
    """The settings of all together: those of the first folder, and whatever adds up."""
    (first_folder, together), *others = configs.items()
    for folder, config in others:
        methods = dict.fromkeys((*together.pooling.methods, *config.pooling.methods))
        together = replace(
            together,
            seeds=tuple(sorted({*together.seeds, *config.seeds})),
            pooling=replace(together.pooling, methods=tuple(methods)),
            evaluation=_added_up(together.evaluation, config.evaluation),
        )
        if (difference := toml.difference(_alike(config, together), together)) != "none":
            raise UserError(
                f"{folder} and {first_folder} are not of one experiment: the first has {difference}: leave one out"
            )
    return together


def _added_up(first: Evaluation, second: Evaluation) -> Evaluation:
    """The settings of one with what the other adds: baselines and corruptions."""
    corrupting = [part for part in (first, second) if part.corruptions]
    samples = (corrupting or [first])[0]
    return replace(
        first,
        corrupted=samples.corrupted,
        corrupted_from=samples.corrupted_from,
        trained_baselines=tuple(dict.fromkeys((*first.trained_baselines, *second.trained_baselines))),
        corruptions=tuple(dict.fromkeys((*first.corruptions, *second.corruptions))),
        severities=tuple(sorted({severity for part in corrupting or [first] for severity in part.severities})),
    )


def _alike(config: Config, together: Config) -> Config:
    """Settings with all that may differ as those of all together have it."""
    evaluation = {name: getattr(together.evaluation, name) for name in settings_files.free(config.evaluation)}
    pooling = {name: getattr(together.pooling, name) for name in ("methods", "targets", "budget")}
    return replace(
        config,
        seeds=together.seeds,
        data=replace(config.data, name=together.data.name),
        pooling=replace(config.pooling, **pooling),
        evaluation=replace(config.evaluation, **evaluation),
    )


def _network(row: Row) -> tuple[int | str, ...]:
    """What a row measures, among rows of several seeds."""
    return row.seed, *row.key


def _result(row: Row) -> Hashable:
    """What a row says of the network: two measurements of the same one agree in this."""
    return row.n, row.correct, row.hits, row.train_images, row.data


def _pool(pool: PoolRow) -> tuple[int | str, ...]:
    """Which pool it is, among those of several seeds."""
    return pool.seed, pool.method, pool.level


def _each_once(
    items: Mapping[Path, Sequence[Item]],
    name: Callable[[Item], tuple[int | str, ...]],
    content: Callable[[Item], Hashable],
) -> list[Item]:
    """What the folders have, each once. Raises UserError where two have the same with another content."""
    known: dict[tuple[int | str, ...], tuple[Path, Item]] = {}
    for folder, of_folder in items.items():
        for item in of_folder:
            before, same = known.setdefault(name(item), (folder, item))
            if content(same) != content(item):
                network = " ".join(map(str, name(item)))
                raise UserError(
                    f"{before} and {folder} have other results for the same network (seed {network}): it was trained "
                    "or measured twice, leave one out"
                )
    return [item for _, item in known.values()]


def _check_data(config: Config, parts: Parts) -> None:
    """Raise UserError where two folders have other data, unless each seed makes or decodes its own."""
    if config.data.name == GENERATED or config.data.decodes_by_seed:
        return
    folders = {row.data: folder for folder, part in parts.items() for row in part.rows if row.data}
    if len(folders) > 1:
        raise UserError(f"{' and '.join(map(str, folders.values()))} were measured on other data: leave one out")

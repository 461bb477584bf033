"""Opening an experiment: its settings are resolved once, everything is checked, then its folder is held.

What a call asks for is joined with what the folder was given before. The result is one `Experiment`, a value that all
commands hand on, so that `run`, `tickets`, `pool`, `evaluate`, `diagnose` and `--dry-run` see the same settings.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lottery_pools.config.schema import Config, Data
from lottery_pools.data import record
from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.data.record import DataRecord
from lottery_pools.errors import Notice, UserError
from lottery_pools.experiment import baselines, checks
from lottery_pools.experiment.run import NetworkFacts, OtherRun, Run
from lottery_pools.experiment.searches import OTHER_RUN
from lottery_pools.experiment.selection import check_metric
from lottery_pools.experiment.settings_files import SettingsFile, held_settings, join
from lottery_pools.pooling.methods import defaults, is_retired
from lottery_pools.runs import ranks
from lottery_pools.runs.engine import Machine
from lottery_pools.runs.folder import RunFolder, lock, run_folder
from lottery_pools.tickets import files
from lottery_pools.tickets.checks import check_settings

THIS_MACHINE = Machine()
NOBODY = OtherRun()


@dataclass(frozen=True)
class Experiment:
    """An experiment as one command sees it, settled before any work begins."""

    out: Path
    """Its folder."""
    config: Config
    """What this call asks for, joined with what the folder was given before; targets and budget are of this call."""
    methods: tuple[str, ...]
    """The methods that this call asks for, by which the command `pool` pools; or the control `other-run` alone."""
    machine: Machine
    runs: tuple[Run, ...]
    """One a seed."""
    network: NetworkFacts
    trained_baselines: tuple[Run, ...]
    """The runs that train the baselines of all seeds."""
    settings: tuple[SettingsFile, ...]
    """The settings of the experiment's folder and of the runs' folders."""
    baseline_settings: tuple[SettingsFile, ...]
    """The settings of the folders of the trained baselines."""

    @property
    def all_methods(self) -> tuple[str, ...]:
        """The methods of this call and of earlier ones, by which `run` pools; without retired ones."""
        return _present(self.config.pooling.methods)


def resolve(config: Config, out: Path, machine: Machine = THIS_MACHINE, other_run: OtherRun = NOBODY) -> Experiment:
    """The experiment that settings describe, in the folder `out`; writes nothing.

    Args:
        config: what this call asks for. Where the folder holds an experiment, another `data.name` than its own says
            where its data are now.
        out: the folder, new or of an experiment with the same settings. Methods, trained baselines, corruptions and
            severities add up with those it was given before.
        machine: where the work is to be done.
        other_run: the run whose tickets are to be pooled as the control `other-run`.

    Raises UserError for mistakes in settings, data and model, where the folder holds an experiment with other
    settings or other data, and where the other run lacks tickets.

    Example:
        ```python
        experiment = resolve(toml.preset("demo"), Path("runs/demo"))
        [run.seed for run in experiment.runs]
        ```
    """
    device = machine.device_of_runs
    held, known = held_settings(out), _known_data(out)
    config = _with_methods(config, held)
    checks.check_methods(config, held)
    checks.check_evaluation(config, held)
    config, place = _located(config, held, known, out)
    of_experiment = join(config, out)
    joined = of_experiment.joined
    runs = _runs(joined, out, device, other_run, replace(known, place=place) if known else None)
    runs = _recorded(runs, place, joined.data)
    for note in runs[0].dataset.notes:
        warnings.warn(note, Notice, stacklevel=2)
    check_settings(runs[0].config, runs[0].dataset)
    check_metric(runs[0].config, runs[0].dataset)
    checks.check_controls(runs, other_run)
    trained_baselines = tuple(baseline for run in runs for baseline in baselines.runs_of(run))
    return Experiment(
        out=out,
        config=joined,
        methods=_present(config.pooling.methods) if other_run.candidates_from is None else (OTHER_RUN,),
        machine=machine,
        runs=runs,
        network=runs[0].network_facts(),
        trained_baselines=trained_baselines,
        settings=(of_experiment, *(join(run.config, run.folder.path) for run in runs if run.folder.path != out)),
        baseline_settings=tuple(join(run.config, run.folder.path) for run in trained_baselines),
    )


@contextmanager
def hold(experiment: Experiment) -> Iterator[None]:
    """Hold the experiment's folder for this process; its settings are written down first.

    Raises UserError where another process holds it, or has changed its settings since they were resolved.
    """
    ranks.of_this_process().wait()  # all have read the settings that are there
    with lock(experiment.out):
        for file in experiment.settings if ranks.of_this_process().leads else ():
            if held_settings(file.folder) != file.before:
                raise UserError(f"another process has just changed {file.folder / 'config.toml'}: run the same again")
        first = experiment.runs[0].data
        of_folders = {run.folder.path: run.data for run in experiment.runs}
        for file in experiment.settings:
            file.write()
            if (data := of_folders.get(file.folder, first)) is not None:
                record.save(data, RunFolder(file.folder).data)
        yield
        ranks.of_this_process().wait()


def _with_methods(config: Config, held: Config | None) -> Config:
    """The settings; where they name no methods, those that the folder has, or else the defaults of the task."""
    before = () if held is None else _present(held.pooling.methods)
    methods = config.pooling.methods or before or defaults(config.data.task, config.data.train_on_validation)
    return replace(config, pooling=replace(config.pooling, methods=methods))


def _known_data(out: Path) -> DataRecord | None:
    """What a folder remembers of its data, or else its first ticket; none where both are new or of earlier versions."""
    if (known := record.read(RunFolder(out).data)) is not None:
        return known
    folders = (RunFolder(out), *map(RunFolder, sorted(out.glob("seed_*"))))
    tickets = [folder.ticket(0) for folder in folders if folder.ticket(0).exists()]
    origin = files.read_metadata(tickets[0])["origin"] if tickets else {}
    is_known = "data_digest" in origin and origin["data"] != record.GENERATED
    if not is_known:
        return None
    values = origin.get("preprocessing")  # tickets of earlier versions have none
    classes = Preprocessing.from_json(values, str(tickets[0])).classes if values else ()
    return DataRecord(origin["data"], origin["data_digest"], classes=classes)


def _located(config: Config, held: Config | None, known: DataRecord | None, out: Path) -> tuple[Config, str]:
    """The settings, and where the data are. A folder keeps its `data.name`: another one says where its data are now."""
    if held is None or known is None:
        return config, config.data.name
    given = None if config.data.name == held.data.name else config.data.name
    place = record.located(known, held.data.name, given, out)
    return replace(config, data=replace(config.data, name=held.data.name)), place


def _runs(config: Config, out: Path, device: str, other_run: OtherRun, data: DataRecord | None) -> tuple[Run, ...]:
    """One run a seed; each has the next seed's as its sibling, the last the first's."""
    folders = [run_folder(config, out, seed) for seed in config.seeds]
    siblings = [*folders[1:], folders[0]] if len(folders) > 1 else [None]
    return tuple(
        Run(config.of_seed(seed), seed, folder, device, sibling, other_run, _data_of(folder, config, data))
        for seed, folder, sibling in zip(config.seeds, folders, siblings, strict=True)
    )


def _data_of(folder: RunFolder, config: Config, of_experiment: DataRecord | None) -> DataRecord | None:
    """What is known of the data of a run; none if it is new."""
    if of_experiment is None or not config.data.decodes_by_seed:
        return of_experiment
    of_run = record.read(folder.data)
    return None if of_run is None else replace(of_run, place=of_experiment.place)


def _recorded(runs: Sequence[Run], place: str, data: Data) -> tuple[Run, ...]:
    """The runs with what their folders are to remember of the data: the same for all that decode the same images."""
    first = DataRecord.of(runs[0].dataset, place)
    return tuple(
        replace(run, data=DataRecord.of(run.dataset, place) if data.decodes_by_seed else first) for run in runs
    )


def _present(names: Sequence[str]) -> tuple[str, ...]:
    """The methods among these names that still pool."""
    return tuple(name for name in names if not is_retired(name))

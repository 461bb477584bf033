"""What each command takes: one dataclass for each, whose fields are the arguments and options of the command.

The text under a field is the help of its option. What several commands take alike is in `marks.py`; the commands that
exchange networks with other software have their options in `exchange_options.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lottery_pools.cli.exchange_options import CompileOptions, ExportOptions, ImportOptions, PredictOptions
from lottery_pools.cli.marks import (
    FLAT,
    DryRun,
    FileArgument,
    Flag,
    FolderArgument,
    Json,
    MachineOptions,
    TrustModel,
)
from lottery_pools.config.fields import Rare
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError, plain, shown
from lottery_pools.runs.engine import Machine

if TYPE_CHECKING:
    from lottery_pools.experiment.execution import Watching


@dataclass(frozen=True)
class DataPlace:
    """Where the data of a run are now."""

    name: str | None = None
    """Where the data are now, if they have moved, as the setting of that name: they must be those that the run was
    started with; none: where they were."""

    def applied(self, config: Config) -> Config:
        """The settings of a run, with the data from there."""
        return dataclasses.replace(config, data=dataclasses.replace(config.data, name=self.name or config.data.name))


@dataclass(frozen=True)
class WatchingOptions:
    """Options of all commands that compute: how they tell what they do."""

    quiet: Flag = False
    """Show no progress: neither the live one of a terminal, nor the line a level where there is none."""
    observe: Rare[tuple[Literal["jsonl", "tensorboard"], ...]] = ()
    """Write what happens for other software, into the folder of each run: `jsonl`, history.jsonl as Weights & Biases
    has it; `tensorboard`, the folder tensorboard (extra `tensorboard`); none: nothing is."""

    def watching(self) -> Watching:
        """What these options ask for; raises `UserError` where the software is not installed."""
        from lottery_pools.experiment.execution import Watching
        from lottery_pools.reporting import event_files

        return Watching("nowhere" if self.quiet else "everywhere", event_files.observers(self.observe))


Progress = Annotated[WatchingOptions, FLAT]


@dataclass(frozen=True)
class RunOptions:
    """Options of `run` and `tickets`: where to start from, and every setting."""

    preset: str = "demo"
    """Settings to start from: a name that `lottery-pools presets` lists, or a TOML file."""
    out: Path | None = None
    """Folder of the run; none: runs/NAME."""
    limit: int | None = None
    """Try the code of any settings quickly: with so many images in each split and two epochs, but all levels, methods
    and corruptions; none: no limit."""
    dry_run: DryRun = False
    json: Json = False
    trust_model: TrustModel = False
    machine: MachineOptions = field(default_factory=Machine)
    progress: Progress = field(default_factory=WatchingOptions)
    config: Annotated[Config, FLAT] = field(default_factory=Config)

    @property
    def folder(self) -> Path:
        """Where the run goes; raises UserError where that follows from a name that is no name of one folder."""
        name = self.config.name
        is_one = name not in ("", ".", "..") and not set("/\\:") & set(name) and plain(name) == name
        if self.out is None and not is_one:
            raise UserError(f"name is {shown(name)}, which is no name of a folder: give another --name, or --out")
        return self.out or Path("runs") / name


@dataclass(frozen=True)
class SweepOptions:
    """Options of `sweep`."""

    presets: tuple[str, ...] = ("demo",)
    """Settings to start from: names that `lottery-pools presets` lists, or TOML files."""
    seeds: tuple[int, ...] = ()
    """Seeds of every variant; none: those of its preset."""
    set: tuple[str, ...] = ()
    """Settings of all variants, NAME=VALUE, or those in which they differ, NAME=VALUE,VALUE: every preset is run with
    every combination of them; none: the presets as they are."""
    out: Path = Path("runs/sweep")
    """Folder of the sweep."""
    limit: int | None = None
    """Try the code quickly, as `run --limit` does; none: no limit."""
    only: int | None = None
    """Do one run of the sweep, by its number in `--dry-run`, and make no report: for job arrays; none: all runs."""
    dry_run: Annotated[
        Flag, tyro.conf.arg(help="List the runs, their numbers, and how far each is, and do nothing.")
    ] = False
    trust_model: TrustModel = False
    json: Json = False
    machine: MachineOptions = field(default_factory=Machine)
    progress: Progress = field(default_factory=WatchingOptions)


@dataclass(frozen=True)
class PoolOptions:
    """Options of `pool`."""

    folder: FolderArgument
    methods: tuple[str, ...] = ()
    """Methods that pool the tickets; none: those of the run's settings."""
    targets: tuple[int, ...] = ()
    """Levels whose tickets are strengthened; none: those of the run's settings."""
    budget: int | None = None
    """Largest number of images that the search for one pooled ticket forwards; none: as the run's settings say."""
    candidates_from: Path | None = None
    """Folder of another run whose tickets are offered instead of the run's own (a control); none: the run's own."""
    allow_other_run: Flag = False
    """Pool the tickets of `--candidates-from` although they are of another run."""
    data: DataPlace = field(default_factory=DataPlace)
    dry_run: DryRun = False
    json: Json = False
    trust_model: TrustModel = False
    machine: MachineOptions = field(default_factory=Machine)
    progress: Progress = field(default_factory=WatchingOptions)

    def applied(self, config: Config) -> Config:
        """The settings of a run, with what these options say in place of theirs.

        Raises `UserError` where methods are named together with `--candidates-from`, which has one of its own.
        """
        if self.candidates_from is not None and self.methods:
            raise UserError("pool --candidates-from pools by interpolation alone: leave --methods away")
        pooling = dataclasses.replace(
            config.pooling,
            methods=self.methods or config.pooling.methods,
            targets=self.targets or config.pooling.targets,
            budget=config.pooling.budget if self.budget is None else self.budget,
        )
        return dataclasses.replace(self.data.applied(config), pooling=pooling)


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `evaluate`."""

    folder: FolderArgument
    corruptions: tuple[str, ...] = ()
    """Corruptions to measure on, besides those of the run's settings: names, `common`, or `all`; none: no others."""
    severities: tuple[int, ...] = ()
    """Severities from 1 to 5 at which every corruption is measured; none: those of the run's settings."""
    corrupted: int | None = None
    """Number of test samples that are corrupted; none: as the run's settings say."""
    corrupted_from: str | None = None
    """Folder of a published set (CIFAR-10-C, CIFAR-100-C, ImageNet-C) that is read instead of corrupting test samples;
    none: as the run's settings say."""
    data: DataPlace = field(default_factory=DataPlace)
    dry_run: DryRun = False
    json: Json = False
    trust_model: TrustModel = False
    machine: MachineOptions = field(default_factory=Machine)
    progress: Progress = field(default_factory=WatchingOptions)

    def applied(self, config: Config) -> Config:
        """The settings of a run, with what these options add to them.

        Raises `UserError` where an option is about corruptions and neither the options nor the settings name any.
        """
        corruptions = tuple(dict.fromkeys((*config.evaluation.corruptions, *self.corruptions)))
        for name in ("severities", "corrupted", "corrupted_from"):
            if getattr(self, name) and not corruptions:
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"evaluate {option} is of corruptions, none are named: add --corruptions")
        evaluation = dataclasses.replace(
            config.evaluation,
            corruptions=corruptions,
            severities=self.severities or config.evaluation.severities,
            corrupted=self.corrupted or config.evaluation.corrupted,
            corrupted_from=self.corrupted_from or config.evaluation.corrupted_from,
        )
        return dataclasses.replace(self.data.applied(config), evaluation=evaluation)


@dataclass(frozen=True)
class DiagnoseOptions:
    """Options of `diagnose`."""

    folder: FolderArgument
    points: int = 5
    """Number of places that are measured on the line between two tickets, both ends included."""
    data: DataPlace = field(default_factory=DataPlace)
    json: Json = False
    trust_model: TrustModel = False
    machine: MachineOptions = field(default_factory=Machine)
    progress: Progress = field(default_factory=WatchingOptions)


@dataclass(frozen=True)
class ReportOptions:
    """Options of `report`."""

    folder: FolderArgument
    others: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of further runs, to compare all of them on one page; with `--publish`, to put all of them together as one
    experiment whose seeds, methods or baselines were run apart; none: the report of one run."""
    reference: Path | None = None
    """Folder of another run whose dense network is the reference of a table of mean corruption errors (mCE); none: no
    such table."""
    publish: Path | None = None
    """Folder into which tables, settings, rows, recipes, speeds and the diagnosis, but no weights, are written to be
    shared; none: nothing is."""
    out: Path | None = None
    """File of the page; none: report.html in the run's folder, or comparison.html in the current one for several
    runs."""
    json: Json = False


@dataclass(frozen=True)
class ReplayOptions:
    """Options of `replay`."""

    file: FileArgument
    out: Path | None = None
    """File in which the rebuilt ticket is kept; none: it is not kept."""
    data: DataPlace = field(default_factory=DataPlace)
    search: bool = True
    """Search for the recipe again, and compare it with its scores, trials and costs; otherwise these are believed, and
    only the weights are computed."""
    json: Json = False
    trust_model: TrustModel = False


@dataclass(frozen=True)
class TicketFileOptions:
    """Options of `inspect`."""

    file: FileArgument
    json: Json = False


@dataclass(frozen=True)
class PresetsOptions:
    """Options of `presets`."""

    name: tyro.conf.Positional[str | None] = None
    """Preset whose settings are printed as TOML; none: all presets are listed."""
    models: Flag = False
    """List the networks of the package instead."""
    json: Json = False


@dataclass(frozen=True)
class CompletionOptions:
    """Options of `completion`."""

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell whose script is printed."""


OPTIONS: dict[str, type] = {
    "run": RunOptions,
    "sweep": SweepOptions,
    "tickets": RunOptions,
    "pool": PoolOptions,
    "evaluate": EvaluateOptions,
    "diagnose": DiagnoseOptions,
    "report": ReportOptions,
    "replay": ReplayOptions,
    "inspect": TicketFileOptions,
    "import": ImportOptions,
    "export": ExportOptions,
    "predict": PredictOptions,
    "compile": CompileOptions,
    "presets": PresetsOptions,
    "completion": CompletionOptions,
}
"""Command → what it takes."""

"""The command line: parse, call one public function, print."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import tyro

from lottery_pools import completion as shells
from lottery_pools import settings
from lottery_pools.config import VERSION, Config
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs.engine import Machine

if TYPE_CHECKING:
    from lottery_pools.plan import Plan

T = TypeVar("T")
Flat = tyro.conf.arg(name="")
FlagOn = tyro.conf.FlagCreatePairsOff[bool]

USAGE = """\
usage: lottery-pools COMMAND [OPTIONS]

Train lottery tickets, pool them into stronger sparse networks at no extra cost, and prove the gain.

{commands}

`lottery-pools COMMAND --help` lists a command's options. Exit codes: 0 done, 2 a mistake in what was given,
1 a bug of ours, 130 interrupted. Whatever was finished is kept: the same command goes on from there.
"""


def main() -> None:
    """The entry point: exit codes and one-line errors."""
    try:
        dispatch(sys.argv[1:])
    except UserError as error:
        print(f"lottery-pools: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            process.terminate()
        print("lottery-pools: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def dispatch(arguments: Sequence[str]) -> None:
    """Run the command that `arguments` name."""
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {n:<{width}}  {c.__doc__}" for n, c in COMMANDS.items())), end="")
        return
    if arguments[0] in ("-V", "--version"):
        print(f"lottery-pools {VERSION}")
        return
    if arguments[0].startswith("-"):
        raise UserError(f"{arguments[0]} comes after a command: did you mean `lottery-pools run {arguments[0]} …`?")
    if arguments[0] not in COMMANDS:
        raise unknown("command", arguments[0], COMMANDS)
    COMMANDS[arguments[0]](list(arguments[1:]))


@dataclass(frozen=True)
class _Start:
    preset: str = "demo"
    """Settings to start from: a name that `lottery-pools presets` lists, or a TOML file."""
    out: Path | None = None
    """The run's folder; none: runs/NAME."""
    limit: int | None = None
    """Try the code of any settings quickly: so many images a split, two epochs; all levels, methods, corruptions."""
    dry_run: FlagOn = False
    """Print what would be done and about what it would cost, and do nothing."""
    json: FlagOn = False
    """Print one JSON object for machines."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)
    config: Annotated[Config, Flat] = field(default_factory=Config)


@dataclass(frozen=True)
class _Folder:
    folder: tyro.conf.Positional[Path]
    """A run's folder, as `--out` named it."""
    json: FlagOn = False
    """Print one JSON object for machines."""


@dataclass(frozen=True)
class _Report(_Folder):
    reference: Path | None = None
    """Another run's folder: its dense network is the reference of a table of mCE, mean corruption errors."""
    publish: Path | None = None
    """Write tables, settings, rows, recipes and the diagnosis, but no weights, into this folder, to be shared."""
    others: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Further runs' folders: compare all of them on one page instead."""
    out: Path | None = None
    """Where the page that compares several runs goes; none: comparison.html in the current folder."""


@dataclass(frozen=True)
class _Evaluate(_Folder):
    corruptions: tuple[str, ...] = ()
    """Corruptions to measure on besides those of the run's settings: names, `common`, or `all`."""
    severities: tuple[int, ...] = ()
    """Severities from 1 to 5; none named: those of the run's settings."""
    corrupted: int | None = None
    """Test samples that are corrupted; none: as the run's settings say."""
    corrupted_from: str | None = None
    """Folder of a published set (CIFAR-10-C, CIFAR-100-C, ImageNet-C) to read instead."""
    dry_run: FlagOn = False
    """Print what would be done and about what it would cost, and do nothing."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)


@dataclass(frozen=True)
class _Diagnose(_Folder):
    points: int = 5
    """Places on the line between two tickets that are measured, both ends included."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)


@dataclass(frozen=True)
class _Pool(_Folder):
    methods: tuple[str, ...] = ()
    """Methods of pooling; none named: those of the run's settings."""
    targets: tuple[int, ...] = ()
    """Levels to strengthen; none named: those of the run's settings."""
    budget: int | None = None
    """Images that the search for one pooled ticket forwards at most; none: as the run's settings say."""
    candidates_from: Path | None = None
    """Another run's folder: pool with its tickets instead, as a control."""
    allow_other_run: FlagOn = False
    """Do so although they are of another run."""
    dry_run: FlagOn = False
    """Print what would be done and about what it would cost, and do nothing."""
    machine: Annotated[Machine, Flat] = field(default_factory=Machine)


@dataclass(frozen=True)
class _File:
    file: tyro.conf.Positional[Path]
    """A ticket file."""
    json: FlagOn = False
    """Print one JSON object for machines."""


@dataclass(frozen=True)
class _Replay(_File):
    out: Path | None = None
    """Keep the rebuilt ticket here."""


@dataclass(frozen=True)
class _Presets:
    name: tyro.conf.Positional[str | None] = None
    """Print this preset's settings as TOML; none: list all presets."""
    models: FlagOn = False
    """List the networks of the package."""
    json: FlagOn = False
    """Print one JSON object for machines."""


@dataclass(frozen=True)
class _Completion:
    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell that is to complete."""


def run(arguments: list[str]) -> None:
    """train, pool, evaluate and report: the whole story"""
    start = _start(arguments, "run")
    from lottery_pools import experiment

    out = start.out or Path("runs") / start.config.name
    if start.dry_run:
        _preview(experiment.preview(start.config, out, start.machine), start.json)
        return
    page = experiment.run(start.config, out, start.machine)
    _show(out, page, start.json)


def tickets(arguments: list[str]) -> None:
    """train the tickets of a run, level by level"""
    start = _start(arguments, "tickets")
    from lottery_pools import experiment

    out = start.out or Path("runs") / start.config.name
    if start.dry_run:
        _preview(experiment.preview(start.config, out, start.machine, ("tickets",)), start.json)
        return
    experiment.tickets(start.config, out, start.machine)
    paths = sorted(map(str, out.rglob("tickets/level_*.safetensors")))
    print(json.dumps({"tickets": paths}) if start.json else "\n".join(paths))


def pool(arguments: list[str]) -> None:
    """pool a run's tickets into stronger ones"""
    options = _parse(_Pool, arguments, "pool", pool)
    config = _of_folder(options.folder)
    wanted = dataclasses.replace(
        config.pooling,
        methods=options.methods or config.pooling.methods,
        targets=options.targets or config.pooling.targets,
        budget=config.pooling.budget if options.budget is None else options.budget,
    )
    from lottery_pools import experiment

    settled = dataclasses.replace(config, pooling=wanted)
    if options.dry_run:
        others = options.candidates_from, options.allow_other_run
        _preview(experiment.preview(settled, options.folder, options.machine, ("pool",), *others), options.json)
        return
    experiment.pool(settled, options.folder, options.machine, options.candidates_from, options.allow_other_run)
    paths = sorted(map(str, options.folder.rglob("pools/*/level_*.safetensors")))
    print(json.dumps({"pools": paths}) if options.json else "\n".join(paths))


def evaluate(arguments: list[str]) -> None:
    """measure a run's tickets and pools on validation and test"""
    options = _parse(_Evaluate, arguments, "evaluate", evaluate)
    config = _of_folder(options.folder)
    wanted = dataclasses.replace(
        config.evaluation,
        corruptions=tuple(dict.fromkeys((*config.evaluation.corruptions, *options.corruptions))),
        severities=options.severities or config.evaluation.severities,
        corrupted=options.corrupted or config.evaluation.corrupted,
        corrupted_from=options.corrupted_from or config.evaluation.corrupted_from,
    )
    from lottery_pools import experiment

    settled = dataclasses.replace(config, evaluation=wanted)
    if options.dry_run:
        _preview(experiment.preview(settled, options.folder, options.machine, ("evaluate",)), options.json)
        return
    experiment.evaluate(settled, options.folder, options.machine)
    paths = sorted(map(str, options.folder.rglob("results.jsonl")))
    print(json.dumps({"results": paths}) if options.json else "\n".join(paths))


def diagnose(arguments: list[str]) -> None:
    """say why the gains came about: paths, barriers, overlap, attribution"""
    options = _parse(_Diagnose, arguments, "diagnose", diagnose)
    config = _of_folder(options.folder)
    from lottery_pools import experiment
    from lottery_pools.reporting import diagnosis, terminal

    found = experiment.diagnose(config, options.folder, options.machine, options.points)
    if options.json:
        print(json.dumps(found))
        return
    for make in (
        diagnosis.barriers,
        diagnosis.overlap,
        diagnosis.attribution,
        diagnosis.ensemble,
        diagnosis.classes,
    ):
        table = make(found)
        terminal.table(table.title, table.columns, table.rows)


def report(arguments: list[str]) -> None:
    """write a run's report from its result rows"""
    options = _parse(_Report, arguments, "report", report)
    from lottery_pools import reports

    if options.others:
        _compare(options)
        return
    if options.out is not None:
        raise UserError("report --out is for comparing several runs: name their folders, or leave --out away")
    page = reports.make(options.folder, options.reference)
    if options.publish is not None:
        reports.publish(options.folder, options.publish)
    _show(options.folder, page, options.json)


def _compare(options: _Report) -> None:
    """Several runs on one page, their tables in the terminal."""
    from lottery_pools import reports
    from lottery_pools.reporting import comparison, terminal

    for name in ("reference", "publish"):
        if getattr(options, name) is not None:
            raise UserError(f"report --{name} is for one run: name one folder, or leave --{name} away")
    out = options.out or Path("comparison.html")
    page, compared = reports.compare((options.folder, *options.others), out)
    if options.json:
        print(json.dumps({"report": str(page), "runs": [comparison.plain(*item) for item in compared.items()]}))
        return
    for table in comparison.tables(compared):
        terminal.table(table.title, table.columns, table.rows)
    print(f"Comparison: {page}")


def replay(arguments: list[str]) -> None:
    """rebuild a pooled ticket from its recipe and compare the bytes"""
    options = _parse(_Replay, arguments, "replay", replay)
    from lottery_pools import experiment

    same = experiment.replay(options.file, options.out)
    if not same:
        raise UserError(
            f"{options.file} replayed to other bytes: it was made on another machine or version, or damaged"
        )
    print(json.dumps({"file": str(options.file), "same": same}) if options.json else f"{options.file}: same bytes")


def inspect(arguments: list[str]) -> None:
    """show what a ticket file holds: density by layer, lineage, recipe"""
    options = _parse(_File, arguments, "inspect", inspect)
    if options.file.is_dir():
        some = next(iter(sorted(options.file.rglob("level_*.safetensors"))), "runs/demo/tickets/level_00.safetensors")
        raise UserError(f"{options.file} is a folder: give one ticket file, such as {some}")
    from lottery_pools.reporting import terminal
    from lottery_pools.tickets import files, masks

    metadata = files.read_metadata(options.file)
    ticket = files.load(options.file)
    layers = {name: masks.count({name: mask}) for name, mask in ticket.mask.items()}
    if options.json:
        print(json.dumps({**metadata, "density": ticket.density, "layers": layers}))
        return
    pooled, rewind = ticket.origin.get("method"), ticket.origin.get("step")
    made = "trained" if rewind is None else f"the rewind point, before step {rewind}"
    made = f"pooled by {pooled}" if pooled else made
    counts = f"{ticket.kept:,} of {ticket.prunable:,} prunable weights ({ticket.density:.1%})"
    print(f"{options.file}: level {ticket.level}, {made}, {counts}")
    rows = []
    for name, (kept, prunable) in layers.items():
        rows.append((name, f"{kept:,}", f"{prunable:,}", f"{kept / prunable:.1%}", terminal.bar(kept / prunable)))
    terminal.table("Density by layer", ("tensor", "kept", "prunable", "density", ""), rows)
    for name, value in terminal.lineage(ticket.origin):
        print(f"{name and name + ':':<15} {value}")


def presets(arguments: list[str]) -> None:
    """list the settings that come with the package, or print one"""
    options = _parse(_Presets, arguments, "presets", presets)
    if options.models:
        from lottery_pools.models import registry

        names = list(registry.names())
        print(json.dumps(names) if options.json else "\n".join(names))
    elif options.name is not None:
        config = settings.preset(options.name)
        print(json.dumps(settings.to_dict(config)) if options.json else settings.to_toml(config), end="")
    else:
        about = {name: path.read_text(encoding="utf-8").split("\n", 1)[0] for name, path in settings.presets().items()}
        lines = [f"{name:<22} {text.removeprefix('# ')}" for name, text in about.items()]
        print(json.dumps(list(about)) if options.json else "\n".join(lines))


def completion(arguments: list[str]) -> None:
    """print the script with which bash, zsh or fish completes the command line"""
    print(shells.SHELLS[_parse(_Completion, arguments, "completion", completion).shell](shells.known(OPTIONS)), end="")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    command.__name__: command
    for command in (run, tickets, pool, evaluate, diagnose, report, replay, inspect, presets, completion)
}
OPTIONS: dict[str, type] = {
    "run": _Start,
    "tickets": _Start,
    "pool": _Pool,
    "evaluate": _Evaluate,
    "diagnose": _Diagnose,
    "report": _Report,
    "replay": _Replay,
    "inspect": _File,
    "presets": _Presets,
    "completion": _Completion,
}


def _start(arguments: list[str], command: str) -> _Start:
    """The options of a command that starts a run: those of the preset, but for what is given."""
    if arguments and not arguments[0].startswith("-"):
        raise UserError(
            f"{command} takes only options: did you mean `lottery-pools {command} --preset {arguments[0]}`?"
        )
    words = [word for argument in arguments for word in argument.split("=", 1)]
    name = words[words.index("--preset") + 1] if "--preset" in words[:-1] else _Start.preset
    config = settings.preset(name)
    model = words[words.index("--model.name") + 1] if "--model.name" in words[:-1] else config.model.name
    if model != config.model.name:  # the preset's arguments are those of its own network
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, name=model, arguments={}))
    default = _Start(preset=name, config=config)
    start = _parse(_Start, arguments, command, COMMANDS[command], default)
    if start.limit is None:
        return start
    return dataclasses.replace(start, config=settings.limited(start.config, start.limit))


def _parse(kind: type[T], arguments: list[str], command: str, function: Any, default: Any = tyro.MISSING_NONPROP) -> T:
    """The options of a command; a mistake becomes one line."""
    given = [argument.split("=")[0] for argument in arguments if argument.startswith("--")]
    for option in given:
        if given.count(option) > 1:
            raise UserError(f"{option} is given twice: give it once, with all its values")
    output = io.StringIO()
    prog = f"lottery-pools {command}"
    try:
        with contextlib.redirect_stderr(output):
            options: T = tyro.cli(kind, args=arguments, prog=prog, description=f"{function.__doc__}.", default=default)
            return options
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [re.sub("[╭╮╰╯│─]|--+(?= |$)", " ", line).strip() for line in output.getvalue().splitlines()]
        body = "\n".join(lines[1:]).strip().split("\n")  # without the title, and the line that plain boxes have below
        raise _mistake(body, kind, command) from None


def _mistake(body: list[str], kind: type, command: str) -> UserError:
    """What the parser says of a mistake in a command's options, in our words and with what mends it."""
    message = " ".join(body[: body.index("")]) if "" in body else " ".join(body)
    message = re.sub(r"^Error parsing config\.\S+: ", "", message)
    see = f"(see `lottery-pools {command} --help`)"
    if message.startswith("Missing from"):
        what, example = next(value for of, value in _NEEDS.items() if issubclass(kind, of))
        return UserError(f"{command} needs {what}: `lottery-pools {command} {example}` {see}")
    if found := re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", message):
        return unknown(f"value of {found[2]}", found[1], re.findall("'(.*?)'", found[3]))
    if (found := re.match(r"Error parsing (--\S+): .*?'(.*)'", message)) and found[1] in (
        known := dict(shells.walk(kind))
    ):
        return UserError(f"{found[1]} is {found[2]!r}: give {_kind(known[found[1]])} {see}")
    if found := re.match(r"Unrecognized options: (\S+?)(,|$)", message):
        near = next((line.split(" ")[0] for line in body if line.startswith("--")), None)
        option = found[1].startswith("-")
        hint = f"did you mean {near}? " if near and option else ""
        return UserError(
            f"{command} has no {'option' if option else 'use for'} {found[1]}: {hint or 'leave it out '}{see}"
        )
    return UserError(f"{message} {see}")


_NEEDS: dict[type, tuple[str, str]] = {
    _Folder: ("a run's folder", "runs/demo"),
    _File: ("a ticket file", "runs/demo/seed_0/tickets/level_00.safetensors"),
    _Completion: ("a shell", "bash"),
}
"""What must be given, and an example."""


def _of_folder(folder: Path) -> Config:
    """The settings of a run's folder; where it is none, the nearest that is one is offered."""
    if not (folder / "config.toml").exists():
        runs = [str(path.parent) for path in sorted(folder.parent.glob("*/config.toml"))]
        runs += [str(path.parent) for path in sorted(Path("runs").glob("*/config.toml"))]
        near = get_close_matches(str(folder), runs, n=1, cutoff=0.4) or runs[:1]
        hint = f"did you mean {near[0]}?" if near else f"start one with `lottery-pools run --out {folder}`"
        raise UserError(f"{folder} is no run folder (it has no config.toml): {hint}")
    return settings.of_folder(folder)


def _kind(hint: Any) -> str:
    """What an option takes, in words."""
    names = {int: "a whole number", float: "a number"}
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is tuple:
        return names.get(parts[0], "values").removeprefix("a ").removesuffix("s") + "s"
    return names.get(parts[0] if parts else hint, "another value")


def _preview(plan: Plan, as_json: bool) -> None:
    """What a command would do."""
    from lottery_pools.reporting import terminal

    if as_json:
        print(json.dumps(dataclasses.asdict(plan)))
        return
    print(f"{plan.folder} ({'there already' if plan.exists else 'new'}): {plan.about}; {plan.machine}")
    rows = []
    for step in plan.steps:
        cost = step.cost
        images = (
            (cost.trained, "trained"),
            (cost.recalibrated + cost.forwarded, "forwarded"),
            (cost.corrupted, "corrupted"),
        )
        spent = ", ".join(f"{count:,} {what}" for count, what in images if count)
        counts = map(str, (step.items, step.done, step.items - step.done))
        rows.append((step.stage, step.detail, *counts, spent or "–", terminal.duration(step.seconds)))
    terminal.table("Plan", ("part", "what", "in all", "done", "to do", "images", "about"), rows)
    print(
        f"To do: {plan.operations:.2g} floating-point operations, {terminal.size(plan.written)} on disk, about "
        f"{terminal.duration(plan.seconds)}: an estimate from trying steps of this network on this machine just now."
    )
    print("Nothing was done.")


def _show(folder: Path, page: Path, as_json: bool) -> None:
    """The outcome of a run: its main table, its gains, and where the report is."""
    from lottery_pools import reports
    from lottery_pools.evaluation.metrics import gains
    from lottery_pools.reporting import tables, terminal
    from lottery_pools.reporting.page import headline, headlines, verdict

    _, rows, _ = reports.read(folder)
    found = gains(rows)
    if as_json:
        best = headline(found)
        result = {"folder": str(folder), "report": str(page), "headline": best and dataclasses.asdict(best)}
        print(json.dumps({**result, "gains": [dataclasses.asdict(gain) for gain in found]}))
        return
    for table in (tables.by_level(rows, found), tables.summary(rows, found)):
        terminal.table(table.title, table.columns, table.rows)
    print("\n".join(map(verdict, headlines(found) or (None,))))
    print(f"Report: {page}")

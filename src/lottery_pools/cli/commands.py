"""The command line: one function a command, which parses its options, calls one function, and prints the result.

The name and the docstring of each function are those of its command. torch is imported only by commands that need it.
The commands that exchange networks with other software are in `exchange.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lottery_pools.cli import completion as shells
from lottery_pools.cli import output, process, sweeping
from lottery_pools.cli.exchange import compile, export, import_, predict, require_ticket_file
from lottery_pools.cli.options import (
    OPTIONS,
    CompletionOptions,
    DiagnoseOptions,
    EvaluateOptions,
    PoolOptions,
    PresetsOptions,
    ReplayOptions,
    ReportOptions,
    SweepOptions,
    TicketFileOptions,
)
from lottery_pools.cli.parsing import command_name, parse, run_options
from lottery_pools.config import toml
from lottery_pools.config.schema import Config
from lottery_pools.config.trust import NOT_RUN, Trust
from lottery_pools.errors import UserError, unknown
from lottery_pools.runs import ranks
from lottery_pools.version import VERSION

USAGE = """\
usage: lottery-pools COMMAND [OPTIONS]

Train lottery tickets, pool them into stronger sparse networks at no extra cost, and measure the gain.

{commands}

`lottery-pools COMMAND --help` lists the options of a command that people use, `--help-all` all of them.
Exit codes: 0 done, 2 a mistake in what was given, 1 a bug of ours, 130 interrupted, 141 the reader of the
output has left, 143 terminated. Whatever was finished is kept: the same command goes on from there.
"""


def main() -> None:
    """Run the command that the process was started with; mistakes are one line and exit code 2."""
    process.run(lambda: dispatch(sys.argv[1:]))


def dispatch(arguments: Sequence[str]) -> None:
    """Run the command that the first of `arguments` names, with the others; raises `UserError` for a mistake.

    >>> dispatch(["presets", "--models", "--json"])
    ["conv1d", "mlp", "resnet20", "resnet18", "resnet34", "resnet50", "vgg11", "vgg16"]
    """
    if not arguments or arguments[0] in ("-h", "--help", "--help-all"):
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {command.__doc__}" for name, command in COMMANDS.items()]
        print(USAGE.format(commands="\n".join(lines)), end="")
        return
    name, *options = arguments
    if name in ("-V", "--version"):
        print(f"lottery-pools {VERSION}")
        return
    if name == "help":
        command_name = options[0] if options and options[0] in COMMANDS else "COMMAND"
        raise UserError(f"help is an option: `lottery-pools --help`, or `lottery-pools {command_name} --help`")
    if name.startswith("-"):
        raise UserError(f"{name} comes after a command: did you mean `lottery-pools run {name} …`?")
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if name in COMPUTING and not ranks.join().leads:
        with contextlib.redirect_stdout(io.StringIO()):  # what one process prints is enough
            COMMANDS[name](options)
        return
    COMMANDS[name](options)


def run(arguments: list[str]) -> None:
    """train, pool, evaluate and report: the whole story"""
    options = run_options(arguments, run)
    from lottery_pools.experiment import stages

    config, out = options.config, options.folder
    if options.dry_run:
        output.show_plan(stages.preview(config, out, options.machine), options.json)
        return
    page, content = stages.run(config, out, options.machine, options.progress.watching())
    output.show_report(out, page, content, options.json)


def sweep(arguments: list[str]) -> None:
    """run several presets, seeds and settings, in one table and report"""
    options = parse(SweepOptions, arguments, sweep)
    variants = sweeping.variants(options, sweep)
    from lottery_pools.experiment import sweep as sweeps

    if options.dry_run:
        output.show_sweep(sweeps.runs(variants, options.out), options.json)
        return
    watching = options.progress.watching()
    if options.only is not None:
        folder = sweeps.only(variants, options.out, options.only, options.machine, watching)
        output.show_paths("results", [folder / "results.jsonl"], options.json)
        return
    page, reports = sweeps.sweep(variants, options.out, options.machine, watching)
    output.show_comparison(page, reports, options.json)


def tickets(arguments: list[str]) -> None:
    """train the tickets of a run, level by level"""
    options = run_options(arguments, tickets)
    from lottery_pools.experiment import stages

    config, out = options.config, options.folder
    if options.dry_run:
        output.show_plan(stages.preview(config, out, options.machine, ("tickets",)), options.json)
        return
    stages.tickets(config, out, options.machine, options.progress.watching())
    output.show_paths("tickets", out.rglob("tickets/level_*.safetensors"), options.json)


def _settings(options: PoolOptions | EvaluateOptions | DiagnoseOptions) -> Config:
    """The settings of the run's folder that a command was given."""
    return toml.of_folder(options.folder, Trust(everything=options.trust_model))


def pool(arguments: list[str]) -> None:
    """pool a run's tickets into stronger ones"""
    options = parse(PoolOptions, arguments, pool)
    config, folder = options.applied(_settings(options)), options.folder
    from lottery_pools.experiment import stages
    from lottery_pools.experiment.run import OtherRun

    other = OtherRun(options.candidates_from, options.allow_other_run)
    if options.dry_run:
        output.show_plan(stages.preview(config, folder, options.machine, ("pool",), other), options.json)
        return
    stages.pool(config, folder, options.machine, other, options.progress.watching())
    output.show_paths("pools", folder.rglob("pools/*/level_*.safetensors"), options.json)


def evaluate(arguments: list[str]) -> None:
    """measure a run's tickets and pools on validation and test"""
    options = parse(EvaluateOptions, arguments, evaluate)
    config, folder = options.applied(_settings(options)), options.folder
    from lottery_pools.experiment import stages

    if options.dry_run:
        output.show_plan(stages.preview(config, folder, options.machine, ("evaluate",)), options.json)
        return
    stages.evaluate(config, folder, options.machine, options.progress.watching())
    output.show_paths("results", folder.rglob("results.jsonl"), options.json)


def diagnose(arguments: list[str]) -> None:
    """say why the gains came about: paths, barriers, overlap, attribution"""
    options = parse(DiagnoseOptions, arguments, diagnose)
    config = options.data.applied(_settings(options))
    from lottery_pools.experiment import diagnose as reasons

    diagnoses = reasons.diagnose(config, options.folder, options.machine, options.points, options.progress.watching())
    output.show_diagnosis(diagnoses, options.json)


def report(arguments: list[str]) -> None:
    """write a run's report from its result rows"""
    options = parse(ReportOptions, arguments, report)
    from lottery_pools.experiment import report as reports

    folder = options.folder
    if options.others:
        if options.reference is not None:
            raise UserError("report --reference is for one run: name one folder, or leave --reference away")
        folders = (folder, *options.others)
        if options.publish is None:
            output.show_comparison(*reports.compare(folders, options.out or Path("comparison.html")), options.json)
            return
        from lottery_pools.experiment import joining

        joining.publish(folders, options.publish)
        folder = options.publish
    elif options.publish is not None:
        reports.publish(folder, options.publish)
    try:
        page, content = reports.make(folder, options.reference, options.out)
    except reports.UnwrittenError as error:  # what it says is shown all the same, as of a run on a read-only disk
        output.show_report(folder, None, error.content, options.json)
        raise
    output.show_report(folder, page, content, options.json)


def replay(arguments: list[str]) -> None:
    """pool a ticket again and compare the bytes"""
    options = parse(ReplayOptions, arguments, replay)
    require_ticket_file(options.file)
    from lottery_pools.experiment import replay as replaying

    difference = replaying.replay(
        options.file, options.out, Trust(everything=options.trust_model), options.search, options.data.name
    )
    if difference is not None:
        raise UserError(
            f"{options.file} replayed to other bytes ({difference}): it was made on another machine or version, or "
            "changed"
        )
    result = {"file": str(options.file), "same": True, "searched": options.search}
    print(
        json.dumps(result) if options.json else f"{options.file}: same bytes{_BELIEVED if not options.search else ''}"
    )


def inspect(arguments: list[str]) -> None:
    """show what a ticket file holds: density by layer, lineage, recipe"""
    options = parse(TicketFileOptions, arguments, inspect)
    require_ticket_file(options.file)
    from lottery_pools.tickets import files

    metadata = files.read_metadata(options.file)
    output.show_ticket(options.file, files.load(options.file), metadata, options.json)


def presets(arguments: list[str]) -> None:
    """list the settings that come with the package, or print one"""
    options = parse(PresetsOptions, arguments, presets)
    if options.models:
        from lottery_pools.models import registry

        networks = list(registry.names())
        print(json.dumps(networks) if options.json else "\n".join(networks))
    elif options.name is not None:
        config = toml.preset(options.name, NOT_RUN)
        print(json.dumps(toml.to_dict(config)) if options.json else toml.to_toml(config), end="")
    else:
        first_lines = {
            name: path.read_text(encoding="utf-8").split("\n", 1)[0] for name, path in toml.presets().items()
        }
        lines = [f"{name:<22} {line.removeprefix('# ')}" for name, line in first_lines.items()]
        print(json.dumps(list(first_lines)) if options.json else "\n".join(lines))


def completion(arguments: list[str]) -> None:
    """print the script with which bash, zsh or fish completes the command line"""
    options = parse(CompletionOptions, arguments, completion)
    print(shells.SHELLS[options.shell](shells.known(OPTIONS)), end="")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    command_name(command): command
    for command in (
        *(run, sweep, tickets, pool, evaluate, diagnose, report, replay, inspect),
        *(import_, export, predict, compile),
        *(presets, completion),
    )
}
_BELIEVED = " (its recipe, scores and costs were believed)"
"""What is said of a replay that did not search again."""
COMPUTING = ("run", "sweep", "tickets", "pool", "evaluate", "diagnose")
"""The commands whose work the processes of `torchrun` share."""

"""The command line: parse, call one public function, print."""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lottery_pools.cli import completion as shells
from lottery_pools.cli.options import (
    OPTIONS,
    Completion,
    Diagnose,
    Evaluate,
    File,
    Pool,
    Presets,
    Replay,
    Report,
    begin,
    parse,
)
from lottery_pools.config import toml
from lottery_pools.errors import UserError, unknown
from lottery_pools.version import VERSION

if TYPE_CHECKING:
    from lottery_pools.experiment.estimate import Plan
    from lottery_pools.reporting.content import Report as Content

USAGE = """\
usage: lottery-pools COMMAND [OPTIONS]

Train lottery tickets, pool them into stronger sparse networks at no extra cost, and prove the gain.

{commands}

`lottery-pools COMMAND --help` lists a command's options. Exit codes: 0 done, 2 a mistake in what was given,
1 a bug of ours, 130 interrupted. Whatever was finished is kept: the same command goes on from there.
"""


def main() -> None:
    """The entry point: exit codes and one-line errors."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what an ASCII terminal cannot show is no reason to stop
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


def run(arguments: list[str]) -> None:
    """train, pool, evaluate and report: the whole story"""
    start = begin(arguments, run)
    from lottery_pools.experiment import stages

    out = start.out or Path("runs") / start.config.name
    if start.dry_run:
        _preview(stages.preview(start.config, out, start.machine), start.json)
        return
    _show(out, *stages.run(start.config, out, start.machine), start.json)


def tickets(arguments: list[str]) -> None:
    """train the tickets of a run, level by level"""
    start = begin(arguments, tickets)
    from lottery_pools.experiment import stages

    out = start.out or Path("runs") / start.config.name
    if start.dry_run:
        _preview(stages.preview(start.config, out, start.machine, ("tickets",)), start.json)
        return
    stages.tickets(start.config, out, start.machine)
    paths = sorted(map(str, out.rglob("tickets/level_*.safetensors")))
    print(json.dumps({"tickets": paths}) if start.json else "\n".join(paths))


def pool(arguments: list[str]) -> None:
    """pool a run's tickets into stronger ones"""
    options = parse(Pool, arguments, pool)
    if options.candidates_from is not None and options.methods:
        raise UserError("pool --candidates-from pools by interpolation alone: leave --methods away")
    config = toml.of_folder(options.folder)
    wanted = dataclasses.replace(
        config.pooling,
        methods=options.methods or config.pooling.methods,
        targets=options.targets or config.pooling.targets,
        budget=config.pooling.budget if options.budget is None else options.budget,
    )
    from lottery_pools.experiment import stages
    from lottery_pools.experiment.run import OtherRun

    settled = dataclasses.replace(config, pooling=wanted)
    other = OtherRun(options.candidates_from, options.allow_other_run)
    if options.dry_run:
        _preview(stages.preview(settled, options.folder, options.machine, ("pool",), other), options.json)
        return
    stages.pool(settled, options.folder, options.machine, other)
    paths = sorted(map(str, options.folder.rglob("pools/*/level_*.safetensors")))
    print(json.dumps({"pools": paths}) if options.json else "\n".join(paths))


def evaluate(arguments: list[str]) -> None:
    """measure a run's tickets and pools on validation and test"""
    options = parse(Evaluate, arguments, evaluate)
    config = toml.of_folder(options.folder)
    wanted = dataclasses.replace(
        config.evaluation,
        corruptions=tuple(dict.fromkeys((*config.evaluation.corruptions, *options.corruptions))),
        severities=options.severities or config.evaluation.severities,
        corrupted=options.corrupted or config.evaluation.corrupted,
        corrupted_from=options.corrupted_from or config.evaluation.corrupted_from,
    )
    for name in ("severities", "corrupted", "corrupted_from"):
        if getattr(options, name) and not wanted.corruptions:
            raise UserError(f"evaluate --{name.replace('_', '-')} is of corruptions, none are named: add --corruptions")
    from lottery_pools.experiment import stages

    settled = dataclasses.replace(config, evaluation=wanted)
    if options.dry_run:
        _preview(stages.preview(settled, options.folder, options.machine, ("evaluate",)), options.json)
        return
    stages.evaluate(settled, options.folder, options.machine)
    paths = sorted(map(str, options.folder.rglob("results.jsonl")))
    print(json.dumps({"results": paths}) if options.json else "\n".join(paths))


def diagnose(arguments: list[str]) -> None:
    """say why the gains came about: paths, barriers, overlap, attribution"""
    options = parse(Diagnose, arguments, diagnose)
    config = toml.of_folder(options.folder)
    from lottery_pools.experiment import diagnose as why
    from lottery_pools.reporting import diagnosis, terminal

    found = why.diagnose(config, options.folder, options.machine, options.points)
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
    options = parse(Report, arguments, report)
    from lottery_pools.experiment import report as reports

    if options.others:
        _compare(options)
        return
    if options.publish is not None:
        reports.publish(options.folder, options.publish)
    _show(options.folder, *reports.make(options.folder, options.reference, options.out), options.json)


def _compare(options: Report) -> None:
    """Several runs on one page, their tables in the terminal."""
    from lottery_pools.experiment import report as reports
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
    options = parse(Replay, arguments, replay)
    from lottery_pools.experiment import replay as replaying

    _refuse_others(options.file)
    same = replaying.replay(options.file, options.out)
    if not same:
        raise UserError(
            f"{options.file} replayed to other bytes: it was made on another machine or version, or damaged"
        )
    print(json.dumps({"file": str(options.file), "same": same}) if options.json else f"{options.file}: same bytes")


def inspect(arguments: list[str]) -> None:
    """show what a ticket file holds: density by layer, lineage, recipe"""
    options = parse(File, arguments, inspect)
    _refuse_others(options.file)
    from lottery_pools.reporting import terminal
    from lottery_pools.tickets import files, masks

    metadata = files.read_metadata(options.file)
    ticket = files.load(options.file)
    layers = {name: masks.count({name: mask}) for name, mask in ticket.mask.items()}
    nonzero = sum(int((ticket.weights[name] != 0).sum()) for name in ticket.mask)
    if options.json:
        print(json.dumps({**metadata, "density": ticket.density, "nonzero": nonzero, "layers": layers}))
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
    zeros = [("non-zero", f"{nonzero:,} of the {ticket.kept:,} that survive")] if nonzero < ticket.kept else []
    for name, value in (*zeros, *terminal.lineage({"target": ticket.level, **ticket.origin})):
        print(f"{name and name + ':':<15} {value}")


def _refuse_others(file: Path) -> None:
    """Raise UserError where `file` is a folder, or a file of another kind."""
    if file.is_dir() or (file.exists() and file.suffix != ".safetensors"):
        folder = file if file.is_dir() else file.parent
        some = next(iter(sorted(folder.rglob("level_*.safetensors"))), "runs/demo/seed_0/tickets/level_00.safetensors")
        kind = "a folder" if file.is_dir() else "no ticket file"
        raise UserError(f"{file} is {kind}: give one ticket file, such as {some}")


def presets(arguments: list[str]) -> None:
    """list the settings that come with the package, or print one"""
    options = parse(Presets, arguments, presets)
    if options.models:
        from lottery_pools.models import registry

        names = list(registry.names())
        print(json.dumps(names) if options.json else "\n".join(names))
    elif options.name is not None:
        config = toml.preset(options.name)
        print(json.dumps(toml.to_dict(config)) if options.json else toml.to_toml(config), end="")
    else:
        about = {name: path.read_text(encoding="utf-8").split("\n", 1)[0] for name, path in toml.presets().items()}
        lines = [f"{name:<22} {text.removeprefix('# ')}" for name, text in about.items()]
        print(json.dumps(list(about)) if options.json else "\n".join(lines))


def completion(arguments: list[str]) -> None:
    """print the script with which bash, zsh or fish completes the command line"""
    print(shells.SHELLS[parse(Completion, arguments, completion).shell](shells.known(OPTIONS)), end="")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    command.__name__: command
    for command in (run, tickets, pool, evaluate, diagnose, report, replay, inspect, presets, completion)
}


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


def _show(folder: Path, page: Path, report: Content, as_json: bool) -> None:
    """The outcome of a run: its main table, its gains, and where the page is."""
    from lottery_pools.reporting import tables, terminal
    from lottery_pools.reporting.page import headline, headlines, verdict

    rows, found = report.rows, report.gains
    if as_json:
        best = headline(found)
        result = {"folder": str(folder), "report": str(page), "headline": best and dataclasses.asdict(best)}
        print(json.dumps({**result, "gains": [dataclasses.asdict(gain) for gain in found]}))
        return
    for table in (tables.by_level(rows, found), tables.summary(rows, report.comparable)):
        terminal.table(table.title, table.columns, table.rows)
    print("\n".join(verdict(gain, found) for gain in headlines(found) or (None,)))
    print(f"Report: {page}")

"""What the commands print that take checkpoints in and give networks out: tables and sentences, or one JSON object.

Modules that draw tables are imported by the functions that need them, so that commands start at once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lottery_pools.config.schema import Config, Data
    from lottery_pools.deploy.ticket import Compilation
    from lottery_pools.exchange.predict import Predictions
    from lottery_pools.tickets.ticket import Ticket


def show_compilation(folder: Path, made: Compilation, as_json: bool) -> None:
    """Print which files a ticket was compiled into, and how fast it is."""
    from lottery_pools.reporting import terminal, words
    from lottery_pools.reporting.speed_table import measured

    if as_json:
        outcome = {
            "folder": str(folder),
            "files": [path.name for path in made.files.paths],
            "target": made.target,
            "weights": made.weights,
            "all_weights": made.all_weights,
            "speeds": [dataclasses.asdict(speed) for speed in made.speeds],
        }
        print(json.dumps(outcome))
        return
    names = ", ".join(f"{path.name} ({words.size(path.stat().st_size)})" for path in made.files.paths)
    print(f"{folder}: {names}")
    print(f"Code for {made.target}, of the {made.weights:,} weights out of {made.all_weights:,} that are not zero.")
    if made.files.library is None:
        print("No library: this processor cannot run code for that target.")
    if made.speeds:
        terminal.show(measured(made.speeds))


def show_import(folder: Path, tickets: Sequence[Ticket], config: Config, as_json: bool) -> None:
    """Print what became the run in `folder`: each ticket, the file it came from and what was inferred of it.

    Args:
        folder: Of the run.
        tickets: As they were read.
        config: The settings that were asked for.
        as_json: Print one JSON object.
    """
    from lottery_pools.config.trust import NOTHING, untrusted
    from lottery_pools.reporting import terminal

    if as_json:
        entries = [{"level": ticket.level, "density": ticket.density, **_read(ticket)} for ticket in tickets]
        print(json.dumps({"folder": str(folder), "tickets": entries}))
        return
    rows = [
        (str(ticket.level), f"{ticket.density:.2%}", f"{ticket.kept:,}", _read(ticket)["file"]) for ticket in tickets
    ]
    terminal.table("Imported", ("level", "density", "kept", "file"), rows)
    notes: dict[str, list[str]] = {}
    for ticket in tickets:
        for note in _read(ticket)["notes"]:
            notes.setdefault(note, []).append(str(ticket.level))
    for note, levels in notes.items():
        which = "all levels" if len(levels) == len(tickets) else f"level {', '.join(levels)}"
        terminal.say(f"- {note} ({which})")
    for line in _assumed(folder, config.data):
        terminal.say(f"- {line}")
    trust = "" if untrusted(config, NOTHING) is None else " --trust-model"
    use = f"go on with `lottery-pools pool {folder}{trust}`"
    if len(tickets) == 1:
        use = "one ticket can be exported; a pool needs two or more, imported in one call"
    print(f"Run: {folder}; {use}")


def _assumed(folder: Path, data: Data) -> Iterator[str]:
    """What an import takes for granted of checkpoints, which do not say it: how samples were normalised, and which of
    them they were not trained on."""
    from lottery_pools.reporting.lineage import lineage
    from lottery_pools.runs.folder import RunFolder
    from lottery_pools.tickets import files

    origin = files.read_metadata(RunFolder(folder).ticket(0))["origin"]
    inputs = dict(lineage(origin))["inputs"].partition(";")[0]
    yield f"assumed: the networks were trained on {inputs}, as they are stored (otherwise set data.mean, data.std)"
    number = f"{data.validation:.0%}" if data.validation < 1 else f"{data.validation:,}"
    which = "the last" if data.carve == "last" else "drawn"
    yield (
        f"assumed: they were not trained on the validation samples ({number} of the training set, {which}), which "
        "choose the pools (otherwise set data.validation, data.carve)"
    )


def _read(ticket: Ticket) -> Mapping[str, Any]:
    """The file that a ticket was read from, and what was inferred of it."""
    read = ticket.origin.get("read", {})
    return {"file": read.get("file"), "notes": list(read.get("notes", ()))}


def show_predictions(predictions: Predictions, most: int | None, as_json: bool) -> None:
    """Print the most likely classes of each sample with their probabilities, or the numbers of a regression.

    Args:
        predictions: Of all samples.
        most: At most so many of each; None: one class, or all labels or numbers.
        as_json: Print one JSON object.
    """
    outputs, numbers = predictions.top(most), predictions.task == "regression"
    names = ("numbers", "name", "value") if numbers else ("classes", "class", "probability")
    if as_json:
        entries = [
            {"sample": sample, names[0]: [{names[1]: name, names[2]: value} for name, value in pairs]}
            for sample, pairs in zip(predictions.samples, outputs, strict=True)
        ]
        print(json.dumps({"predictions": entries}))
        return
    from lottery_pools.reporting import terminal

    for sample, pairs in zip(predictions.samples, outputs, strict=True):
        shown = (f"{name} {value:.4g}" if numbers else f"{name} {value:.1%}" for name, value in pairs)
        terminal.say(f"{sample}: {', '.join(shown)}")

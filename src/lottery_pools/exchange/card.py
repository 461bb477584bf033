"""The model card of an exported network: what it is, how it was made, what it scores, how it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lottery_pools.data.preprocessing import RESIZE, Preprocessing
from lottery_pools.errors import inert, plain
from lottery_pools.tickets.ticket import Ticket
from lottery_pools.version import VERSION


@dataclass(frozen=True)
class Figure:
    """A measured number, with its interval where one is known."""

    name: str
    """What was measured, as `accuracy on 10,000 test images`."""
    value: float
    interval: tuple[float, float] | None = None
    """The ends of its 95 % interval."""
    unit: str = "%"

    def cells(self) -> tuple[str, str]:
        """The value and the interval as text."""
        ends = "" if self.interval is None else f"{self.interval[0]:.2f} to {self.interval[1]:.2f}"
        return f"{self.value:.2f} {self.unit}".strip(), ends


@dataclass(frozen=True)
class Card:
    """What a model card says that the ticket's file does not."""

    title: str = "A sparse network"
    licence: str = "unknown"
    """An identifier as the Hugging Face hub lists them, such as `mit` or `apache-2.0`."""
    data: str = ""
    """What the network was trained and measured on, in words."""
    figures: tuple[Figure, ...] = ()


def text(card: Card, ticket: Ticket, preprocessing: Preprocessing | None, usage: str) -> str:
    """The card as Markdown with the hub's metadata in front; `usage` is the code by which the network is loaded."""
    model = ticket.origin.get("model")
    name = str(model.get("name", "")) if isinstance(model, Mapping) else ""
    metadata = {
        "license": card.licence,
        "library_name": "timm" if name.startswith("timm:") else "pytorch",
        "tags": ["pruning", "sparse", "lottery-ticket-hypothesis"],
    }
    front = [f"{key}: {json.dumps(value)}" for key, value in metadata.items()]
    parts = [
        "\n".join(["---", *front, "---"]),
        f"# {card.title}",
        f"A sparse network: {ticket.kept:,} of {ticket.prunable:,} prunable weights are left ({ticket.density:.2%}); "
        "the others are exactly zero.",
        "## How it was made\n\n" + "\n".join(f"- {_shown(line)}" for line in made(ticket.origin)),
        *(
            [f"## Data\n\n{card.data or _shown(str(ticket.origin.get('data')))}"]
            if card.data or "data" in ticket.origin
            else []
        ),
        "## Figures\n\n" + _figures(card.figures),
        "## Preprocessing\n\n" + _preprocessing(preprocessing),
        f"## How to use it\n\n```python\n{usage.strip()}\n```",
        f"## Licence\n\n{card.licence}",
    ]
    return "\n\n".join(parts) + "\n"


def made(origin: Mapping[str, Any]) -> list[str]:
    """How a ticket came about, a sentence each, from its origin."""
    told = []
    if isinstance(model := origin.get("model"), Mapping):
        arguments = ", ".join(f"{key} = {value}" for key, value in sorted(model.get("arguments", {}).items()))
        told.append(f"network: {model.get('name')}" + (f" with {arguments}" if arguments else ""))
    if "recipe" in origin:
        steps = ", ".join(f"({level}, {coefficient:.3g})" for level, coefficient in origin["recipe"]) or "none"
        told.append(f"pooled from tickets of one run by the method {origin.get('method')}, without further training")
        told.append(f"recipe, as (level of the ticket, its coefficient): {steps}")
    if origin.get("score") is not None:
        told.append(f"chosen by {origin.get('scored_by', 'accuracy')} on validation samples: {origin['score']:.4f}")
    elif origin.get("accuracy") is not None:
        told.append(f"its epoch was chosen by accuracy on validation samples: {origin['accuracy']:.4f}")
    if origin.get("train_images"):
        told.append(f"images trained on, all tickets that it needs together: {origin['train_images']:,}")
    for key, words in (("seed", "seed"), ("config", "identity of the settings")):
        if key in origin:
            told.append(f"{words}: {origin[key]}")
    if isinstance(read := origin.get("read"), Mapping):
        told.append(f"read from the checkpoint {read.get('file')}")
    return [*told, f"written by lottery-pools {VERSION}"]


def _shown(text: str) -> str:
    """Text from a ticket's file, with nothing that acts on a terminal or in Markdown."""
    return inert(plain(text))


def _figures(figures: tuple[Figure, ...]) -> str:
    if not figures:
        return "None were given."
    rows = [(figure.name, *figure.cells()) for figure in figures]
    lines = ["| what | value | 95 % interval |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {' | '.join(_shown(cell).replace('|', '/') for cell in row)} |" for row in rows)])


def _preprocessing(preprocessing: Preprocessing | None) -> str:
    if preprocessing is None:
        return "Not known: give the network what it was trained on."
    stored, taken = (" × ".join(map(str, shape)) for shape in (preprocessing.stored_shape, preprocessing.input_shape))
    lines = [f"- samples of {stored}" + (", numbers from 0 to 255" if preprocessing.is_of_images else "")]
    if preprocessing.is_of_images:
        lines.append(f"- images of another size: {RESIZE}")
    if stored != taken:
        lines.append(f"- their middle of {taken}")
    lines.append(
        f"- less the mean {list(preprocessing.mean)}, over the deviation {list(preprocessing.std)}, by channel"
    )
    if preprocessing.classes:
        lines.append(f"- classes, in order: {_shown(', '.join(preprocessing.classes))}")
    return "\n".join(lines)

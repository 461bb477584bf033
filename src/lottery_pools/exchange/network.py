"""From a file to a network that is ready to be used, and how far a file is trusted on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.config.fields import NETWORK_PACKAGES
from lottery_pools.config.trust import Trust, names_code, untrusted_arguments
from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.errors import UserError, naming
from lottery_pools.exchange import bitmask, contents
from lottery_pools.models import registry
from lottery_pools.runs import strict_json
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket, check_fit, load_into, shapes

SECTION = "lottery_pools"
"""The part of an exported folder's `config.json` that is for this package."""


def load_model(source: str | Path | Ticket, *, model: nn.Module | None = None, trust: bool = False) -> nn.Module:
    """Load the network of a ticket, its file or an exported folder, ready for use: in evaluation mode.

    The file says which network it is of. That is built only if it runs no code of the file's choice: a network of this
    package, `timm:NAME` or `torchvision:NAME`, without arguments that make these read other files.

    The network has an attribute `preprocess`, a `Preprocessing` that brings images and samples to what it takes; it is
    None if the file does not say how (tickets of earlier versions, or of `lp.pool` from tickets that do not say).

    Args:
        source: A ticket, its file, or a folder that `lp.export` wrote as `hub` or `compressed-tensors`.
        model: The network, if the file does not say which, or you build it yourself. It is changed in place, and stays
            on its device. Without it the network is on the CPU.
        trust: Also build `package.module:factory`, which runs that module's code.

    Raises:
        UserError: If the file is damaged or of another kind, does not say which network it is of, names one whose code
            would run, or does not fit `model`; or if the network has an attribute `preprocess` of its own.

    Example:
        ```python
        network = lp.load_model("runs/demo/seed_0/pools/trimmed-soup/level_03.safetensors")
        network(network.preprocess(samples)).argmax(1)
        ```
    """
    file, where = opened(source), "the ticket" if isinstance(source, Ticket) else str(source)
    network = built(file.model, where, trust, file.weights) if model is None else model
    if not isinstance(getattr(network, "preprocess", None), Preprocessing | None):
        raise UserError(f"the network of {where} has a `preprocess` of its own, which ours would hide: rename it")
    load_into(network, file.weights, f"the tensors of {where}")
    object.__setattr__(network, "preprocess", file.preprocessing)  # nn.Module's own is typed for tensors and modules
    return network.eval()


@dataclass(frozen=True)
class NetworkFile:
    """What a ticket file or an exported folder says of its network."""

    weights: Mapping[str, Tensor]
    model: Any
    """Which network it is, as the file says."""
    preprocessing: Preprocessing | None


def opened(source: str | Path | Ticket) -> NetworkFile:
    """What a ticket, its file or an exported folder holds; raises UserError if it is damaged or of another kind."""
    if isinstance(source, Ticket):
        return _of_ticket(source)
    path = Path(source)
    if path.is_dir():
        section = settings(path)
        with naming(path):
            weights, _ = bitmask.decoded(contents.contents(path).tensors)
            values = section.get("preprocessing")
            preprocessing = None if values is None else Preprocessing.from_json(values)
        return NetworkFile(weights, section.get("model"), preprocessing)
    return _of_ticket(files.load(path))


def _of_ticket(ticket: Ticket) -> NetworkFile:
    return NetworkFile(ticket.weights, ticket.origin.get("model"), preprocessing_of(ticket))


def named(path: str | Path, name: str) -> nn.Module:
    """Build the network of a file by the name that the user gives for it, at some initialisation.

    Args:
        path: As for `load_model`.
        name: As for the setting `model.name`. Its code runs, for it is the user's word and not the file's.

    Raises:
        UserError: If the file does not say what the network's inputs and classes are, or there is no such network.
    """
    file = opened(path)
    if not isinstance(file.model, Mapping):
        raise UserError(
            f"{path} does not say what inputs and classes its network has, for its tickets did not: in Python, give "
            "lp.predict, lp.export or lp.compile the network (model=); or pool a run that `lottery-pools import` made"
        )
    return built({**file.model, "name": name}, str(path), True, file.weights)


def preprocessing_of(ticket: Ticket) -> Preprocessing | None:
    """How samples become inputs of a ticket's network; None if the ticket does not say."""
    values = ticket.origin.get("preprocessing")
    return None if values is None else Preprocessing.from_json(values, "the ticket's file")


def settings(folder: Path) -> Mapping[str, Any]:
    """What an exported folder's `config.json` says for this package; raises UserError if it says nothing."""
    file = folder / "config.json"
    try:
        section = strict_json.parse(file.read_bytes())[SECTION]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is no exported network (its config.json has no {SECTION!r}): export it") from error
    if not isinstance(section, Mapping):
        raise UserError(f"{file} is damaged ({SECTION!r} holds no settings): export it again")
    return section


def built(described: Any, where: str, trust: bool = False, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Build the network that a file describes, at some initialisation.

    Raises UserError as `load_model`. If the file's `weights` are given, one of our own networks that does not fit them
    is refused before memory is taken for it.
    """
    try:
        name, arguments = described["name"], dict(described["arguments"])
        classes, input_shape = described["classes"], tuple(described["input_shape"])
        if not all(type(size) is int and size > 0 for size in (classes, *input_shape)):
            raise ValueError("the network's sizes are no whole numbers")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} does not say which network it is of: give it as model=") from error
    check_trusted(name, arguments, where, trust)
    try:
        if name in registry.MODELS and weights is not None:
            with torch.device("meta"):  # shapes without memory
                outline = registry.build(name, arguments, classes, input_shape, seed=0)
            check_fit(outline, shapes(weights), f"the tensors of {where}")
        return registry.build(name, arguments, classes, input_shape, seed=0)
    except UserError as error:
        raise UserError(f"{where} names a network that cannot be built: {error}") from error


def check_trusted(name: Any, arguments: Mapping[str, Any], where: str, trust: bool) -> None:
    """Raise UserError if building this network would run what the file chooses, unless it is trusted."""
    remedy = "give the network as model= (on the command line --model.name), or say trust=True"
    if not trust and (not isinstance(name, str) or names_code(name, NETWORK_PACKAGES)):
        raise UserError(f"{where} names the network {name!r}, whose code would run: {remedy}")
    if reason := untrusted_arguments(name, arguments, Trust(everything=trust)):
        raise UserError(f"{where} {reason}: {remedy}")

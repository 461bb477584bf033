"""The one door for checkpoints of other software: any of the layouts of this wing becomes tickets.

What a file holds is found by `contents.py`, what its tensors stand for by `checkpoint.py`, what is pruned by
`sparsity.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.exchange import checkpoint, contents, sparsity
from lottery_pools.exchange.checkpoint import AS_FOUND, Masks, Network, Place, Reading
from lottery_pools.tickets.ticket import Ticket

PAPERS_BEST = "model_SA_best.pth.tar"
"""How the names of the files end in which the code of Yin et al. keeps the best epoch of each ticket."""


@overload
def read(
    path: Place,
    *,
    model: nn.Module | None = None,
    masks: Masks | Sequence[Masks] | None = None,
    prunable: str | Iterable[str] | None = None,
    dense: Iterable[str] = (),
    prefix: str | None = None,
    leave_out: Iterable[str] = (),
) -> Any: ...


@overload
def read(
    path: Iterable[Place],
    *,
    model: nn.Module | None = None,
    masks: Masks | Sequence[Masks] | None = None,
    prunable: str | Iterable[str] | None = None,
    dense: Iterable[str] = (),
    prefix: str | None = None,
    leave_out: Iterable[str] = (),
) -> list[Ticket]: ...


def read(
    path: Place | Iterable[Place],
    *,
    model: nn.Module | None = None,
    masks: Masks | Sequence[Masks] | None = None,
    prunable: str | Iterable[str] | None = None,
    dense: Iterable[str] = (),
    prefix: str | None = None,
    leave_out: Iterable[str] = (),
) -> Ticket | list[Ticket]:
    """Read checkpoints of other software as tickets.

    Read are state_dicts that `torch.save` wrote, bare or under a key (`.pth.tar`, Lightning, timm), safetensors, in
    shards too, `torch.nn.utils.prune`'s `X_orig` and `X_mask`, open_lth's folders, the `sparse-bitmask` layout of
    compressed-tensors, and this package's own tickets. Nothing of a file is run. What was inferred is said in
    `ticket.origin["read"]["notes"]`.

    Args:
        path: A file, a folder that is one checkpoint, a folder of several, or a list of files and such folders.
        model: The network. With it, names, tied tensors and the rules of `prunable` are certain instead of inferred.
        masks: The masks, if they lie elsewhere, by name or in a file; a list of them for several checkpoints.
        prunable: Names or patterns of the tensors that are pruned; with `model` also `convolutions` and
            `convolutions+linear`. None: those with masks, or if there are none, those with many exact zeros.
        dense: Names or patterns of tensors whose zeros are no pruning.
        prefix: What stands before the names, such as `student.`; tensors without it are left out. None: prefixes of
            DataParallel, torch.compile, FSDP and Lightning are found. Empty: names stay as they are.
        leave_out: Names or patterns of tensors that the network does not have, such as `normalize.*`.

    Returns:
        One ticket, of level 0, for a file or a folder that is one checkpoint; else a list of tickets, the densest
        first, with the levels 0, 1, 2, ….

    Raises:
        UserError: If there is no checkpoint, it would run code, is damaged, or does not fit `model`; if a tensor is
            sparse and not prunable, or none is prunable; if a parametrised layer's weight cannot be computed; and if
            two of several have one density or are of different networks.

    Example:
        ```python
        tickets = lp.read(["dense.pt", "half.pt", "fifth.pt"], model=model)
        print(tickets[1].origin["read"]["notes"])
        ```
    """
    options = Reading(model, prunable, _several(dense), prefix, _several(leave_out))
    if isinstance(path, str | os.PathLike):
        place = Path(path)
        if not place.is_dir() or contents.is_one(place):
            if isinstance(masks, Sequence) and not isinstance(masks, str):
                raise UserError(f"{place} is one checkpoint and masks are a list: give one mask")
            return read_one(place, options, masks)
        path = checkpoints_in(place)
    paths = [Path(place) for place in path]
    if masks is None or (isinstance(masks, Sequence) and not isinstance(masks, str)):
        return read_several(paths, options, masks)
    raise UserError(f"{len(paths)} checkpoints and one mask: give a list of masks, one for each")


def read_one(path: Path, options: Reading = AS_FOUND, masks: Masks | None = None) -> Ticket:
    """The ticket, of level 0, of one checkpoint; raises UserError as `read`."""
    network = checkpoint.network(path, options, masks)
    return _ticket(network, sparsity.prunable_names([network], options))


def read_several(
    paths: Sequence[Path], options: Reading = AS_FOUND, masks: Sequence[Masks] | None = None
) -> list[Ticket]:
    """The tickets of checkpoints of one network, the densest first; raises UserError as `read`."""
    if not paths:
        raise UserError("no checkpoints to read: give one file or more")
    if masks is not None and len(masks) != len(paths):
        raise UserError(f"{len(paths)} checkpoints and {len(masks)} masks: give one for each")
    networks = [checkpoint.network(path, options, masks[n] if masks else None) for n, path in enumerate(paths)]
    networks = [checkpoint.ordered_like(network, networks[0]) for network in networks]
    prunable = sparsity.prunable_names(networks, options)
    by_density = [(network.where, _ticket(network, prunable)) for network in networks]
    by_density.sort(key=lambda item: -item[1].density)
    for (where, denser), (next_where, sparser) in pairwise(by_density):
        if denser.kept == sparser.kept:
            raise UserError(
                f"{where} and {next_where} both have density {denser.density:.4f}: give one of them, in a list of files"
            )
    return [replace(ticket, level=level) for level, (_, ticket) in enumerate(by_density)]


def checkpoints_in(folder: Path) -> list[Path]:
    """List the checkpoints in a folder of several.

    They are its files, and those folders in it that are one checkpoint, or hold one called `main`, as open_lth's
    levels do. Of what the code of Yin et al. leaves, only the best epoch of each ticket is taken.

    Raises:
        UserError: If there is none.
    """
    checkpoints = contents.listed(folder)
    best = [path for path in checkpoints if path.name.endswith(PAPERS_BEST)]
    for inner in sorted((path for path in folder.iterdir() if path.is_dir()), key=contents.natural):
        checkpoints += [path for path in (inner, inner / "main") if path.is_dir() and contents.is_one(path)][:1]
    if not checkpoints:
        raise UserError(f"{folder} has no checkpoint: give files that end in {', '.join(contents.SUFFIXES)}")
    return best or checkpoints


def _ticket(network: Network, prunable: Sequence[str]) -> Ticket:
    notes = [*network.notes, *sparsity.notes(network, prunable)]
    origin = {**network.origin, "read": {**network.origin["read"], "notes": notes}}
    try:
        return Ticket(network.weights, sparsity.masks(network, prunable), 0, origin)
    except UserError as error:
        raise UserError(f"{network.where} gives no ticket: {error}") from error


def _several(names: Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)

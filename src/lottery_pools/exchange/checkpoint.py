"""One checkpoint as its network has it by itself: without wrappers and reparametrisation, its masks applied."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lottery_pools.errors import UserError, naming
from lottery_pools.exchange import bitmask, contents, names, normalisation, reparametrised, tied
from lottery_pools.exchange.contents import Contents
from lottery_pools.exchange.names import Renaming
from lottery_pools.tickets import masks as ticket_masks
from lottery_pools.tickets.ticket import check_fit

Place = str | os.PathLike[str]
"""The path of a checkpoint."""
Masks = Mapping[str, Tensor] | Place
"""Masks by name, or the file that holds them: not zero where a weight survives."""


@dataclass(frozen=True)
class Reading:
    """How checkpoints are read. What is left at its default is found out; `read` says what each option means."""

    model: nn.Module | None = None
    prunable: str | Iterable[str] | None = None
    dense: tuple[str, ...] = ()
    prefix: str | None = None
    leave_out: tuple[str, ...] = ()


AS_FOUND = Reading()
"""Everything is found out."""


@dataclass(frozen=True)
class Network:
    """One checkpoint under the names that its network has by itself."""

    where: str
    """The path, for messages."""
    weights: Mapping[str, Tensor]
    """Zero where a mask prunes them."""
    masks: Mapping[str, Tensor]
    """Bool, True where the weight survives. Only of the tensors for which the checkpoint has a mask."""
    ties: tuple[tuple[str, ...], ...] = ()
    """Groups of names that share one tensor."""
    notes: tuple[str, ...] = ()
    """What was inferred, a sentence each."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """For the ticket: which files were read; of a ticket of this package also its own origin."""


def network(path: Path, options: Reading = AS_FOUND, masks: Masks | None = None) -> Network:
    """Read one checkpoint.

    Args:
        path: A file, or a folder that is one checkpoint.
        options: The network's module, prefixes and tensors to leave out.
        masks: The masks, if they lie elsewhere.

    Raises:
        UserError: If there is no checkpoint, it would run code, is damaged or does not fit the module.
    """
    checkpoint = contents.contents(path)
    with naming(path):
        weights, stored_masks = bitmask.decoded(checkpoint.tensors)
        plain = reparametrised.plain(weights)
    renaming = _renaming(plain.weights, checkpoint, options)
    kept = {old: name for old, name in renaming.new.items() if not _matches(name, options.leave_out)}
    if not kept:
        raise UserError(f"{path} has no tensors left: leave_out takes them all")
    dropped = {name: plain.weights[old] for old, name in renaming.new.items() if old not in kept}
    weights = {name: plain.weights[old] for old, name in kept.items()}
    ties = tied.groups(weights, options.model)
    weights = tied.completed(weights, ties)
    if options.model is not None:
        weights = _fitting(weights, options.model, path)
    in_tensors = {kept[old]: mask for old, mask in {**stored_masks, **plain.masks}.items() if old in kept}
    beside = _under_names_of_weights({**_loaded(masks), **checkpoint.masks}, renaming, weights, path)
    all_masks = tied.shared_masks(in_tensors | beside, ties)
    return Network(
        where=str(path),
        weights=ticket_masks.apply(weights, all_masks),
        masks=all_masks,
        ties=tuple(ties),
        notes=(
            *checkpoint.notes,
            *plain.notes,
            *_notes_on_names(renaming, dropped, checkpoint.own_attribute),
            *filter(None, [normalisation.note(dropped)]),
            *_notes_on_pruned(weights, all_masks),
        ),
        origin={
            **checkpoint.origin,
            "read": {"file": "/".join(checkpoint.path.parts[-2:]), "digests": list(checkpoint.digests)},
        },
    )


def ordered_like(network: Network, first: Network) -> Network:
    """Put a network's tensors in the order of another one's.

    Raises:
        UserError: If the two are different networks; names the first tensor that differs.
    """
    for name in [*first.weights, *network.weights]:
        tensor, expected = network.weights.get(name), first.weights.get(name)
        if tensor is None or expected is None:
            has, lacks = (network, first) if expected is None else (first, network)
            raise UserError(f"{has.where} has {name!r} and {lacks.where} has not: give checkpoints of one network")
        if tensor.shape != expected.shape:
            raise UserError(
                f"{name!r} is {tuple(expected.shape)} in {first.where} and {tuple(tensor.shape)} in {network.where}: "
                "give checkpoints of one network"
            )
    return replace(network, weights={name: network.weights[name] for name in first.weights})


def _renaming(weights: Mapping[str, Tensor], checkpoint: Contents, options: Reading) -> Renaming:
    if not weights:
        raise UserError(f"{checkpoint.path} holds no tensors: give a checkpoint")
    if options.prefix is not None:
        return names.below(weights, options.prefix)
    if options.model is not None:
        return names.matched(weights, options.model)
    return names.stripped(weights, checkpoint.own_attribute)


def _notes_on_names(renaming: Renaming, left_out: Iterable[str], own_attribute: bool) -> list[str]:
    notes = []
    if renaming.removed:
        notes.append(f"taken out of the names: {', '.join(renaming.removed)}")
    elif own_attribute and (prefix := names.most_common_first_part(renaming.new.values())):
        notes.append(f"most names begin with {prefix!r}, not all: to take only these, give prefix={prefix!r} or model=")
    if renaming.beside:
        notes.append(f"beside the network and left out: {', '.join(renaming.beside)}")
    if dropped := list(left_out):
        notes.append(f"left out: {', '.join(dropped)}")
    return notes


def _notes_on_pruned(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> list[str]:
    count = sum(int((weights[name] * ~mask).count_nonzero()) for name, mask in masks.items())
    return [f"{count} pruned weights, which masks hide, were set to zero"] if count else []


def _loaded(masks: Masks | None) -> Mapping[str, Tensor]:
    if masks is None or isinstance(masks, Mapping):
        return masks or {}
    return contents.named_tensors(Path(masks))


def _under_names_of_weights(
    masks: Mapping[str, Tensor], renaming: Renaming, weights: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Masks from elsewhere, as bool, under the names of their weights; raises UserError if one has none."""
    renamed = {}
    for given_name, mask in masks.items():
        name = given_name.removesuffix("_mask")
        spellings = (name, renaming.new.get(name), names.stripped([name]).new[name])
        target = next((spelling for spelling in spellings if spelling in weights), None)
        if target is None:
            raise UserError(f"the mask {given_name!r} has no tensor in {path}: give the mask of this network")
        if mask.shape != weights[target].shape or not bool(((mask == 0) | (mask == 1)).all()):
            raise UserError(
                f"the mask {given_name!r} is {mask.dtype} {tuple(mask.shape)}: its tensor needs zeros and ones of "
                f"shape {tuple(weights[target].shape)}"
            )
        renamed[target] = mask != 0
    return renamed


def _fitting(weights: Mapping[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The weights in the order of the model's tensors; raises UserError if they are not its tensors."""
    template = model.state_dict()
    surplus = [name for name in weights if name not in template]
    if computed := next((name for name in surplus if _is_computed(name, template)), None):
        raise UserError(
            f"the model computes {computed!r} from other tensors: give it without parametrisations and torch.nn.utils."
            "prune (remove_parametrizations, prune.remove)"
        )
    if surplus and all(name in weights for name in template):
        raise UserError(
            f"{path} has {surplus[0]!r}, the model does not: leave it out with leave_out=[{surplus[0]!r}], if the "
            "model does without it"
        )
    check_fit(model, {name: tuple(tensor.shape) for name, tensor in weights.items()}, f"the tensors of {path}")
    return {name: weights[name] for name in template}


def _is_computed(name: str, template: Mapping[str, Tensor]) -> bool:
    """Whether a model with these tensors computes the tensor called `name` from others."""
    module, dot, attribute = name.rpartition(".")
    parametrised = f"{module}{dot}parametrizations.{attribute}."
    return f"{name}_orig" in template or any(stored.startswith(parametrised) for stored in template)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

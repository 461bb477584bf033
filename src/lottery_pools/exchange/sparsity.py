"""Which tensors of some checkpoints are pruned, and by which masks. What is pruned and not named is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.exchange.checkpoint import AS_FOUND, Network, Reading
from lottery_pools.models import registry
from lottery_pools.tickets import masks as ticket_masks
from lottery_pools.tickets.masks import SPARSE, share_of_zeros

_RULES = ("convolutions", "convolutions+linear")


def prunable_names(networks: Sequence[Network], options: Reading = AS_FOUND) -> list[str]:
    """The tensors in which checkpoints of one network are pruned, in the order of their tensors.

    They are those that `options.prunable` names. If it names none, they are those for which any checkpoint has a mask;
    if none has one, those that are sparse in any checkpoint. A tied tensor is there under all its names.

    Raises:
        UserError: If nothing is pruned, a name is unknown, or a tensor is sparse and not among those named.
    """
    weights = networks[0].weights
    masked = {name for network in networks for name in network.masks}
    sparse_in = {name: network for network in networks for name in _sparse(network, options.dense)}
    if options.prunable is not None:
        chosen = set(_matching(options.prunable, weights, options.model))
    else:
        chosen = masked or set(sparse_in)
    chosen |= {name for names in networks[0].ties if chosen.intersection(names) for name in names}
    if not chosen:
        raise UserError(
            f"{networks[0].where} has no mask, and no tensor of it has zeros: name the tensors that are prunable, with "
            "prunable=[...]"
        )
    for name in weights:
        if name in sparse_in and name not in chosen:
            network = sparse_in[name]
            raise UserError(
                f"{name!r} of {network.where} has {share_of_zeros(network.weights[name]):.0%} zeros and is not among "
                "the prunable tensors, so it would not stay pruned: add it with prunable=[...], or say that its zeros "
                "are no pruning, with dense=[...]"
            )
    return [name for name in weights if name in chosen]


def masks(network: Network, names: Iterable[str]) -> dict[str, Tensor]:
    """The masks of these tensors: the checkpoint's, or if it has none, True where the weight is not zero."""
    names = list(names)
    from_zeros = ticket_masks.from_zeros(network.weights, [name for name in names if name not in network.masks])
    return {name: network.masks[name] if name in network.masks else from_zeros[name] for name in names}


def notes(network: Network, names: Sequence[str]) -> list[str]:
    """What was inferred about the masks of one checkpoint, a sentence each."""
    given = [name for name in names if name in network.masks]
    inferred = [name for name in names if name not in network.masks]
    dense = [name for name, tensor in network.weights.items() if name not in names and _may_be_pruned(tensor)]
    few_zeros = [name for name in dense if 0 < share_of_zeros(network.weights[name]) <= SPARSE]
    told = (
        ("masks in the checkpoint", given),
        ("masks from exact zeros", inferred),
        ("not pruned", dense),
        ("some zeros, taken for weights", few_zeros),
    )
    return [f"{words}: {_listed(tensors)}" for words, tensors in told if tensors]


def _matching(chosen: str | Iterable[str], weights: Mapping[str, Tensor], model: nn.Module | None) -> list[str]:
    """The tensors that names, patterns or rules choose; raises UserError if one chooses none."""
    parts = [part.strip() for part in chosen.split(",")] if isinstance(chosen, str) else list(chosen)
    if model is not None:
        return [name for part in parts for name in registry.prunable(model, part)]
    for part in parts:
        if part in _RULES:
            raise UserError(f"prunable {part!r} needs the network: give model=, or names or patterns")
        if not any(fnmatchcase(name, part) for name in weights):
            example = next((name for name, tensor in weights.items() if _may_be_pruned(tensor)), "none")
            raise UserError(f"prunable {part!r} matches no tensor of the checkpoint: one of its tensors is {example!r}")
    return [name for name in weights if any(fnmatchcase(name, part) for part in parts)]


def _sparse(network: Network, dense: Sequence[str]) -> list[str]:
    """The tensors that are pruned, by a mask or by their zeros, except those said to be dense."""
    pruned = {name for name, mask in network.masks.items() if not mask.all()}
    weights = {name: weight for name, weight in network.weights.items() if _may_be_pruned(weight)}
    pruned |= {name for name, weight in weights.items() if share_of_zeros(weight) > SPARSE}
    return [name for name in pruned if not any(fnmatchcase(name, pattern) for pattern in dense)]


def _may_be_pruned(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() > 0


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

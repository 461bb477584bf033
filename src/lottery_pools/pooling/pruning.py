"""Prune a mixture back: exactly as many weights as the target keeps, by a rule of which are kept first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn

from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.tickets import masks
from lottery_pools.tickets.ticket import Ticket

Scope = Literal["global", "layer"]
"""Whether weights are ranked over the whole network or tensor by tensor."""
MaskRule = Literal["magnitude", "target", "union", "intersection"]
"""Which weights a mixture keeps first: its largest, the target's, or those in any or in all of the merged masks."""
Tied = Sequence[Sequence[str]]
"""Groups of names under which a module has one and the same tensor."""


def within(weights: Tensors, mask: Tensors) -> bool:
    """Whether all weights outside `mask` are zero."""
    outside = [(weights[name] != 0).logical_and_(~kept.to(weights[name].device)).any() for name, kept in mask.items()]
    return not outside or not bool(torch.stack([flag.to(outside[0].device) for flag in outside]).any())


def preferred(rule: MaskRule, target: Tensors, merged_masks: Iterable[Tensors]) -> Tensors | None:
    """The mask whose weights a mixture keeps before all others; none where the rule prefers no weights.

    Args:
        rule: see `MaskRule`.
        target: the target's mask.
        merged_masks: the masks of the networks that went into the mixture.
    """
    if rule == "magnitude":
        return None
    if rule == "target":
        return target
    join = torch.logical_or if rule == "union" else torch.logical_and
    return reduce(lambda a, b: {name: join(mask, b[name].to(mask.device)) for name, mask in a.items()}, merged_masks)


def tied_names(model: nn.Module, names: Iterable[str]) -> Tied:
    """Groups of two and more of `names` under which the module has one and the same parameter."""
    wanted, groups = set(names), dict[nn.Parameter, list[str]]()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in wanted:
            groups.setdefault(parameter, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def prune_back(weights: Tensors, ticket: Ticket, scope: Scope = "global") -> dict[str, Tensor]:
    """The largest weights by magnitude, exactly as many as `ticket` keeps: over the network, or tensor by tensor."""
    return masks.apply(weights, back_mask(weights, ticket, scope))


def back_mask(
    weights: Tensors, ticket: Ticket, scope: Scope = "global", first: Tensors | None = None, tied: Tied = ()
) -> dict[str, Tensor]:
    """The mask of exactly as many weights as `ticket` keeps, over the network or tensor by tensor.

    Args:
        weights: the mixture, name → tensor.
        ticket: the target.
        scope: see `Scope`.
        first: the mask whose weights come before all others, the larger before the smaller; none: all are alike.
        tied: names of one tensor. It is ranked once, has one mask under all its names, and counts once a name.
    """
    copies = {group[0]: len(group) for group in tied}
    duplicates = {name: group[0] for group in tied for name in group[1:]}
    scores = masks.magnitude(weights, {name: mask for name, mask in ticket.mask.items() if name not in duplicates})
    if first is None:
        first = masks.dense(weights, scores)
    first = {name: first[name].to(score.device) for name, score in scores.items()}
    kept: Mapping[str, int] = {name: int(ticket.mask[name].sum()) for name in scores}
    groups = [list(scores)] if scope == "global" and not tied else [[name] for name in scores]
    if scope == "global" and tied:
        kept = _counts_with_tied(scores, first, kept, copies)
    result: dict[str, Tensor] = {}
    for group in groups:
        keep = sum(kept[name] for name in group)
        result |= _largest({name: scores[name] for name in group}, {name: first[name] for name in group}, keep)
    return {name: result[duplicates.get(name, name)] for name in ticket.mask}


def _counts_with_tied(
    scores: Tensors, first: Tensors, kept: Mapping[str, int], copies: Mapping[str, int]
) -> Mapping[str, int]:
    """How many weights of each tensor to keep, so that the count over all names is exactly the target's.

    Weights are taken by their rank over the whole network. A tied one counts as often as it has names, and is passed
    over where that would exceed the count. Where that cannot be exact, every tensor keeps as many as in the target.

    Args:
        scores: of each tensor, under its first name.
        first: the weights that come before all others.
        kept: how many weights of each tensor the target keeps.
        copies: how many names a tensor has, where more than one.
    """
    device = next(iter(scores.values())).device
    sizes = torch.tensor([score.numel() for score in scores.values()])
    tensor_of = torch.arange(len(scores)).repeat_interleave(sizes)
    costs = torch.tensor([copies.get(name, 1) for name in scores])[tensor_of]
    score = torch.cat([score.to(device).flatten() for score in scores.values()]).cpu()
    is_first = torch.cat([mask.to(device).flatten() for mask in first.values()]).cpu()
    order = score.argsort(descending=True, stable=True)
    order = order[is_first[order].int().argsort(descending=True, stable=True)]
    left = sum(kept[name] * copies.get(name, 1) for name in scores)
    taken = int((costs[order].cumsum(0) <= left).sum())
    chosen = order[:taken].tolist()
    left -= int(costs[order[:taken]].sum())
    for place in order[taken:].tolist():
        if left == 0:
            break
        if (cost := int(costs[place])) <= left:
            chosen.append(place)
            left -= cost
    if left:
        return kept
    counts = tensor_of[torch.tensor(chosen, dtype=torch.int64)].bincount(minlength=len(scores))
    return dict(zip(scores, counts.tolist(), strict=True))


def _largest(scores: Tensors, first: Tensors, keep: int) -> dict[str, Tensor]:
    """The mask of the `keep` highest scores, those in `first` before all others."""
    if (more := keep - masks.count(first)[0]) > 0:
        rest = masks.prune(scores, {name: ~mask for name, mask in first.items()}, more)
        return {name: mask | rest[name] for name, mask in first.items()}
    return masks.prune(scores, first, keep) if keep else {name: torch.zeros_like(mask) for name, mask in first.items()}

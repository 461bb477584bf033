"""The value that everything is about: a trained sparse network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.tickets import masks

WRAPPERS = ("module.", "_orig_mod.")
"""What (Distributed)DataParallel and torch.compile put before the names of what they wrap."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """A trained sparse network: weights, mask, level and where it came from.

    `weights` maps every name of the module's `state_dict` (parameters and buffers) to its tensor; `mask` maps each
    prunable tensor to a bool tensor of the same shape, True where the weight survives. Both may read from a file on
    demand (`files.load`), so that many tickets cost no memory. Pruned weights are zero.

    Raises UserError where something is no tensor, the mask does not fit the weights, or a pruned weight is not zero.
    """

    weights: Mapping[str, Tensor]
    mask: Mapping[str, Tensor]
    level: int
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Plain values: model, config identity, seed, parents, recipe."""

    def __post_init__(self) -> None:
        if not self.mask:
            raise UserError(f"ticket of level {self.level} has an empty mask: name at least one prunable tensor")
        for tensors in (self.weights, self.mask):
            shapes(tensors)
        for name, mask in self.mask.items():
            if name not in self.weights:
                raise UserError(f"mask {name!r} of the ticket of level {self.level} has no tensor of that name")
            weight = self.weights[name]
            if mask.shape != weight.shape or mask.dtype != torch.bool:
                raise UserError(
                    f"mask {name!r} of the ticket of level {self.level} is {mask.dtype} {tuple(mask.shape)}: "
                    f"its tensor needs a torch.bool mask of shape {tuple(weight.shape)}"
                )
            if left := int((weight != 0).logical_and_(~mask.to(weight.device)).sum()):
                raise UserError(
                    f"{left} pruned weights of {name!r} of the ticket of level {self.level} are not zero: "
                    "multiply the weights by the mask (masks.apply) first"
                )

    @cached_property
    def _count(self) -> tuple[int, int]:
        return masks.count(self.mask)

    @property
    def kept(self) -> int:
        """Surviving prunable weights."""
        return self._count[0]

    @property
    def prunable(self) -> int:
        """Prunable weights, surviving or not."""
        return self._count[1]

    @property
    def density(self) -> float:
        """Surviving / prunable weights."""
        return self.kept / self.prunable


def load_into(model: nn.Module, weights: Mapping[str, Tensor], whose: str = "the weights") -> None:
    """Copy `weights` into `model`; raises UserError naming the first tensor that differs, with both shapes."""
    check_fit(model, shapes(weights), whose)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            tensor.copy_(weights[name])


def shapes(weights: Mapping[str, Tensor]) -> Mapping[str, tuple[int, ...]]:
    """Name → shape; of a file's tensors without reading them. Raises UserError where one is no tensor."""
    known: Mapping[str, tuple[int, ...]] | None = getattr(weights, "shapes", None)
    if known is not None:
        return known
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise UserError(
                f"{name!r} is {type(tensor).__name__}, no tensor: give a state_dict, or bool tensors as mask"
            )
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def check_fit(model: nn.Module, shapes: Mapping[str, tuple[int, ...]], whose: str) -> None:
    """Raise UserError naming the first tensor of `shapes` that is not as in `model`, with both shapes."""
    template = model.state_dict()
    for name, tensor in template.items():
        if name not in shapes:
            if wrapper := next((prefix for prefix in WRAPPERS if prefix + name in shapes), None):
                raise UserError(
                    f"{whose} have {wrapper + name!r} where the model has {name!r}: strip {wrapper!r}, which a wrapper "
                    "such as DataParallel put there, from all names"
                )
            raise UserError(f"{whose} lack {name!r} {tuple(tensor.shape)}: they belong to another model")
        if tuple(shapes[name]) != tuple(tensor.shape):
            raise UserError(
                f"{name!r} is {tuple(shapes[name])} in {whose} and {tuple(tensor.shape)} in the model: "
                "give the model, with the arguments, that they were trained with"
            )
    for name in shapes:
        if name not in template:
            raise UserError(
                f"{whose} have {name!r} {tuple(shapes[name])}, the model does not: give the model they are of"
            )


def aliased(weights: Mapping[str, Tensor], model: nn.Module) -> set[str]:
    """The names of the tensors that lie in the model's own memory, so that loading others into it changes them."""
    if getattr(weights, "shapes", None) is not None:  # read from a file each time
        return set()
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values() if tensor.numel()}
    return {name for name, tensor in weights.items() if tensor.untyped_storage().data_ptr() in own}


def without_aliases(weights: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The weights, those copied that are `aliased` with the model."""
    taken = aliased(weights, model)
    return {name: t.detach().clone() if name in taken else t for name, t in weights.items()} if taken else weights


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's parameters and buffers, in ordinary memory layout."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }

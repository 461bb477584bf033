"""A ticket, which is a trained sparse network, as a value; and how its tensors are checked, copied and loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError
from lottery_pools.tickets import masks

WRAPPER_PREFIXES = ("module.", "_orig_mod.")
"""What (Distributed)DataParallel and torch.compile put before the names of the tensors of the module they wrap."""

Shapes = Mapping[str, tuple[int, ...]]
"""Name → shape of a tensor."""


class LazyTensors(Mapping[str, Tensor]):
    """Name → tensor, where a tensor is read each time it is asked for, so that the mapping itself costs no memory.

    The shapes are known without reading a tensor. A tensor that was read shares memory with nothing.

    Args:
        shapes: The shape of every tensor.
        read: Reads the tensor of a name.
    """

    def __init__(self, shapes: Shapes, read: Callable[[str], Tensor]) -> None:
        self.shapes, self._read = shapes, read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@dataclass(frozen=True, eq=False)
class Ticket:
    """A trained sparse network: its weights, its mask, its level, and where it came from.

    `weights` and `mask` may be read from a file on demand, as those of `lp.load` are, so that many tickets cost no
    memory.

    Raises:
        UserError: If something among the weights or masks is no tensor, a mask does not fit its weight, there is no
            mask at all, or a pruned weight is not zero.

    Example:
        ```python
        weights = {"layer.weight": torch.tensor([0.5, 0.0, -2.0]), "layer.bias": torch.zeros(1)}
        mask = {"layer.weight": torch.tensor([True, False, True])}
        ticket = lp.Ticket(weights, mask, level=1)
        ticket.kept, ticket.prunable  # (2, 3)
        ```
    """

    weights: Mapping[str, Tensor]
    """Every name of the module's `state_dict` (parameters and buffers) → its tensor. Pruned weights are zero."""
    mask: Mapping[str, Tensor]
    """The name of each prunable tensor → a bool tensor of the same shape, True where the weight survives."""
    level: int
    """Rounds of pruning so far; 0 is the dense network."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where it came from, in values that JSON can hold: settings, seed, model; parents and recipe if it was pooled."""

    def __post_init__(self) -> None:
        if not self.mask:
            raise UserError(f"ticket of level {self.level} has an empty mask: name at least one prunable tensor")
        for tensors in (self.weights, self.mask):
            shapes(tensors)
        for name, mask in self.mask.items():
            if name not in self.weights:
                raise UserError(f"mask {name!r} of the ticket of level {self.level} has no tensor of that name")
            self._check_mask(name, mask, self.weights[name])

    def _check_mask(self, name: str, mask: Tensor, weight: Tensor) -> None:
        if mask.shape != weight.shape or mask.dtype != torch.bool:
            raise UserError(
                f"mask {name!r} of the ticket of level {self.level} is {mask.dtype} {tuple(mask.shape)}: "
                f"its tensor needs a torch.bool mask of shape {tuple(weight.shape)}"
            )
        if not_zero := int((weight != 0).logical_and_(~mask.to(weight.device)).sum()):
            raise UserError(
                f"{not_zero} pruned weights of {name!r} of the ticket of level {self.level} are not zero: "
                "multiply the weights by the mask (masks.apply) first"
            )

    @cached_property
    def _count(self) -> tuple[int, int]:
        return masks.count(self.mask)

    @property
    def kept(self) -> int:
        """The number of surviving prunable weights."""
        return self._count[0]

    @property
    def prunable(self) -> int:
        """The number of prunable weights, surviving or not."""
        return self._count[1]

    @property
    def density(self) -> float:
        """Surviving / prunable weights, from 0 to 1."""
        return self.kept / self.prunable


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's parameters and buffers by name, in ordinary (contiguous) memory layout."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }


def load_into(model: nn.Module, weights: Mapping[str, Tensor], whose: str = "the weights") -> None:
    """Copy `weights` into the parameters and buffers of `model`.

    Args:
        model: The model; each tensor keeps its memory layout and device.
        weights: A tensor for each name of the model's `state_dict`, and no others.
        whose: What a message calls the weights.

    Raises:
        UserError: As `check_fit`; then nothing has been copied.
    """
    check_fit(model, shapes(weights), whose)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            tensor.copy_(weights[name])


def shapes(weights: Mapping[str, Tensor]) -> Shapes:
    """Name → shape, without reading tensors that are read on demand. Raises UserError where a value is no tensor."""
    if isinstance(weights, LazyTensors):
        return weights.shapes
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise UserError(
                f"{name!r} is {type(tensor).__name__}, no tensor: give a state_dict, or bool tensors as mask"
            )
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def check_fit(model: nn.Module, shapes: Shapes, whose: str) -> None:
    """Raise UserError if tensors of these names and shapes are not what `model` has.

    The message names the first tensor that differs, with both shapes; it calls the tensors `whose`.
    """
    in_model = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in in_model.items():
        if name not in shapes:
            if prefix := next((prefix for prefix in WRAPPER_PREFIXES if prefix + name in shapes), None):
                raise UserError(
                    f"{whose} have {prefix + name!r} where the model has {name!r}: strip {prefix!r}, which a wrapper "
                    "such as DataParallel put there, from all names"
                )
            raise UserError(f"{whose} lack {name!r} {shape}: they belong to another model")
        if tuple(shapes[name]) != shape:
            raise UserError(
                f"{name!r} is {tuple(shapes[name])} in {whose} and {shape} in the model: "
                "give the model, with the arguments, that they were trained with"
            )
    for name in shapes:
        if name not in in_model:
            raise UserError(
                f"{whose} have {name!r} {tuple(shapes[name])}, the model does not: give the model they are of"
            )


def aliased(weights: Mapping[str, Tensor], model: nn.Module) -> set[str]:
    """The names of the weights that share memory with `model`, so that to load others into it changes them."""
    if isinstance(weights, LazyTensors):
        return set()
    in_model = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values() if tensor.numel()}
    return {name for name, tensor in weights.items() if tensor.untyped_storage().data_ptr() in in_model}


def without_aliases(weights: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The weights, with copies in place of those that share memory with `model`; as they are where none does."""
    names = aliased(weights, model)
    if not names:
        return weights
    return {name: tensor.detach().clone() if name in names else tensor for name, tensor in weights.items()}

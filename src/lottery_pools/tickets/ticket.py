"""A ticket, which is a trained sparse network, as a value; and how its tensors are checked, copied and loaded."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lottery_pools.errors import UserError
from lottery_pools.tickets import wrappers
from lottery_pools.tickets.identity import changes_in_place, tensors_digest
from lottery_pools.tickets.origin import check_known, plain

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
            mask at all, a pruned weight is not zero, a weight under a mask is NaN or infinite, the weights still are in
            two parts of `torch.nn.utils.prune`, the level is no whole number, or the origin has a value that JSON
            cannot hold.

    Example:
        ```python
        weights = {"layer.weight": torch.tensor([0.5, 0.0, -2.0]), "layer.bias": torch.zeros(1)}
        mask = {"layer.weight": torch.tensor([True, False, True])}
        ticket = lp.Ticket(weights, mask, level=1)
        ticket.kept, ticket.prunable  # (2, 3)
        ```
    """

    weights: Mapping[str, Tensor] = field(repr=False)
    """Every name of the module's `state_dict` (parameters and buffers) → its tensor. Pruned weights are zero."""
    mask: Mapping[str, Tensor] = field(repr=False)
    """The name of each prunable tensor → a bool tensor of the same shape, True where the weight survives."""
    level: int
    """Rounds of pruning so far; 0 is the dense network. A number of NumPy becomes an int."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where it came from, in values that JSON can hold: settings, seed, model; parents and recipe if it was pooled.
    Numbers of NumPy become plain numbers."""
    kept: int = field(init=False)
    """The number of surviving prunable weights."""
    prunable: int = field(init=False)
    """The number of prunable weights, surviving or not."""
    _digest: tuple[tuple[int, ...] | None, str] | None = field(default=None, init=False, repr=False)
    """What `digest` was, and how often each tensor had been changed in place then."""

    def __post_init__(self) -> None:
        self._set_plain_values()
        if not self.mask:
            raise UserError(f"ticket of level {self.level} has an empty mask: name at least one prunable tensor")
        for tensors in (self.weights, self.mask):
            shapes(tensors)
        self._check_reparametrised()
        kept = prunable = 0
        for name, mask in self.mask.items():
            if name not in self.weights:
                raise UserError(f"mask {name!r} of the ticket of level {self.level} has no tensor of that name")
            self._check_mask(name, mask, self.weights[name])
            kept, prunable = kept + int(mask.sum()), prunable + mask.numel()
        object.__setattr__(self, "kept", kept)
        object.__setattr__(self, "prunable", prunable)

    def _set_plain_values(self) -> None:
        """Make level and origin what a file can hold."""
        try:
            object.__setattr__(self, "level", operator.index(self.level))
        except TypeError as error:
            raise UserError(f"the level of a ticket is {self.level!r}: give a whole number") from error
        try:
            origin = plain(self.origin)
            check_known(origin)
        except ValueError as error:
            raise UserError(f"the origin of the ticket of level {self.level} has {error}: leave it out") from error
        object.__setattr__(self, "origin", origin)

    def _check_reparametrised(self) -> None:
        for name in self.weights:
            pruned = name.removesuffix("_orig")
            mask = f"{pruned}_mask"
            if pruned != name and mask in self.weights:
                raise UserError(
                    f"the ticket of level {self.level} has {name!r} and {mask!r} of torch.nn.utils.prune: call "
                    f"prune.remove(module, {pruned.rpartition('.')[2]!r}) on each pruned module before taking its "
                    f"state_dict, or give their product as {pruned!r}"
                )

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
        if not_finite := int((~weight.isfinite()).sum()):
            raise UserError(
                f"{not_finite} weights of {name!r} of the ticket of level {self.level} are NaN or infinite: leave that "
                "ticket out, and train it with a lower learning rate"
            )

    @property
    def density(self) -> float:
        """Surviving / prunable weights, from 0 to 1, by the mask."""
        return self.kept / self.prunable

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell its weights and masks from others.

        They are computed once, and again where a tensor of the weights was changed in place.
        """
        in_file = isinstance(self.weights, LazyTensors)
        changes = () if in_file else changes_in_place(self.weights.values())
        if changes is None or self._digest is None or self._digest[0] != changes:
            object.__setattr__(self, "_digest", (changes, tensors_digest(self.weights, self.mask)))
        assert self._digest is not None
        return self._digest[1]

    @property
    def nonzero_density(self) -> float:
        """Prunable weights that are not zero / prunable weights, from 0 to 1.

        Less than `density` where the mask keeps weights that are zero, as in a pool of tickets that are all sparser
        than its mask.
        """
        return sum(int(self.weights[name].count_nonzero()) for name in self.mask) / self.prunable


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's parameters and buffers by name, in ordinary (contiguous) memory layout.

    Raises:
        UserError: As `tensors_of`; or if the model is on the device `meta`, where tensors have no values.
    """
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in _with_values(model).items()
    }


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's own parameters and buffers by name, as its `state_dict` has them, not copied.

    Raises:
        UserError: If a module has extra state (`get_extra_state`), which is nothing that can be averaged, and which
            copying tensors into a model would not set; or a lazy module has no shape yet.
    """
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if is_lazy(tensor):
            raise UserError(
                f"{name!r} of the model has no shape yet: call the model once on a batch of inputs, which gives its "
                "lazy modules their shapes"
            )
        if name.rpartition(".")[2] == "_extra_state" or not isinstance(tensor, Tensor):
            raise UserError(
                f"the model has the extra state {name!r} ({type(tensor).__name__}), which tickets cannot hold: give a "
                "model whose modules have no get_extra_state, and keep what it returns elsewhere"
            )
    return state


def load_into(model: nn.Module, weights: Mapping[str, Tensor], whose: str = "the weights") -> None:
    """Copy `weights` into the parameters and buffers of `model`.

    Args:
        model: The model; each tensor keeps its memory layout and device.
        weights: A tensor for each name of the model's `state_dict`, and no others.
        whose: What a message calls the weights.

    Raises:
        UserError: As `check_fit`, or if the model is on the device `meta`; then nothing has been copied.
    """
    tensors = _with_values(model)
    _check_fit(tensors, shapes(weights), whose)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(weights[name])


def _with_values(model: nn.Module) -> dict[str, Tensor]:
    """As `tensors_of`; raises UserError if one of them is on the device `meta`."""
    tensors = tensors_of(model)
    name = next((name for name, tensor in tensors.items() if tensor.is_meta), None)
    if name is not None:
        raise UserError(
            f"{name!r} of the model is on the device meta, where tensors have no values: give a model on a device that "
            "holds some, as model.to_empty(device='cpu') makes it"
        )
    return tensors


def shapes(weights: Mapping[str, Tensor]) -> Shapes:
    """Name → shape, without reading tensors that are read on demand.

    Raises UserError where the weights are no mapping, a value is no tensor or a tensor without values (lazy, or on the
    device `meta`), or a name no text.
    """
    if isinstance(weights, LazyTensors):
        return weights.shapes
    if not isinstance(weights, Mapping):
        raise UserError(
            f"{type(weights).__name__} is no mapping of names to tensors: give a state_dict, or a dict of masks"
        )
    for name, tensor in weights.items():
        if not isinstance(name, str):
            raise UserError(f"{name!r} is {type(name).__name__}, no name of a tensor: give a state_dict")
        if not isinstance(tensor, Tensor):
            raise UserError(
                f"{name!r} is {type(tensor).__name__}, no tensor: give a state_dict, or bool tensors as mask"
            )
        if is_lazy(tensor) or tensor.is_meta:
            raise UserError(
                f"{name!r} has no values ({'it is on the device meta' if tensor.is_meta else 'it is lazy'}): "
                "give the state_dict of a network that holds its weights"
            )
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


class MisfitError(UserError):
    """Tensors are not those of a model."""


def check_fit(model: nn.Module, shapes: Shapes, whose: str) -> None:
    """Raise MisfitError if tensors of these names and shapes are not what `model` has.

    The message names the first tensor that differs, with both shapes; it calls the tensors `whose`. If names differ by
    what wrappers such as DataParallel put there, it says so.
    """
    _check_fit(tensors_of(model), shapes, whose)


def _check_fit(tensors: Mapping[str, Tensor], shapes: Shapes, whose: str) -> None:
    """As `check_fit`, of a model with these tensors."""
    in_model = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name, shape in in_model.items():
        if name not in shapes:
            reason = wrappers.misfit(name, whose, shapes) or wrappers.inner(list(in_model), whose, list(shapes))
            raise MisfitError(reason or f"{whose} lack {name!r} {shape}: they belong to another model")
        if tuple(shapes[name]) != shape:
            raise MisfitError(
                f"{name!r} is {tuple(shapes[name])} in {whose} and {shape} in the model: "
                "give the model, with the arguments, that they were trained with"
            )
    for name in shapes:
        if name not in in_model:
            raise MisfitError(
                f"{whose} have {name!r} {tuple(shapes[name])}, the model does not: give the model they are of"
            )


def aliased(weights: Mapping[str, Tensor], model: nn.Module) -> set[str]:
    """The names of the weights that share memory with `model`, so that to load others into it changes them."""
    if isinstance(weights, LazyTensors):
        return set()
    in_model = {tensor.untyped_storage().data_ptr() for tensor in tensors_of(model).values() if tensor.numel()}
    return {name for name, tensor in weights.items() if tensor.untyped_storage().data_ptr() in in_model}


def without_aliases(weights: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The weights, with copies in place of those that share memory with `model`; as they are where none does."""
    names = aliased(weights, model)
    if not names:
        return weights
    return {name: tensor.detach().clone() if name in names else tensor for name, tensor in weights.items()}

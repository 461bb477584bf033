"""Tensors that several names of a network share: each is one tensor, with one weight and one mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError


def groups(weights: Mapping[str, Tensor], model: nn.Module | None = None) -> list[tuple[str, ...]]:
    """The names of each tensor that has two or more: in the model, if it is given, else in the checkpoint.

    In a checkpoint, names are tied if their tensors lie in the same memory, as they do after `torch.load`.
    """
    names_of: dict[object, list[str]] = {}
    if model is not None:
        for name, parameter in model.named_parameters(remove_duplicate=False):
            names_of.setdefault(parameter, []).append(name)
    else:
        for name, tensor in weights.items():
            if tensor.numel():
                memory = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
                names_of.setdefault(memory, []).append(name)
    return [tuple(names) for names in names_of.values() if len(names) > 1]


def completed(weights: Mapping[str, Tensor], ties: Iterable[tuple[str, ...]]) -> dict[str, Tensor]:
    """Add the names that a file left out because another name has the same tensor, as Hugging Face's do.

    Raises:
        UserError: If two names of one tensor have different values.
    """
    complete = dict(weights)
    for names in ties:
        present = [name for name in names if name in weights]
        for name in present[1:]:
            if not torch.equal(weights[name], weights[present[0]]):
                raise UserError(
                    f"{name!r} and {present[0]!r} are one tied tensor in the model and differ in the checkpoint: "
                    "give the model that it is of"
                )
        if present:
            complete |= {name: weights[present[0]] for name in names if name not in weights}
    return complete


def shared_masks(masks: Mapping[str, Tensor], ties: Iterable[tuple[str, ...]]) -> dict[str, Tensor]:
    """Put each mask under all names of its tensor.

    Raises:
        UserError: If two names of one tensor have different masks.
    """
    shared = dict(masks)
    for names in ties:
        masked = [name for name in names if name in masks]
        for name in masked[1:]:
            if not torch.equal(masks[name], masks[masked[0]]):
                raise UserError(f"{name!r} and {masked[0]!r} are one tied tensor with two masks: give one")
        if masked:
            shared |= dict.fromkeys(names, masks[masked[0]])
    return shared

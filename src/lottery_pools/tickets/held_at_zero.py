"""Pruned weights stay exactly zero while code that is not ours trains a network, with whatever optimizer it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from lottery_pools.errors import UserError


@contextmanager
def held_at_zero(model: nn.Module, mask: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which the pruned weights of a model do not train.

    Their gradients become zero as soon as they are computed, so that gradient norms and the state of optimizers are
    those of the surviving weights. After each step of any optimizer of `torch.optim`, or of a class derived from it,
    the weights are set to zero again, for momentum of earlier steps, noise, or updates that mix weights. The hooks do
    not belong to an optimizer: it may be made before or within the context. They are gone after the context.

    Args:
        model: The model that is trained within the context; its pruned weights are zero already.
        mask: The name of each prunable tensor → bool tensor of its shape, True where a weight survives.
    """
    pruned = {name: _OnDevice(~survives) for name, survives in mask.items() if not survives.all()}

    def after_step(*_: object) -> None:
        for name, is_pruned in pruned.items():
            parameter = _parameter(model, name)  # by name: moving a model may have replaced its parameters
            # Not through autograd: another loss of the same weights may be waiting for its backward pass.
            parameter.data.masked_fill_(is_pruned.on(parameter.device), 0)

    with ExitStack() as hooks:
        for name, is_pruned in pruned.items():
            parameter = model.get_parameter(name)
            if parameter.requires_grad:
                handle = parameter.register_hook(_zero_gradient(is_pruned))  # type: ignore[no-untyped-call]
                hooks.callback(handle.remove)
        hooks.callback(register_optimizer_step_post_hook(after_step).remove)
        yield


def check_held(model: nn.Module, mask: Mapping[str, Tensor], level: int) -> None:
    """Raise UserError if a pruned weight of the model is not zero after a level was trained."""
    for name, survives in mask.items():
        parameter = _parameter(model, name)
        if not_zero := int(torch.count_nonzero(parameter.detach().masked_fill(survives.to(parameter.device), 0))):
            raise UserError(
                f"{not_zero} pruned weights of {name!r} are not zero after the training of level {level}: it loaded "
                "weights of another network, or changed them without an optimizer of torch.optim; multiply them by "
                "the mask that it is given after each such change"
            )


def _parameter(model: nn.Module, name: str) -> nn.Parameter:
    """A parameter of the model, which it still must have under this name."""
    try:
        return model.get_parameter(name)
    except AttributeError as error:
        raise UserError(
            f"the model no longer has the parameter {name!r}, which is pruned: its training must not replace or rename "
            "parameters, as FSDP and torch.nn.utils.prune do"
        ) from error


class _OnDevice:
    """A mask, on the device where it was last used."""

    def __init__(self, mask: Tensor) -> None:
        self._mask = mask

    def on(self, device: torch.device) -> Tensor:
        if self._mask.device != device:
            self._mask = self._mask.to(device)
        return self._mask


def _zero_gradient(is_pruned: _OnDevice) -> Callable[[Tensor], Tensor]:
    """What autograd calls with the gradient of a parameter, and takes the gradient from."""

    def hook(gradient: Tensor) -> Tensor:
        if gradient.layout is not torch.strided:  # of an embedding with sparse=True: its weights are set to zero alone
            return gradient
        return gradient.masked_fill(is_pruned.on(gradient.device), 0)

    return hook

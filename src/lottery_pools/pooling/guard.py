"""What protects the caller's module: its modes come back, and neither a failed search nor a score changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lottery_pools.errors import UserError
from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.tickets.ticket import load_into, snapshot


@contextmanager
def restored_on_failure(model: nn.Module) -> Iterator[None]:
    """The module has its weights, buffers and modes back where the body raises anything, an interruption included."""
    weights, modes = snapshot(model), [(module, module.training) for module in model.modules()]
    try:
        yield
    except BaseException:
        load_into(model, weights)
        for module, mode in modes:
            module.training = mode
        raise


@contextmanager
def in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The module is in evaluation mode; its modes, and what the body changes of them, are as before on exit."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def check_unchanged(model: nn.Module, before: Tensors) -> None:
    """Raise UserError where a tensor of the module is no longer as it was before it was scored."""
    for name, tensor in model.state_dict().items():
        same = (tensor == before[name]) | ((tensor != tensor) & (before[name] != before[name]))  # NaN equals NaN
        if not bool(same.all()):
            raise UserError(
                f"score changed {name!r} of the model, so what it scored is not what is kept: call model.eval() in it "
                "and change no weights"
            )

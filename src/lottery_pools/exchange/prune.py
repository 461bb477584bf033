"""A ticket under `torch.nn.utils.prune`, for software that goes on from there: the reverse of reading one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn
from torch.nn.utils import prune

from lottery_pools.errors import UserError
from lottery_pools.tickets.ticket import Ticket, load_into

M = TypeVar("M", bound=nn.Module)


def to_prune(model: M, ticket: Ticket) -> M:
    """Load a ticket into the module, each of its masked tensors under `torch.nn.utils.prune.custom_from_mask`.

    Whatever trains the module then leaves pruned weights zero. `lp.read` reads the `state_dict` back; `prune.remove`
    makes the layers ordinary again.

    Args:
        model: The network that the ticket is of. It is changed in place.
        ticket: Its weights and masks.

    Returns:
        The same module.

    Raises:
        UserError: If the ticket does not fit the module, or the module is under `torch.nn.utils.prune` already.

    Example:
        ```python
        network = lp.to_prune(build(), lp.load("stronger.safetensors"))
        optimizer = torch.optim.SGD(network.parameters(), 0.01)  # … fine-tune as ever
        ticket = lp.read("tuned.pt")  # of torch.save(network.state_dict(), "tuned.pt")
        ```
    """
    is_pruned: Callable[[nn.Module], bool] = prune.is_pruned
    custom_from_mask: Callable[[nn.Module, str, Any], nn.Module] = prune.custom_from_mask
    if is_pruned(model):
        raise UserError("the model is under torch.nn.utils.prune already: call prune.remove on its layers first")
    load_into(model, ticket.weights, "the weights of the ticket")
    for name, mask in ticket.mask.items():
        module, _, attribute = name.rpartition(".")
        layer = model.get_submodule(module)
        custom_from_mask(layer, attribute, mask.to(layer.get_parameter(attribute).device))
    return model

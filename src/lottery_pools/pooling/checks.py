"""What a pool is given, checked before any work: tickets of one network, of one run, apart from the module's memory."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError, shown, unknown
from lottery_pools.pooling.arithmetic import Tensors
from lottery_pools.pooling.batchnorm import inputs_of, tracked
from lottery_pools.pooling.pruning import MaskRule, Scope
from lottery_pools.pooling.task import Samples
from lottery_pools.tickets.masks import SPARSE, share_of_zeros
from lottery_pools.tickets.ticket import Ticket, aliased, check_fit, shapes, without_aliases


def checked_tickets(
    model: nn.Module, tickets: Sequence[Ticket], target: int, allow_other_run: bool = False
) -> dict[int, Ticket]:
    """The tickets by level; those that share memory with the module are copied.

    Raises UserError unless all are tickets, levels differ, the target is there and all tickets are of one network.
    Where their origins tell, they must also be of one model, and of one run unless `allow_other_run`. Where two tickets
    share trained tensors with the module, they are one network, which is refused. So are tickets with parameters or
    BatchNorm statistics that are NaN or infinite.
    """
    _check_kinds(model, tickets, target)
    tickets = list(tickets)
    by_level: dict[int, Ticket] = {}
    for ticket in tickets:
        if not isinstance(ticket, Ticket):
            raise UserError(
                f"{shown(ticket, 40)} among the tickets is no ticket: make one of each file, by lp.read or lp.Ticket"
            )
        if ticket.level in by_level:
            raise UserError(f"two tickets have level {ticket.level}: give each a level of its own")
        by_level[ticket.level] = ticket
    target = operator.index(target)
    if target not in by_level:
        raise UserError(f"no ticket of level {target} to strengthen: the tickets have levels {sorted(by_level)}")
    if len(by_level) < 2:
        raise UserError("a pool of one ticket: give at least two tickets of one network")
    for ticket in tickets:
        _check_fits_target(model, ticket, by_level[target], allow_other_run)
    _check_parameters(model, by_level[target].mask)
    _check_numbers(model, by_level.values())
    _check_sparse_have_masks(model, by_level.values())
    return _copied_where_aliased(model, by_level)


def _check_kinds(model: nn.Module, tickets: Sequence[Ticket], target: int) -> None:
    """Raise UserError where one of the arguments is of another kind."""
    if not isinstance(model, nn.Module):
        given = "the class of a module" if isinstance(model, type) else f"a {type(model).__name__}"
        raise UserError(f"model is {given}: give a module, such as your network's class, called")
    if isinstance(tickets, Ticket) or not isinstance(tickets, Iterable):
        kind = "one ticket" if isinstance(tickets, Ticket) else f"a {type(tickets).__name__}"
        raise UserError(f"tickets is {kind}: give a list of two tickets or more, of one network")
    if isinstance(target, Ticket):
        raise UserError(f"target is a ticket: give its level, {target.level}")
    try:
        operator.index(target)
    except TypeError as error:
        raise UserError(f"target is {shown(target, 40)}: give the level of a ticket, a whole number") from error


def _check_numbers(model: nn.Module, tickets: Iterable[Ticket]) -> None:
    """Raise UserError where a number without a mask is NaN or infinite; those with one were checked with the ticket.

    A mixture of it would predict nothing, which scores do not always tell: the accuracy of NaN is that of chance.
    What is not trained may be infinite, as masks of attention are: parameters without gradients, and buffers but the
    statistics of BatchNorm.
    """
    statistics = {id(number) for layer in tracked(model) for number in (layer.running_mean, layer.running_var)}
    names = [name for name, _ in model.named_parameters()]
    names += [name for name, buffer in model.named_buffers() if id(buffer) in statistics]
    constants = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    for ticket in tickets:
        for name in (name for name in names if name not in ticket.mask):
            weight = ticket.weights[name]
            if count := int((weight.isnan() if name in constants else ~weight.isfinite()).sum()):
                raise UserError(
                    f"{count} numbers of {name!r} of the ticket of level {ticket.level} are NaN or infinite: leave "
                    "that ticket out, and train it with a lower learning rate"
                )


def _check_sparse_have_masks(model: nn.Module, tickets: Iterable[Ticket]) -> None:
    """Raise UserError where tickets have zeros at different places of a tensor without a mask.

    Such a tensor was pruned elsewhere, and a mixture of it would be denser.
    """
    first, *others = tickets
    names = [name for name, weight in model.named_parameters() if weight.ndim > 1 and name not in first.mask]
    for name in names:
        of_first = first.weights[name].cpu()
        for ticket in others:
            weight = ticket.weights[name].cpu()
            if torch.equal(weight == 0, of_first == 0):
                continue
            for sparse, other, tensor in ((ticket, first, weight), (first, ticket, of_first)):
                if SPARSE < (share := share_of_zeros(tensor)) < 1:
                    raise UserError(
                        f"{name!r} of the ticket of level {sparse.level} has {share:.0%} zeros, other ones than that "
                        f"of level {other.level}, and no mask, so it would not stay pruned: give all tickets its mask "
                        f"too, as lp.from_zeros(weights, [{name!r}]) makes it"
                    )


def checked_base(model: nn.Module, base: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
    """`base`, copied where it shares memory with the module; raises UserError where it does not fit."""
    if base is None:
        return None
    check_fit(model, shapes(base), "the weights of `base`")
    return without_aliases(base, model)


def checked_coefficients(coefficients: Iterable[float]) -> tuple[float, ...]:
    """The coefficients as floats; raises UserError unless there is one or more, all strictly between 0 and 1."""
    try:
        alphas = tuple(map(float, coefficients))
    except (TypeError, ValueError):
        alphas = ()
    if not alphas or not all(0 < alpha < 1 for alpha in alphas):
        raise UserError(
            f"coefficients are {coefficients}: give numbers strictly between 0 and 1, one or more in a list"
        )
    return alphas


def checked_samples(samples: Samples | None) -> Samples | None:
    """The same samples without what a loader of (inputs, labels) gives beside the inputs.

    A call raises UserError where they are no batches.
    """
    if samples is None:
        return None

    def batches() -> Iterator[Any]:
        given = samples()
        if isinstance(given, Tensor):
            shape = tuple(given.shape)
            raise UserError(f"samples() gave one tensor {shape}, of which each row would be a batch: return [batch]")
        try:
            return map(inputs_of, given)
        except TypeError as error:
            kind = type(given).__name__
            raise UserError(f"samples() gave a {kind}: return batches of inputs, such as a list of them") from error

    return batches


def check_functions(functions: Mapping[str, object]) -> None:
    """Raise UserError naming the first of these arguments that is given and cannot be called."""
    for name, function in functions.items():
        if function is not None and not callable(function):
            argument = "" if name == "samples" else "model"
            raise UserError(f"{name} is a {type(function).__name__}: give a function, called as {name}({argument})")


def check_rules(scope: str, mask: str) -> None:
    """Raise UserError where the scope or the mask rule is unknown."""
    if mask not in get_args(MaskRule):
        raise unknown("mask rule", mask, get_args(MaskRule))
    if scope not in get_args(Scope):
        raise unknown("scope", scope, get_args(Scope))


def check_at_least_one(name: str, value: int | None) -> None:
    """Raise UserError where a number is given and below 1."""
    if value is not None and value < 1:
        raise UserError(f"{name} is {value}: give 1 or more, or leave it out")


def _copied_where_aliased(model: nn.Module, by_level: Mapping[int, Ticket]) -> dict[int, Ticket]:
    trained = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    live = [level for level, ticket in by_level.items() if trained & aliased(ticket.weights, model)]
    if len(live) > 1:
        raise UserError(
            f"the tickets of levels {live[0]} and {live[1]} both hold the model's own tensors, so they are one "
            "network: clone the tensors of its state_dict for each ticket before training on"
        )
    result = {}
    for level, ticket in by_level.items():
        weights = without_aliases(ticket.weights, model)
        result[level] = ticket if weights is ticket.weights else replace(ticket, weights=weights)
    return result


def _check_fits_target(model: nn.Module, ticket: Ticket, target: Ticket, allow_other_run: bool) -> None:
    """Raise UserError where a ticket cannot be mixed into the target."""
    _check_origin(ticket, target, allow_other_run)
    check_fit(model, shapes(ticket.weights), f"the weights of the ticket of level {ticket.level}")
    if odd := sorted(set(ticket.mask) ^ set(target.mask)):
        raise UserError(
            f"{odd[0]!r} is prunable in only one of the tickets of levels {target.level} and {ticket.level}: "
            "give tickets whose masks have the same tensors"
        )


def _check_parameters(model: nn.Module, mask: Tensors) -> None:
    """Raise UserError where a parameter is complex, or masked under some of its names only."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.is_complex():
            raise UserError(f"{name!r} is complex, which no method mixes: hold real and imaginary part as two tensors")
        names.setdefault(parameter, []).append(name)
    for tied in names.values():
        masked, free = ([name for name in tied if (name in mask) == wanted] for wanted in (True, False))
        if masked and free:
            raise UserError(
                f"{masked[0]!r} and {free[0]!r} are one tied tensor, of which only the first has a mask: "
                "mask all of its names, or none"
            )


def _check_origin(ticket: Ticket, target: Ticket, allow_other_run: bool) -> None:
    """Raise UserError naming the first thing in which the origins of two tickets differ but may not."""
    origin, target_origin = ticket.origin, target.origin
    both = f"the tickets of levels {target.level} and {ticket.level}"
    model, target_model = origin.get("model"), target_origin.get("model")
    if isinstance(model, Mapping) and isinstance(target_model, Mapping):
        for key in sorted(set(model) | set(target_model)):
            if model.get(key) != target_model.get(key):
                raise UserError(
                    f"{both} are of different models: {key} is {target_model.get(key)} and {model.get(key)}; "
                    "pool tickets of one model"
                )
    for key in () if allow_other_run else ("data", "data_digest", "config", "seed"):
        if key in origin and key in target_origin and origin[key] != target_origin[key]:
            raise UserError(
                f"{both} are of different runs: {key} is {target_origin[key]} and {origin[key]}; pool tickets of one "
                "run, or allow another's (allow_other_run, --allow-other-run) as a control"
            )
    classes, target_classes = _classes(origin), _classes(target_origin)
    if classes and target_classes and classes != target_classes:
        raise UserError(
            f"{both} have other classes, or in another order: {target_classes[:3]} and {classes[:3]} come first; pool "
            "tickets of one data set"
        )


def _classes(origin: Mapping[str, Any]) -> list[str]:
    """What the outputs of a ticket's network are called; empty where its file does not say."""
    preprocessing = origin.get("preprocessing")
    return list(preprocessing.get("classes") or ()) if isinstance(preprocessing, Mapping) else []

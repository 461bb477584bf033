"""Iterative magnitude pruning around a training function of the user's own: any task, any loop, any framework."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lottery_pools.config.training import Pruning
from lottery_pools.errors import Notice, UserError, unknown
from lottery_pools.models import registry
from lottery_pools.runs.folder import RunFolder, lock
from lottery_pools.runs.seeds import derive
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.checks import check_not_tied
from lottery_pools.tickets.forward import seeded
from lottery_pools.tickets.held_at_zero import check_held, held_at_zero
from lottery_pools.tickets.identity import add_tensors
from lottery_pools.tickets.imp import next_mask
from lottery_pools.tickets.ticket import Ticket, check_fit, load_into, shapes, snapshot, tensors_of

Train = Callable[[nn.Module, dict[str, Tensor], int], object]
"""Trains a model in place: it is given the model, the mask (name → bool tensor) and the level."""
Rewind = Callable[[nn.Module], object] | Literal["start", "never"]
"""What the survivors go back to: a function that trains the model to the rewind point, or a word (see `imp`)."""


def imp(
    train: Train,
    model: nn.Module,
    *,
    levels: int = 5,
    rate: float = 0.2,
    rewind: Rewind = "start",
    prunable: str | Iterable[str] = "convolutions+linear",
    scope: Literal["global", "layer"] = "global",
    folder: str | Path | None = None,
    seed: int = 0,
    origin: Mapping[str, Any] | None = None,
) -> list[Ticket]:
    """Train tickets with a training function of your own: train, prune, rewind, again.

    `train(model, mask, level)` trains `model` in place, from the weights that it has to the end: with your data, loss,
    optimizer and loop, or with those of a framework. It may ignore the mask, for pruned weights are held at exactly
    zero meanwhile (`held_at_zero`). It makes its optimizer and schedule anew each time. Level 0 is dense.

    Before each call, model modes (`train()` or `eval()`) are as `model` had them when `imp` was called, gradients are
    None, and torch's random numbers are those of `seed` and the level: a run that was interrupted and goes on gives
    the same tickets, if your function draws random numbers from torch alone.

    Args:
        train: Your function; or `DefaultTraining`, which is ours. What it returns is ignored.
        model: The network, with the weights to begin with: initial or pretrained ones. Afterwards it has those of the
            last ticket.
        levels: Rounds of pruning after the dense level 0.
        rate: Share of the surviving weights that each of them prunes.
        rewind: What survivors are set back to before they are trained again, all tensors and buffers that are not
            prunable included. `start`: the weights that `model` has now. `never`: nothing; each level goes on from the
            ticket before. Or a function: `rewind(model)` trains the dense model to the rewind point. It is called once,
            first, and every level starts from there, level 0 too.
        prunable: Which tensors are pruned: `convolutions`, `convolutions+linear`, a pattern of parameter names, several
            of these separated by commas, or a list of names.
        scope: `global` ranks all weights together, `layer` those of each tensor.
        folder: Where tickets are kept, `tickets/level_00.safetensors` and on, and the rewind point beside them. Called
            again, `imp` reads finished levels and trains the others: an interrupted level from its beginning.
            None: tickets are kept in memory.
        seed: Of torch's random numbers.
        origin: What the tickets should say of themselves beside, in values that JSON can hold.

    Returns:
        The tickets, the dense one first, ready for `lp.pool`. Their densities are exact.

    Raises:
        UserError: If a setting makes no sense; a density keeps no weight; a prunable tensor is tied to another;
            `train` changed nothing, changed which tensors the model has, or left pruned weights that are not zero; the
            folder holds tickets of other settings or of another model, or another process works on it.

    Source: Frankle & Carbin, ICLR 2019; Frankle et al., ICML 2020; `never` is Renda et al., ICLR 2020.

    Example:
        ```python
        def train(model, mask, level):
            optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()

        tickets = lp.imp(train, model, levels=5, folder="runs/mine")
        pooled = lp.pool(model, tickets, target=3, score=score)
        ```
    """
    run = _run(train, model, Pruning(rate=rate, levels=levels, scope=scope), prunable, seed)
    place = None if folder is None else RunFolder(Path(folder))
    with lock(place.path) if place else nullcontext():
        start = _starting_point(run, rewind, place, dict(origin or {}))
        tickets: list[Ticket] = []
        for density in run.pruning.schedule():
            path = place.ticket(len(tickets)) if place else None
            tickets.append(_ticket(run, start, tickets, density, path))
    load_into(model, tickets[-1].weights)
    return tickets


@dataclass(frozen=True, eq=False)
class _Run:
    """What is the same for all levels."""

    train: Train
    model: nn.Module
    pruning: Pruning
    prunable: tuple[str, ...]
    """The names of the prunable tensors."""
    seed: int
    modes: Mapping[nn.Module, bool]
    """Whether each module is in training mode before `train` is called."""


@dataclass(frozen=True, eq=False)
class _Start:
    """Where training starts: the weights, and what all tickets say of themselves."""

    ticket: Ticket
    never_again: bool
    """Whether only level 0 starts here, and each other level from the ticket before."""


def _run(train: Train, model: nn.Module, pruning: Pruning, prunable: str | Iterable[str], seed: int) -> _Run:
    """Everything that was given, checked before any work."""
    if not callable(train):
        raise UserError(f"train is {type(train).__name__}: give a function train(model, mask, level)")
    if not isinstance(model, nn.Module):
        raise UserError(f"model is {type(model).__name__}: give a torch.nn.Module")
    if pruning.scope not in ("global", "layer"):
        raise unknown("scope", pruning.scope, ("global", "layer"))
    rule = prunable if isinstance(prunable, str) else ",".join(prunable)
    names = registry.prunable(model, rule)
    check_not_tied(model, names, "prunable")
    tensors_of(model)  # refuses extra state
    if left_out := registry.left_out(model, rule):
        warnings.warn(
            f"prunable = {rule!r} leaves {len(left_out)} weights of this network alone: "
            f"{', '.join(left_out[:3])}{', …' if len(left_out) > 3 else ''}; densities count the others only",
            Notice,
            stacklevel=3,
        )
    weights = sum(model.get_parameter(name).numel() for name in names)
    for level, density in enumerate(pruning.schedule()):
        masks.surviving(density, weights, level)
    return _Run(train, model, pruning, names, seed, {module: module.training for module in model.modules()})


def _starting_point(run: _Run, rewind: Rewind, folder: RunFolder | None, origin: dict[str, Any]) -> _Start:
    """The weights that training starts from: those in the folder, or the model's, trained to the rewind point."""
    if isinstance(rewind, str) and rewind not in ("start", "never"):
        raise unknown("rewind", rewind, ("start", "never"))
    settings = {
        "rate": run.pruning.rate,
        "scope": run.pruning.scope,
        "rewind": rewind if isinstance(rewind, str) else "function",
        "prunable": list(run.prunable),
        "seed": run.seed,
    }
    if folder and folder.rewind.exists():
        ticket = files.load(folder.rewind, run.model)
        _check_settings(folder, ticket, settings)
        return _Start(ticket, rewind == "never")
    if folder and folder.ticket(0).exists():
        raise UserError(f"{folder.path} holds tickets and no {folder.rewind.name}: choose another folder")
    if not isinstance(rewind, str):
        _call(run, ("rewind",), lambda: rewind(run.model))
    weights = _on_cpu(run.model)
    origin |= {"config": _identity(settings, weights), "seed": run.seed, "imp": settings}
    ticket = Ticket(weights, masks.dense(weights, run.prunable), 0, origin)
    if folder:
        files.save(ticket, folder.rewind)
    return _Start(ticket, rewind == "never")


def _check_settings(folder: RunFolder, ticket: Ticket, settings: Mapping[str, Any]) -> None:
    """Raise UserError if the folder holds tickets of other settings; more or fewer levels are no other settings."""
    before = ticket.origin.get("imp", {})
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(
                f"{folder.path} holds tickets with {name} = {before.get(name)}, now it is {value}: give the same again "
                "or choose another folder"
            )


def _ticket(run: _Run, start: _Start, before: list[Ticket], density: float, path: Path | None) -> Ticket:
    """The ticket of the next level: read if it is finished, else trained."""
    level = len(before)
    if path is not None and path.exists():
        ticket = files.load(path, run.model)
        if ticket.origin.get("config") != start.ticket.origin["config"]:
            raise UserError(f"{path} is no ticket of the rewind point beside it: choose another folder")
        return ticket
    scope, device = run.pruning.scope, next(run.model.parameters()).device
    mask = next_mask(before[-1], density, scope, "magnitude", run.seed) if before else dict(start.ticket.mask)
    beginning = before[-1] if before and start.never_again else start.ticket
    load_into(run.model, masks.apply(beginning.weights, mask))
    on_device = {name: survives.to(device) for name, survives in mask.items()}
    with held_at_zero(run.model, on_device):
        given = {name: survives.clone() for name, survives in on_device.items()}
        _call(run, (level,), lambda: run.train(run.model, given, level))
    check_held(run.model, on_device, level)
    ticket = Ticket(_on_cpu(run.model), mask, level, {**start.ticket.origin, "density": density})
    if path is None:
        return ticket
    files.save(ticket, path)
    return files.load(path, run.model)


def _call(run: _Run, name: tuple[str | int, ...], work: Callable[[], object]) -> None:
    """Let a function of the user's train the model, always under the same conditions; check that it did.

    `name` is that of the stream of random numbers: the level, or `rewind`.
    """
    for module, training in run.modes.items():
        module.training = training
    run.model.zero_grad(set_to_none=True)
    before = snapshot(run.model)
    which = f"the training of level {name[0]}" if isinstance(name[0], int) else "the training to the rewind point"
    with seeded(next(run.model.parameters()).device, derive(run.seed, "imp", *name)):
        work()
    _check_trained(run.model, before, which)


def _check_trained(model: nn.Module, before: Mapping[str, Tensor], which: str) -> None:
    """Raise UserError if a training, which the message calls `which`, cannot have been one of this model."""
    check_fit(model, shapes(before), f"the tensors before {which}")
    after = tensors_of(model)
    if all(torch.equal(tensor, after[name].detach().to(tensor)) for name, tensor in before.items()):
        raise UserError(f"{which} changed no weight: train the model that your function is given, in place")
    for name, parameter in model.named_parameters():
        if not_finite := int((~parameter.detach().isfinite()).sum()):
            raise UserError(
                f"{not_finite} weights of {name!r} are NaN or infinite after {which}: train with a lower learning rate"
            )


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's tensors, on the CPU."""
    return {name: tensor.cpu() for name, tensor in snapshot(model).items()}


def _identity(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """What identifies a run: sixteen hexadecimal digits that follow from its settings and the weights it starts from.

    Tickets whose identities differ do not belong together, and `lp.pool` refuses to mix them.
    """
    digest = hashlib.sha256(json.dumps(settings).encode())
    add_tensors(digest, weights)
    return digest.hexdigest()[:16]

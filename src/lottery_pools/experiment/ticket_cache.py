"""Tickets that this process has read and checked, kept so that its next task need not read and check them again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from lottery_pools.pooling.learning import HELD
from lottery_pools.runs import disk
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket, check_fit, shapes

FileState = tuple[Path, int, int]
"""A file as it is now: path, size in bytes, time of the last change in nanoseconds."""


class TicketCache:
    """The tickets and digests of files, for as long as these files do not change.

    Tickets that together have fewer numbers than `limit` are kept with their tensors in the memory of the network's
    device. Of larger sets only the fact that they were checked is kept, and their tensors are read from files at each
    use. No more than `limit` numbers are in memory: the tickets that were not used for longest are forgotten first.

    Example:
        ```python
        tickets = TicketCache().load([run.folder.ticket(level) for level in run.levels], run.network())
        ```
    """

    def __init__(self, limit: int = HELD) -> None:
        self.limit = limit
        self._tickets: dict[FileState, Ticket] = {}  # the one that was used last comes last
        self._digests: dict[FileState, str] = {}

    def load(self, paths: Iterable[Path], model: nn.Module) -> list[Ticket]:
        """The tickets of files, checked against the network that they are of; raises UserError as `files.load`."""
        tickets = {_state(path): self._checked(path, model) for path in paths}
        if sum(map(_numbers, tickets.values())) < self.limit:
            device = next(model.parameters()).device
            tickets = {state: _in_memory(ticket, device) for state, ticket in tickets.items()}
        for state, ticket in tickets.items():
            self._tickets.pop(state, None)
            self._tickets[state] = ticket
        self._forget_oldest()
        return list(tickets.values())

    def digest(self, path: Path) -> str:
        """The digest of a file."""
        state = _state(path)
        if state not in self._digests:
            self._digests[state] = disk.digest(path)
        return self._digests[state]

    def _checked(self, path: Path, model: nn.Module) -> Ticket:
        known = self._tickets.get(_state(path))
        if known is None:
            return files.load(path, model)
        check_fit(model, shapes(known.weights), f"the tensors of {path}")
        return known

    def _forget_oldest(self) -> None:
        in_memory = {state: _numbers(t) for state, t in self._tickets.items() if isinstance(t.weights, dict)}
        excess = sum(in_memory.values()) - self.limit
        for state, numbers in in_memory.items():
            if excess <= 0:
                break
            del self._tickets[state]
            excess -= numbers


@cache
def of_this_process() -> TicketCache:
    """The cache that all tasks of this process share."""
    return TicketCache()


def _state(path: Path) -> FileState:
    if not path.is_file():
        files.read_metadata(path)  # raises the UserError
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns


def _numbers(ticket: Ticket) -> int:
    return sum(math.prod(shape) for shape in shapes(ticket.weights).values())


def _in_memory(ticket: Ticket, device: torch.device) -> Ticket:
    """The ticket with its tensors in the memory of a device, so that a GPU pools without copies from the host."""
    if isinstance(ticket.weights, dict):
        return ticket
    weights = {name: tensor.to(device) for name, tensor in ticket.weights.items()}
    return replace(ticket, weights=weights, mask={name: tensor.to(device) for name, tensor in ticket.mask.items()})

"""The command `import`: checkpoints of other software, and the data of the settings, become a run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from lottery_pools.config.schema import Config
from lottery_pools.data import sources
from lottery_pools.errors import UserError
from lottery_pools.exchange import imported_run
from lottery_pools.exchange.read import read
from lottery_pools.models import registry
from lottery_pools.tickets import imp
from lottery_pools.tickets.ticket import MisfitError, Ticket


@dataclass(frozen=True)
class Checkpoints:
    """The files of one network, and how they are read where that is not found out: see `lp.read`."""

    files: tuple[Path, ...]
    """Checkpoints, or one folder of them."""
    masks: tuple[Path, ...] = ()
    prefix: str | None = None
    dense: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    prunable: str | None = None
    """Which tensors are pruned, as the setting `model.prunable`; none: those with masks or with many zeros."""
    rewind: Path | None = None
    """The checkpoint of the rewind point."""
    train_images: Sequence[int] | None = None
    """Training images that each ticket cost, the densest first."""


def import_checkpoints(checkpoints: Checkpoints, out: Path, config: Config) -> list[Ticket]:
    """Write the folder of a run whose tickets are these checkpoints.

    Args:
        checkpoints: The files, and how they are read.
        out: The folder. There must be no run in it.
        config: The experiment's settings: data, network, pooling, evaluation. Densities, and where
            `checkpoints.prunable` is none also `model.prunable`, are set to what the checkpoints have.

    Returns:
        The tickets as they were read, the densest first.

    Raises:
        UserError: As `lp.read` and `lp.import_run`. Nothing was written.
    """
    imported_run.check_new(out)
    with _status("loading the data"):
        dataset = sources.load(config.of_seed(config.seeds[0]).data)
    model = imp.network(config, dataset, config.seeds[0])
    with _status("reading the checkpoints"), _naming_network(config.model.name):
        files = checkpoints.files
        checkpoint_tickets: Ticket | list[Ticket] = read(
            files[0] if len(files) == 1 else files,
            model=model,
            masks=_masks(checkpoints.masks, files),
            prunable=checkpoints.prunable,
            dense=checkpoints.dense,
            prefix=checkpoints.prefix,
            leave_out=checkpoints.leave_out,
        )
    tickets = [checkpoint_tickets] if isinstance(checkpoint_tickets, Ticket) else checkpoint_tickets
    if checkpoints.prunable is None:
        config = _with_prunable(config, registry.prunable(model, config.model.prunable), tickets[0])
    with _status("writing the run"):
        imported_run.import_run(
            tickets, out, config, dataset, rewind=checkpoints.rewind, train_images=checkpoints.train_images
        )
    return tickets


def _masks(masks: Sequence[Path], files: Sequence[Path]) -> Path | Sequence[Path] | None:
    """The files of masks as `read` takes them: one for a single checkpoint, otherwise a list."""
    if not masks:
        return None
    if len(files) == 1 and files[0].is_file():
        if len(masks) > 1:
            raise UserError(f"{len(masks)} files of masks for one checkpoint: give one")
        return masks[0]
    return masks


def _with_prunable(config: Config, by_settings: Sequence[str], ticket: Ticket) -> Config:
    """The settings with the tensors that the checkpoints have masks for, where they are others than the settings'."""
    if set(by_settings) == set(ticket.mask):
        return config
    return replace(config, model=replace(config.model, prunable=",".join(ticket.mask)))


@contextmanager
def _naming_network(name: str) -> Iterator[None]:
    """Where checkpoints do not fit the network of the settings, say which that is: it may be that of a preset."""
    try:
        yield
    except MisfitError as error:
        raise UserError(
            f"{error} (the settings name the network {name!r}: --model.name or --preset gives theirs)"
        ) from error


@contextmanager
def _status(what: str) -> Iterator[None]:
    """Say what is being done, where standard error is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield

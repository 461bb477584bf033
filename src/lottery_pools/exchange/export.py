"""The one door out: a ticket in the format of other software.

| format | `out` | what it is | needs |
|---|---|---|---|
| `onnx` | a file | a graph with a batch of any size, checked against PyTorch in ONNX Runtime | extra `onnx` |
| `torch-export` | a file, `.pt2` | a program for `torch.export.load`, checked likewise | |
| `state-dict` | a file, `.pt` | what `torch.save(model.state_dict())` writes | |
| `safetensors` | a file | the same tensors, as safetensors | |
| `hub` | a folder | the same with settings, preprocessing and a model card, for the Hugging Face hub | |
| `compressed-tensors` | a folder | surviving weights and a bit a weight, as compressed-tensors' `sparse-bitmask` | |
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from lottery_pools.data.preprocessing import Preprocessing
from lottery_pools.errors import UserError, unknown
from lottery_pools.exchange import bitmask, hub, network, programs
from lottery_pools.exchange.card import Card
from lottery_pools.runs.disk import write
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket, load_into
from lottery_pools.version import VERSION


@dataclass(frozen=True)
class Export:
    """A ticket on its way out, and all that a format may want to know."""

    ticket: Ticket
    where: str
    """What messages call it."""
    model: nn.Module | None = None
    trust: bool = False
    preprocessing: Preprocessing | None = None
    inside: bool = False
    """Whether a program contains the normalisation."""
    card: Card = field(default_factory=Card)

    @property
    def network(self) -> nn.Module:
        """A copy of the network with the ticket's weights, in evaluation mode, on the CPU."""
        if self.model is None:
            model = network.built(self.ticket.origin.get("model"), self.where, self.trust, self.ticket.weights)
        else:
            model = copy.deepcopy(self.model).cpu()
        load_into(model, self.ticket.weights, f"the tensors of {self.where}")
        return model.eval()

    @property
    def example(self) -> Tensor:
        """A batch of two inputs of the network, or with the normalisation inside, of two samples."""
        described = self.ticket.origin.get("model")
        if self.preprocessing is not None:
            shape = self.preprocessing.input_shape
        elif isinstance(described, Mapping) and described.get("input_shape"):
            shape = tuple(described["input_shape"])
        else:
            raise UserError(
                f"{self.where} does not say what its inputs are: give preprocessing=lp.Preprocessing(mean, std, "
                "input_shape, stored_shape)"
            )
        batch = torch.randn(2, *shape, generator=generator(0, "example of an export"))
        if self.inside and self.preprocessing is not None:
            normalise = self.preprocessing.inside()
            batch = batch * normalise.get_buffer("std") + normalise.get_buffer("mean")
        return batch


def export(
    source: Ticket | str | Path,
    to: str,
    out: str | Path,
    *,
    model: nn.Module | None = None,
    trust: bool = False,
    preprocessing: Preprocessing | None = None,
    normalise: bool = False,
    card: Card | None = None,
) -> Path:
    """Write a ticket in the format of other software. A file is complete or not there at all.

    Args:
        source: The ticket, or its file.
        to: `onnx`, `torch-export`, `state-dict`, `safetensors`, `hub` or `compressed-tensors`.
        out: The file to write, or for `hub` and `compressed-tensors` the folder.
        model: The network, of which programs are made; by default that which the ticket's file names. It is copied.
        trust: Build `package.module:factory` if the file names one, which runs that module's code.
        preprocessing: How samples become inputs; by default what the ticket says. It is written down if the format can
            hold it.
        normalise: Put the normalisation into the program, which then takes samples in their stored units: images as
            float32 from 0 to 255.
        card: For `hub`: title, licence, data and figures of the model card.

    Returns:
        The path that was written.

    Raises:
        UserError: If the format is unknown or its package missing; if the ticket does not say which network it is of or
            what its inputs are; and if the outputs of a program differ from PyTorch's by more than 1e-5, times the
            largest output if that is above 1.

    Example:
        ```python
        lp.export("stronger.safetensors", "onnx", "stronger.onnx", model=model, preprocessing=preprocessing)
        ```
    """
    if to == "compiled":
        raise UserError(
            "C is written by `lottery-pools export --to compiled`; lp.compile compiles a network for Python"
        )
    if to not in FORMATS:
        raise unknown("export format", to, FORMATS)
    if not isinstance(source, Ticket | str | Path):
        raise UserError(
            f"cannot export a {type(source).__name__}: give a ticket, such as the `.ticket` of what lp.pool returns, "
            "or its file"
        )
    ticket, where = (source, "the ticket") if isinstance(source, Ticket) else (files.load(source), str(source))
    preprocessing = preprocessing or network.preprocessing_of(ticket)
    if normalise and (to not in PROGRAMS or preprocessing is None):
        raise UserError(f"normalise is for {' and '.join(PROGRAMS)}, and needs preprocessing: leave it out for {to}")
    out = Path(out)
    if to in FOLDERS and ticket.origin.get("task"):
        raise UserError(
            f"{to} says that a network predicts one of its classes, {where} is of {ticket.origin['task']} data: "
            f"export it as {', '.join(name for name in FORMATS if name not in FOLDERS)}"
        )
    if (to in FOLDERS) != out.is_dir() and out.exists():
        kind = "a folder" if to in FOLDERS else "a file"
        raise UserError(f"{out} is {'a folder' if out.is_dir() else 'a file'}, {to} is written to {kind}: give another")
    FORMATS[to](Export(ticket, where, model, trust, preprocessing, normalise, card or Card()), out)
    return out


def _program(write_program: Callable[[nn.Module, Tensor, Mapping[str, Any]], bytes]) -> Callable[[Export, Path], None]:
    def written(job: Export, out: Path) -> None:
        whole = job.network
        if job.inside and job.preprocessing is not None:
            whole = nn.Sequential(job.preprocessing.inside(), whole).eval()
        metadata = {
            "version": VERSION,
            "level": job.ticket.level,
            "density": job.ticket.density,
            "normalisation_inside": job.inside,
            "preprocessing": None if job.preprocessing is None else job.preprocessing.to_json(),
        }
        write(out, write_program(whole, job.example, metadata))

    return written


def _state_dict(job: Export, out: Path) -> None:
    content = io.BytesIO()
    torch.save({name: tensor.detach().cpu().clone() for name, tensor in job.ticket.weights.items()}, content)
    write(out, content.getvalue())


def _safetensors(job: Export, out: Path) -> None:
    write(out, hub.plain_safetensors(job.ticket))


def _hub(job: Export, out: Path) -> None:
    hub.write_hub(job.ticket, out, job.preprocessing, job.card)


def _compressed_tensors(job: Export, out: Path) -> None:
    """A folder that compressed-tensors up to 0.14 decompresses: its `ModelCompressor`, or its `BitmaskCompressor`."""
    tensors: dict[str, Tensor] = {}
    for name, weight in job.ticket.weights.items():
        stem, dot, last = name.rpartition(".")
        if name in job.ticket.mask and last == "weight":
            parts = bitmask.encode(weight.detach().cpu(), job.ticket.mask[name].cpu())
            tensors |= {f"{stem}{dot}{part}": tensor for part, tensor in parts.items()}
        else:
            tensors[name] = weight.detach().cpu().clone().contiguous()
    layers = [name.rpartition(".")[0] for name in job.ticket.mask if name.endswith(".weight")]
    sparsity = {
        "format": bitmask.FORMAT,
        "global_sparsity": 1 - job.ticket.density,
        "sparsity_structure": "unstructured",
        "targets": layers,
        "ignore": [],
    }
    settings = hub.config(job.ticket, _model(job), job.preprocessing)
    settings["quantization_config"] = {"quant_method": "compressed-tensors", "sparsity_config": sparsity}
    write(out / "model.safetensors", serialise(tensors, {"format": "pt"}))
    write(out / "config.json", json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _model(job: Export) -> Mapping[str, Any]:
    described = job.ticket.origin.get("model")
    return described if isinstance(described, Mapping) else {}


PROGRAMS = ("onnx", "torch-export")
"""Formats that hold the network's computation beside its weights."""
FOLDERS = ("hub", "compressed-tensors")
"""Formats that are a folder."""
FORMATS: Mapping[str, Callable[[Export, Path], None]] = {
    "onnx": _program(programs.onnx),
    "torch-export": _program(programs.torch_export),
    "state-dict": _state_dict,
    "safetensors": _safetensors,
    "hub": _hub,
    "compressed-tensors": _compressed_tensors,
}

"""Pickled checkpoints, opened without running anything of theirs, and the tensors found in them."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lottery_pools.errors import UserError

KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module")
"""Under which of its keys a checkpoint holds the weights, the first of these that it has."""
LIGHTNING = "pytorch-lightning_version"
"""A key that every Lightning checkpoint has."""


class Inert:
    """Stands in for an object that a checkpoint holds beside its tensors: it takes anything and does nothing."""

    def __new__(cls, *arguments: object, **keywords: object) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Leave the state out."""


_HARMLESS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"pathlib.{kind}" for kind in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"pathlib._local.{kind}" for kind in ("PosixPath", "WindowsPath")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.ndarray",
    "numpy.dtype",
)
"""What training programs often keep beside the weights: replaced by `Inert`, so that it neither runs nor hinders."""


_ANY_SIZE = 1 << 26
"""So many numbers may the tensors of a file have beyond those that it holds, because they are sparse or repeat
themselves."""
_MAX_RATIO = 4
"""A file is refused if its parts have more than so many times its own size: `torch.save` does not compress them."""


def load(path: Path) -> Any:
    """Load what `torch.save` wrote, tensors on the CPU, by PyTorch's restricted unpickler (`weights_only=True`).

    Raises:
        UserError: If the file would run code, is damaged or of another kind.
    """
    _check_unpacked(path)
    try:
        with torch.serialization.safe_globals([(Inert, name) for name in _HARMLESS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}: give a file, or a folder of files") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise UserError(_refusal(path, error)) from error


def _check_unpacked(path: Path) -> None:
    """Raise UserError if a zip archive, as `torch.save` writes it, would be far larger unpacked than it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except OSError:
        return  # `torch.load` tells
    except Exception as error:  # a damaged archive raises whatever its bytes lead to
        if _begins_as_zip(path):  # PyTorch might read it all the same, whatever its size
            raise UserError(_refusal(path, error)) from error
        return  # of an earlier format
    if unpacked > _MAX_RATIO * path.stat().st_size + (1 << 20):
        raise UserError(f"{path} would have {unpacked:,} bytes unpacked, far more than it has: it is damaged")


def _begins_as_zip(path: Path) -> bool:
    """Whether PyTorch takes a file for a zip archive."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _refusal(path: Path, error: Exception) -> str:
    """Why a file was not read, in one line."""
    text = str(error)
    if "TorchScript" in text:
        return f"{path} is a TorchScript program: save the state_dict of the network it was made of"
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and wanted:
        return (
            f"{path} would run code when opened ({wanted[1]}) and was not: save the state_dict alone, with "
            "torch.save(model.state_dict(), path)"
        )
    return f"{path} is damaged or no PyTorch checkpoint ({type(error).__name__}): give a file that torch.save wrote"


def tensors(value: Any, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Find the weights in a loaded checkpoint: (tensors by name, notes on what was chosen).

    A state_dict is taken as it is; of a mapping that holds state_dicts, the one under the first of `KEYS`.

    Args:
        value: What `load` returned.
        path: Of the file, for messages.

    Raises:
        UserError: If there is no state_dict, or several under other keys.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{path} holds {_kind(value)}, no state_dict: give a file of named tensors")
    if any(isinstance(item, Tensor) for item in value.values()):
        return _named(value, path), []
    holders = {str(key): item for key, item in value.items() if _holds_tensors(item)}
    key = next((key for key in KEYS if key in holders), None)
    if key is None and len(holders) == 1:
        key = next(iter(holders))
    if key is None:
        problem = f"several state_dicts, under {', '.join(map(repr, holders))}" if holders else "no named tensors"
        raise UserError(f"{path} holds {problem}: save the one of the network alone")
    notes = [f"the weights are those under {key!r}"]
    if unused := sorted(holders.keys() - {key}):
        notes[0] += f", not {', '.join(map(repr, unused))}"
    return _named(holders[key], path), notes


def _holds_tensors(item: Any) -> bool:
    return (
        isinstance(item, Mapping)
        and all(isinstance(key, str) for key in item)
        and any(isinstance(tensor, Tensor) for tensor in item.values())
    )


def _named(mapping: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a state_dict, in ordinary memory layout; what is none, such as `_extra_state`, is left out."""
    tensors, claimed = {}, 0
    for name, item in mapping.items():
        if not isinstance(item, Tensor):
            continue
        if not isinstance(name, str):
            raise UserError(f"{path} has a tensor under {name!r}: give tensors by name, as a state_dict has them")
        if item.is_quantized:
            raise UserError(f"{name!r} of {path} is quantised: give the checkpoint from before quantisation")
        if item.device.type != "cpu":
            raise UserError(f"{name!r} of {path} has no numbers ({item.device}): save the network after it has some")
        tensor = item.detach()
        claimed += max(0, tensor.numel() - _stored(tensor))
        if claimed > _ANY_SIZE:
            raise UserError(f"{name!r} of {path} has {tensor.numel():,} numbers, the file far fewer: it is damaged")
        tensors[name] = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return tensors


def _stored(tensor: Tensor) -> int:
    """About how many numbers of a tensor are in the file: fewer than it has if it is sparse or repeats itself."""
    if tensor.layout != torch.strided:
        return 1000 * int(tensor._nnz()) if tensor.is_sparse else 0
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _kind(value: Any) -> str:
    return "a tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"

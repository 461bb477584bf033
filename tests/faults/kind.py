"""What a kind of files is: how one is written, changed and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lottery_pools.errors import UserError
from tests.faults.changes import Change


def unsigned(content: bytes) -> bytes:
    """A file without digests that could be made anew, or whose digests nobody makes anew by hand."""
    return content


@dataclass(frozen=True)
class Kind:
    """A kind of file that the package reads."""

    name: str
    write: Callable[[Path], object]
    """Writes an undamaged file."""
    read: Callable[[Path], Any]
    """Reads all of a file, as the package does, into something that can be compared."""
    has_digests: bool = True
    """Whether a change of any bit must be noticed."""
    file_name: str = "file"
    """Where the file is, below the folder of the kind; `read` and `write` are given this path."""
    changes: tuple[Change, ...] = ()
    """Changes of its own, beside those that fit every file."""
    sign: Callable[[bytes], bytes] = unsigned
    """Makes the digests in a file anew, as somebody does who changes it on purpose."""
    refusals: tuple[type[Exception], ...] = (UserError,)
    """What `read` raises to refuse a file."""
    names_file: Literal["file", "folder", "no"] = "file"
    """What a refusal names: the file, or also its folder; or the caller names it."""
    may_be_cut: bool = False
    """Whether what is left of a file that was cut off is read, as after a kill."""


def bits(tensors: Any) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    """Tensors to the bit, by name."""
    return {name: _bits(tensors[name]) for name in tensors}


def _bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    flat = tensor.detach().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return tensor.dtype, tuple(tensor.shape), content

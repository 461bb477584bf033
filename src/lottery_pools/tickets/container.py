"""A safetensors file that carries digests of itself, and is checked before anything in it is believed.

The file is an ordinary safetensors file: eight bytes with the length of the header, the header as JSON, then the bytes
of all tensors. The header's metadata has one key, the kind of file, whose value is JSON again. Its first two entries
are SHA-256 digests as 64 hexadecimal digits: `check_header` of all bytes up to the end of the header, where the 64
digits themselves count as zeros, and `check_tensors` of all bytes after it. So not one bit can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as serialise
from torch import Tensor

from lottery_pools.errors import UserError, shown
from lottery_pools.runs import strict_json
from lottery_pools.runs.disk import write as write_file
from lottery_pools.tickets.layout import DTYPES, MAX_HEADER_BYTES, Entry, entries_of, json_object, read_header, text

_DIGEST_DIGITS = 64
"""The hexadecimal digits of a SHA-256 digest."""
_BEFORE_CHECK_HEADER = rb"\"check_header\": \""
_BEFORE_CHECK_TENSORS = rb"\", \"check_tensors\": \""
"""What stands in the header before the digits of the first and of the second digest: JSON within JSON."""


def write(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and metadata to one file, complete or not there at all. Equal arguments give equal bytes.

    Args:
        path: The file.
        kind: What the file is, for example `ticket`.
        tensors: The tensors by name, on any device.
        metadata: Values that JSON can hold; their keys come after `check_header` and `check_tensors` in the alphabet.

    Raises:
        UserError: The file cannot be written, or a tensor is of a kind that such files do not hold.
    """
    plain = {}
    for name, tensor in tensors.items():
        check_storable(path, name, tensor)
        # Cloned because safetensors refuses tensors that share memory, as tied weights do.
        plain[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    empty = "0" * _DIGEST_DIGITS
    filled = {**metadata, "check_header": empty, "check_tensors": empty}
    content = serialise(plain, {kind: json.dumps(filled, sort_keys=True)})
    start = 8 + int.from_bytes(content[:8], "little")
    if start > MAX_HEADER_BYTES:
        raise UserError(f"cannot write {path}: its header would have {start:,} bytes, more than {MAX_HEADER_BYTES:,}")
    header, data = bytearray(content[:start]), memoryview(content)[start:]
    place, tensors_place = _digest_places(header)
    header[tensors_place] = hashlib.sha256(data).hexdigest().encode()
    header[place] = hashlib.sha256(header).hexdigest().encode()
    write_file(path, b"".join((header, data)))


class Container:
    """An open file: its metadata, and its tensors, each of which is read when it is asked for.

    The header is read and checked at once; the file itself stays closed between reads. A file that is replaced or
    changed meanwhile is checked again, and must still have the same tensors.

    Args:
        path: The file.
        kind: What the file must be, as it was given to `write`.

    Raises:
        UserError: The file cannot be read, is truncated, damaged, no safetensors file, or of another kind.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        with _opened(path) as file:
            self._stamp = _stamp(file)
            try:
                header, size = read_header(file)
                fields = json_object(strict_json.parse(header[8:].rstrip(b" ")), "the header")
                metadata = json_object(fields.pop("__metadata__", {}), "the metadata")
                self.entries: Mapping[str, Entry] = entries_of(fields, size - len(header))
            except ValueError as error:
                remedy = "read a checkpoint of PyTorch with lp.read" if _is_pickled(file) else "restore or delete it"
                raise UserError(f"{path} is truncated or no safetensors file ({error}): {remedy}") from error
        self._start = len(header)
        self.metadata = self._metadata(metadata)
        self.has_digests = "check_header" in self.metadata or "check_tensors" in self.metadata
        """Whether the file carries digests; those of the first format did not."""
        if self.has_digests:
            self._check_header(header)

    def _metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        if self.kind not in metadata:
            raise UserError(
                f"{self.path} is a safetensors file but no {self.kind}: give a file written by lottery-pools"
            )
        try:
            return json_object(strict_json.parse(text(metadata[self.kind]), finite=False), "its JSON")
        except ValueError as error:
            raise self.damaged(str(error)) from error

    def _check_header(self, header: bytes) -> None:
        """Raise UserError if the header is not what was written."""
        try:
            place, _ = _digest_places(header)
        except ValueError as error:
            raise self.damaged("its digests are not in their place") from error
        zeroed = bytearray(header)
        zeroed[place] = b"0" * _DIGEST_DIGITS
        if hashlib.sha256(zeroed).hexdigest() != self.metadata.get("check_header"):
            raise self.damaged("the SHA-256 of its header is not the one that it carries")

    def verify(self) -> None:
        """Read the bytes of all tensors once, and raise UserError if their digest is not the one in the header."""
        with _opened(self.path) as file:
            file.seek(self._start)
            if hashlib.file_digest(file, "sha256").hexdigest() != self.metadata.get("check_tensors"):
                raise self.damaged("the SHA-256 of its tensors is not the one that it carries")

    def read(self, name: str) -> Tensor:
        """The tensor of a name, in memory of its own, on the CPU."""
        self._check_unchanged()
        entry = self.entries[name]
        tensor = torch.empty(entry.shape, dtype=entry.dtype)
        memory = bytes_of(tensor)
        with _opened(self.path) as file:
            file.seek(self._start + entry.begin)
            if file.readinto(memory.data) < len(memory):
                raise self.damaged(f"it ends within {shown(name)}")
        if entry.dtype == torch.bool and memory.size and memory.max() > 1:
            raise self.damaged(f"{shown(name)} has a byte that is neither true nor false")
        return tensor

    def _check_unchanged(self) -> None:
        """Raise UserError if the file was replaced or changed, unless it has the same tensors still."""
        with _opened(self.path) as file:
            if _stamp(file) == self._stamp:
                return
        now = Container(self.path, self.kind)
        same = now.entries == self.entries and now.metadata.get("check_tensors") == self.metadata.get("check_tensors")
        if not (same and self.has_digests):
            raise UserError(f"{self.path} was replaced since it was loaded: load it again")
        now.verify()
        self._start, self._stamp = now._start, now._stamp

    def damaged(self, reason: str) -> UserError:
        """The error that says that the file is damaged, and why."""
        return UserError(f"{self.path} is damaged: {reason}; restore or delete the file")


def check_storable(path: Path, name: str, tensor: Tensor) -> None:
    """Raise UserError if a tensor is of a kind that safetensors files do not hold: sparse, quantised, or complex128."""
    if tensor.dtype not in DTYPES.values() or tensor.layout != torch.strided:
        raise UserError(
            f"cannot write {path}: {name!r} is {tensor.dtype} ({tensor.layout}), which safetensors files do not hold: "
            "convert it"
        )


def bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    """The memory of a contiguous tensor on the CPU as bytes, (bytes,), not copied."""
    if not tensor.numel():
        return np.empty(0, np.uint8)
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _digest_places(header: bytes | bytearray) -> tuple[slice, slice]:
    """Where in the header the digits of `check_header` and `check_tensors` are. Raises ValueError if they are not."""
    start = header.index(_BEFORE_CHECK_HEADER) + len(_BEFORE_CHECK_HEADER)
    place = slice(start, start + _DIGEST_DIGITS)
    if not header.startswith(_BEFORE_CHECK_TENSORS, place.stop):
        raise ValueError("the digests are not beside each other")
    start = place.stop + len(_BEFORE_CHECK_TENSORS)
    return place, slice(start, start + _DIGEST_DIGITS)


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; restore the file or its permissions"
        ) from error


def _stamp(file: BufferedReader) -> tuple[int, int, int]:
    """What changes if a file is replaced or written to."""
    state = os.fstat(file.fileno())
    return state.st_ino, state.st_size, state.st_mtime_ns


def _is_pickled(file: BufferedReader) -> bool:
    """Whether a file begins as those of `torch.save` do, of any version of PyTorch."""
    file.seek(0)
    return file.read(4).startswith((b"PK\x03\x04", b"\x80"))

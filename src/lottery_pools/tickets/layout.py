"""What the header of a safetensors file says of its tensors, checked against the size of the file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import torch

from lottery_pools.errors import shown

MAX_HEADER_BYTES = 8 << 20
"""The longest header that is written and read: enough for 40,000 tensors."""
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The types of numbers that are written and read, by their names in the file."""
_LARGEST_SIZE = 1 << 48
"""More numbers than any tensor has."""


@dataclass(frozen=True)
class Entry:
    """A tensor as the header describes it."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    """Its first byte, counted from the end of the header."""
    end: int
    """The byte after its last."""


def read_header(file: BufferedReader) -> tuple[bytes, int]:
    """The first bytes of a file, to the end of its header, and the file's size.

    Raises ValueError if the file is too short for its header, or the header longer than `MAX_HEADER_BYTES`.
    """
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:
        raise ValueError(f"it has {size:,} bytes, its header needs {8 + length:,}" if len(first) == 8 else "too short")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes, more than {MAX_HEADER_BYTES:,}")
    return first + file.read(length), size


def entries_of(fields: Mapping[str, Any], data_bytes: int) -> dict[str, Entry]:
    """The tensors that a header describes; raises ValueError unless they fill the rest of the file without a gap."""
    entries = {name: _entry(_unicode(name), json_object(field, shown(name))) for name, field in fields.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise ValueError(f"{shown(name)} begins at byte {entry.begin}, the tensor before it ends at {end}")
        end = entry.end
    if end != data_bytes:
        raise ValueError(f"its tensors have {end:,} bytes, the file has {data_bytes:,} for them")
    return entries


def _entry(name: str, field: Mapping[str, Any]) -> Entry:
    if set(field) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown(name)} has the fields {shown(sorted(field))}")
    dtype = DTYPES.get(text(field["dtype"]))
    if dtype is None:
        raise ValueError(f"{shown(name)} is of the unknown type {shown(field['dtype'])}")
    shape, offsets = sizes(field["shape"]), sizes(field["data_offsets"])
    if len(offsets) != 2 or offsets[0] + numel(shape) * dtype.itemsize != offsets[1]:
        raise ValueError(f"{shown(name)} of shape {shown(shape)} cannot lie at bytes {shown(offsets)}")
    return Entry(dtype, shape, *offsets)


def sizes(value: object) -> tuple[int, ...]:
    """The whole numbers, 0 or more, of a list from a file. Raises ValueError if it is anything else."""
    if not isinstance(value, list) or len(value) > 64:
        raise ValueError(f"{shown(value)} is no list of sizes")
    if not all(type(size) is int and 0 <= size < _LARGEST_SIZE for size in value):
        raise ValueError(f"{shown(value)} has something that is no size")
    return tuple(value)


def numel(shape: Iterable[int]) -> int:
    """How many numbers a tensor of this shape has. Raises ValueError if its shape is larger than any tensor's."""
    shape = tuple(shape)
    if math.prod(max(size, 1) for size in shape) >= _LARGEST_SIZE:
        raise ValueError(f"the shape {shown(shape)} is larger than any tensor")
    return math.prod(shape)


def json_object(value: object, what: str) -> dict[str, Any]:
    """The value, if it is a JSON object; else raises ValueError, which calls it `what`."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no JSON object")
    return value


def text(value: object) -> str:
    """The value, if it is text; else raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no text")
    return value


def _unicode(name: str) -> str:
    name.encode()  # raises UnicodeEncodeError, a ValueError, where it has half of a surrogate pair
    return name

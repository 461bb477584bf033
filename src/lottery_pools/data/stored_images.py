"""Images in a file of the cache: written a batch at a time, read memory-mapped, and checked when they are read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lottery_pools.data import npy
from lottery_pools.data.cache import DamagedCacheError
from lottery_pools.errors import UserError
from lottery_pools.runs.disk import OTHER_CACHE, writing


def read(path: Path, n: int) -> Tensor:
    """Return the images in a file of the cache, (n, c, h, w) uint8.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        DamagedCacheError: It does not hold what was written, or does not say what that was.
        UserError: It cannot be read.
    """
    try:
        stat = path.stat()
        with safe_open(path, "pt") as file:
            images: Tensor = file.get_tensor("images")
            expected = (file.metadata() or {}).get("digest")
        if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != n:
            raise DamagedCacheError(f"{path} holds {images.dtype} of shape {tuple(images.shape)}")
        if _stored_digest(path, stat.st_ino, stat.st_size, stat.st_mtime_ns) != expected:
            raise DamagedCacheError(f"{path} is not what was written")
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; remove it, or {OTHER_CACHE}") from error
    except SafetensorError as error:
        raise DamagedCacheError(f"{path} is damaged: {error}") from error
    return images


@cache
def _stored_digest(path: Path, *_: int) -> str:
    """The digest of the images in a file, computed once in a process for each state of the file."""
    with safe_open(path, "pt") as file:
        return npy.digest(file.get_tensor("images").numpy())


def write(path: Path, shape: tuple[int, ...], batches: Iterable[Tensor]) -> None:
    """Write images of `shape` (n, c, h, w), which come in batches, into a file of the cache: one batch in memory.

    It is a safetensors file, whose metadata has the digest of the images (`npy.digest`).
    """
    with writing(path, OTHER_CACHE) as file:
        file.write(_header(shape, "0" * 64))
        start = file.tell()
        for batch in batches:
            file.write(batch.contiguous().numpy().data)
        file.flush()
        file.seek(start)
        size = npy.ROWS_OF_A_BLOCK * math.prod(shape[1:])
        blocks = [hashlib.sha256(file.read(size)).digest() for _ in range(0, shape[0], npy.ROWS_OF_A_BLOCK)]
        file.seek(0)
        file.write(_header(shape, npy.digest_of_blocks(blocks)))


def _header(shape: tuple[int, ...], digest: str) -> bytes:
    """What a safetensors file of one uint8 tensor `images` begins with; its length does not depend on the digest."""
    images = {"dtype": "U8", "shape": shape, "data_offsets": (0, math.prod(shape))}
    text = json.dumps({"__metadata__": {"digest": digest}, "images": images}, separators=(",", ":"))
    padded = text.encode().ljust(-(-len(text) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded

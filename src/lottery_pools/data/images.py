"""Image sets: decoded once into a cache of memory-mapped files, and read from there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lottery_pools.config import schema
from lottery_pools.data import cache, decoding, finding
from lottery_pools.data.dataset import Source
from lottery_pools.data.decoding import Progress, Rows
from lottery_pools.data.encoded import EncodedSet
from lottery_pools.data.finding import HUB, HubImages, ImageFolder, ParquetFiles
from lottery_pools.data.labels import Classes
from lottery_pools.errors import UserError
from lottery_pools.runs.disk import OTHER_CACHE, cache_root, failed_write

_CACHE_VERSION = 3
"""Part of the names in the cache. Increase it with every change of the decoded pixels or of their files."""


@dataclasses.dataclass(frozen=True)
class _Listed:
    """An image set whose files and labels are known already."""

    notes: tuple[str, ...]
    samples: EncodedSet

    def encoded(self, data: schema.Data, scratch: Path) -> EncodedSet:
        return self.samples


Origin = ImageFolder | ParquetFiles | HubImages | _Listed
Choose = Callable[[Classes], Rows]
"""Says which samples are decoded, from the classes of all."""


def load(data: schema.Data, progress: Progress | None = None) -> Source:
    """Load an image set.

    If the cache holds these very files, decoded with these settings, it is read; otherwise the files are decoded into
    it. The images stay in the cache, memory-mapped and read-only. With `data.resized_crop` their side is 8/7 of
    `data.size`, so that `data.size` is that of the central 7/8, on which networks are tested.

    Args:
        data: The settings `[data]`; see `sources.load` for what `data.name` may be.
        progress: Is told how many images are decoded, of how many; it is not called if the cache is read.

    Raises:
        UserError: The images are missing or damaged, it is not clear which column to use, or the cache cannot be
            written.
    """
    data = _as_decoded(data)
    origin = finding.find(data)
    return _load(_place(data, origin.content()), origin, data, progress, None)[0]


def load_some(data: schema.Data, choose: Choose, progress: Progress | None = None) -> tuple[Source, Rows]:
    """Load some images of a set, as `load` does all: only these are decoded, and kept in the cache by themselves.

    Args:
        data: As for `load`.
        choose: Says which.
        progress: As for `load`.

    Returns:
        The samples, and which of the set they are: those that were chosen and can be read.
    """
    data = _as_decoded(data)
    origin = finding.find(data)
    root = cache_root()
    with contextlib.ExitStack() as kept:
        try:
            root.mkdir(parents=True, exist_ok=True)
            scratch = kept.enter_context(tempfile.TemporaryDirectory(dir=root))  # may hold what is decoded
            samples = origin.encoded(data, Path(scratch))
            rows = choose(decoding.numbered(samples, data))
        except OSError as error:
            raise failed_write(f"to the cache {root}", error, OTHER_CACHE) from error
        chosen = {split: hashlib.sha256(numbers.numpy().tobytes()).hexdigest() for split, numbers in rows.items()}
        place = _place(data, [origin.content(), chosen])
        return _load(place, _Listed(origin.notes, samples), data, progress, rows)


def _as_decoded(data: schema.Data) -> schema.Data:
    """The settings by which images are decoded: the side that they are resized to, and the column of the labels."""
    size = round(data.size * 8 / 7) if data.size is not None and data.resized_crop else data.size
    label_column = data.label_column or (HUB[data.name].label_column if data.name in HUB else None)
    return dataclasses.replace(data, size=size, resized_crop=False, label_column=label_column)


def _place(data: schema.Data, content: Any) -> Path:
    """The folder in the cache for images that are told apart by their content and these settings."""
    key = [_CACHE_VERSION, content, data.size, data.image_column, data.label_column]
    if data.task != "single-label":
        key.append(data.task)
    if data.broken != "leave-out":
        key.append(data.broken)
    return cache_root() / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _load(
    folder: Path, origin: Origin, data: schema.Data, progress: Progress | None, rows: Rows | None
) -> tuple[Source, Rows]:
    """The images in a folder of the cache, which are decoded first if they are not there, and which they are."""
    notes = origin.notes
    try:
        if folder.exists():
            return _read(folder, notes), cache.rows(folder)
    except cache.DamagedCacheError as error:
        cache.remove(folder)
        notes = (*notes, f"the cache {folder} was damaged, and is made again ({error})")
    except OSError as error:
        raise failed_write(f"to the cache {folder.parent}", error, OTHER_CACHE) from error
    _decode_into(folder, origin, data, progress, rows)
    try:
        return _read(folder, notes), cache.rows(folder)
    except cache.DamagedCacheError as error:
        raise UserError(f"the cache {folder} is damaged ({error}): check the disk, or {OTHER_CACHE}") from error


def _read(folder: Path, notes: tuple[str, ...]) -> Source:
    """Read a folder of the cache, with further notes; raises DamagedCacheError."""
    source = cache.read(folder)
    listed = f" (all are listed in {folder / decoding.BROKEN})"
    named = (note + listed if decoding.LEFT_OUT in note else note for note in source.notes)
    return dataclasses.replace(source, notes=(*notes, *named))


def _decode_into(folder: Path, origin: Origin, data: schema.Data, progress: Progress | None, rows: Rows | None) -> None:
    """Decode an image set, or some of it, into a folder of the cache, which is complete as soon as it exists."""
    root = folder.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Where `datasets` is needed, it copies parquet files first; the copies are removed when the pixels are decoded.
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            unfinished = Path(scratch) / "decoded"
            unfinished.mkdir()
            decoding.decode(origin.encoded(data, Path(scratch)), data, unfinished, progress, rows)
            unfinished.rename(folder)
    except OSError as error:
        if not folder.exists():  # if it does, another process was faster
            raise failed_write(f"to the cache {root}", error, OTHER_CACHE) from error

"""The kinds of files that the package reads: each is written undamaged, and read as the package does."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Model
from lottery_pools.data import cache, npy
from lottery_pools.errors import UserError
from lottery_pools.exchange import network as networks
from lottery_pools.experiment import report
from lottery_pools.reporting.lineage import lineage
from lottery_pools.runs import results
from lottery_pools.runs.rows import PoolRow, Row, pack_hits
from lottery_pools.tickets import files, masks
from lottery_pools.tickets.checkpoint import load_state, save_state
from lottery_pools.tickets.ticket import Ticket, snapshot
from tests.faults.changes import (
    CONTAINERS,
    ROWS,
    Change,
    edit_json_file,
    edit_npy_header,
    edit_settings,
    edit_settings_text,
    signed_container,
    signed_lines,
)

FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format_1.safetensors"
"""A ticket as the first version wrote it, without digests."""


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


def network() -> nn.Module:
    """A small network with a convolution and BatchNorm, always the same."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10))


def write_ticket(path: Path) -> None:
    """Write a pooled ticket of `network` with half of its weights."""
    weights = snapshot(network())
    mask = masks.dense(weights, ["0.weight", "3.weight"])
    mask = masks.prune(masks.magnitude(weights, mask), mask, masks.count(mask)[0] // 2)
    origin = {
        "seed": 3,
        "method": "average",
        "scope": "global",
        "mask": "magnitude",
        "recipe": [[1, 0.5], [3, 0.25]],
        "settings": {},
        "parents": {"1": "ab", "2": "cd"},
        "target": 2,
        "score": 0.8125,
        "target_score": 0.75,
        "train_images": 4000,
        "model": {"name": "größe", "arguments": {"width": 8}, "classes": 10, "input_shape": [3, 4, 4]},
    }
    files.save(Ticket(masks.apply(weights, mask), mask, 2, origin), path)


def write_format_1(path: Path) -> None:
    """Write the ticket that the first version wrote."""
    path.write_bytes(FORMAT_1.read_bytes())


def read_ticket(path: Path) -> Any:
    """All tensors of a ticket to the bit, its metadata, and what `inspect` says of where it came from."""
    ticket, metadata = files.load(path), files.read_metadata(path)
    told = lineage({"target": ticket.level, **ticket.origin})
    return bits(ticket.weights), bits(ticket.mask), ticket.level, dict(ticket.origin), told, metadata


def write_checkpoint(path: Path) -> None:
    """Write the checkpoint of a run that keeps weights and has stepped once."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(2, 3, 4, 4)).square().sum().backward()
    optimizer.step()
    values = {"step": 7, "images": 14, "best": {"epoch": 1, "loss": 0.5, "accuracy": None, "copy": 0}}
    save_state(path, model, optimizer, snapshot(model), values)


def read_checkpoint(path: Path) -> Any:
    """The model, the kept weights and the values of a checkpoint."""
    model = network()
    kept, values = load_state(path, model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    return bits(snapshot(model)), bits(kept or {}), values


def write_rows(path: Path) -> None:
    """Write six rows with digests."""
    results.append(path, _rows())


def write_published_rows(path: Path) -> None:
    """Write six rows without digests, compressed."""
    path.write_bytes(lzma.compress(results.to_lines(_rows()).encode()))


def _rows() -> list[Row]:
    hits = np.arange(200) % 3 == 0
    first = Row(
        "größe", 3, "average", 0, 0.64, "test", "none", 0, 200, 67, 1.25, 67 / 200, 0.1, 2, 10**12, 5, 7,
        pack_hits(hits), ((200, 67, 0.5),), tensors="0123456789abcdef",
    )  # fmt: skip
    return [replace(first, level=level, seed=seed) for level in range(3) for seed in range(2)]


def bits(tensors: Any) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    """Tensors to the bit, by name."""
    return {name: _bits(tensors[name]) for name in tensors}


def _bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    flat = tensor.detach().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return tensor.dtype, tuple(tensor.shape), content


def write_settings(path: Path) -> None:
    """Write settings in which every part has some values."""
    path.write_text(toml.to_toml(replace(toml.preset("demo"), model=Model("conv1d", {"width": 24, "depth": 3}))))


def read_settings(path: Path) -> Config:
    """Settings, and what is made of all of them."""
    config = toml.read_toml(path)
    toml.identity(config)
    toml.to_toml(config)
    return config


def write_array(path: Path) -> None:
    """Write an array of 40 images."""
    np.save(path, np.arange(40 * 3 * 4 * 4, dtype=np.uint8).reshape(40, 3, 4, 4))


def read_array(path: Path) -> Any:
    """An array, as `lp.predict` and published sets of images are read."""
    array = npy.open_array(path)
    return str(array.dtype), array.shape, array.tobytes()


def write_cache(name: str) -> Callable[[Path], object]:
    """A function that writes a cached set of images, of which the file `name` is damaged later."""

    def write(path: Path) -> None:
        images = np.arange(30 * 3 * 4 * 4, dtype=np.uint8).reshape(30, 3, 4, 4)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_name("train.images.npy"), images)
        stored = cache.StoredSplit(npy.digest(images), torch.arange(30) % 3)
        cache.write_index(path.parent, {"train": stored}, ("cat", "dog", "owl"), ("2 images are left out",))
        assert path.name == name

    return write


def read_cache(path: Path) -> Any:
    """The images and labels of a cached set."""
    cache._digest.cache_clear()  # two damaged files may have the same size, and be written within a tick of the clock
    source = cache.read(path.parent)
    train = source.train
    return source.classes, source.notes, source.digest, bits({"images": train.images, "labels": train.labels})


def write_published_pools(path: Path) -> None:
    """Write how four pools came about."""
    pools = [PoolRow(0, "average", level, 0.5, ((level, 0.5), (3, 0.25)), 1000, "accuracy", 0.01) for level in range(4)]
    path.write_text(results.to_lines(pools))


def write_foreign(path: Path) -> None:
    """Write a checkpoint as a training program does."""
    torch.save({"epoch": 3, "state_dict": network().state_dict(), "best": 0.75}, path)


def write_foreign_safetensors(path: Path) -> None:
    """Write plain safetensors."""
    from safetensors.torch import save_file

    save_file(dict(network().state_dict()), path)


def read_foreign(path: Path) -> Any:
    """A checkpoint of other software as a ticket."""
    (ticket,) = lp.read([path], model=network(), prunable="convolutions+linear")
    return bits(ticket.weights), bits(ticket.mask)


def write_diagnosis(path: Path) -> None:
    """Write a diagnosis of two seeds, shortened."""
    seed = {
        "seed": 0,
        "pairs": [{"levels": [0, 1], "barrier": 0.25, "points": [0.5, 0.25, 0.5]}],
        "classes": ["a", "b"],
    }
    path.write_text(json.dumps([seed, {**seed, "seed": 1}], indent=1))


def write_exported(path: Path) -> None:
    """Write the settings of an exported network."""
    model = {"name": "conv1d", "arguments": {"width": 8}, "classes": 10, "input_shape": [1, 40]}
    path.write_text(json.dumps({"architectures": ["conv1d"], networks.SECTION: {"model": model, "level": 3}}))


def read_exported(path: Path) -> Any:
    """The network that an exported folder says it is of, built."""
    described = networks.settings(path.parent).get("model")
    return described, sorted(networks.built(described, str(path.parent)).state_dict())


_CACHED: Mapping[str, Change] = {
    "train.images.npy": edit_npy_header,
    "train.labels.npy": edit_npy_header,
    "index.json": edit_json_file,
}
"""The files of a cached set of images, and how each is changed."""


def _cached(name: str, change: Change) -> Kind:
    """The kind of one file of a cached set of images."""
    refusals = (cache.DamagedCacheError, UserError)
    return Kind(
        f"image cache: {name}", write_cache(name), read_cache, True, f"set/{name}", (change,), unsigned, refusals, "no"
    )


KINDS = (
    Kind("ticket", write_ticket, read_ticket, changes=CONTAINERS, sign=signed_container),
    Kind("ticket of format 1", write_format_1, read_ticket, has_digests=False, changes=CONTAINERS),
    Kind("checkpoint", write_checkpoint, read_checkpoint, changes=CONTAINERS, sign=signed_container),
    Kind("rows", write_rows, results.read, changes=ROWS, sign=signed_lines, may_be_cut=True),
    Kind("published rows", write_published_rows, results.read, file_name="results.jsonl.xz"),
    Kind("published pools", write_published_pools, results.read_pools, False, changes=(edit_json_file,)),
    Kind("diagnosis", write_diagnosis, report.read_json, False, "diagnosis_5.json", (edit_json_file,)),
    Kind("settings", write_settings, read_settings, False, "settings.toml", (edit_settings, edit_settings_text)),
    Kind("array", write_array, read_array, False, "a.npy", (edit_npy_header,), refusals=(ValueError,), names_file="no"),
    *(_cached(name, change) for name, change in _CACHED.items()),
    Kind(
        "exported network",
        write_exported,
        read_exported,
        False,
        "hub/config.json",
        (edit_json_file,),
        names_file="folder",
    ),
    Kind("checkpoint of other software", write_foreign, read_foreign, False, "a.pth"),
    Kind("safetensors of other software", write_foreign_safetensors, read_foreign, False, "a.safetensors"),
)
"""All kinds of files."""

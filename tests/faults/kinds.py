"""The kinds of files that the package reads: each is written undamaged, and read as the package does."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Model
from lottery_pools.data import cache, npy, record
from lottery_pools.errors import UserError
from lottery_pools.exchange import bitmask
from lottery_pools.exchange import network as networks
from lottery_pools.experiment import reading
from lottery_pools.reporting.lineage import lineage
from lottery_pools.runs import results, speeds
from lottery_pools.runs.rows import MetricRow, PoolRow, Row, pack_hits, pack_values
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
from tests.faults.compiled_kinds import COMPILED_KINDS
from tests.faults.data_kinds import DATA_KINDS
from tests.faults.kind import Kind, bits, unsigned

FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format_1.safetensors"
"""A ticket as the first version wrote it, without digests."""


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
    pools = [PoolRow(0, "average", level, 0.5, ((level, 0.5), (3, 0.25)), 1000, "accuracy") for level in range(4)]
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


def write_coded(path: Path) -> None:
    """Write a ticket with masks in each of the three codes: few survivors, few pruned, and long runs of both."""
    torch.manual_seed(0)
    weights = {name: torch.randn(400) for name in ("few", "many", "runs")} | {"free": torch.ones(3)}
    places = torch.arange(400)
    mask = {"few": places % 37 == 5, "many": places % 41 != 7, "runs": places // 50 % 2 == 0}
    files.save(Ticket(masks.apply(weights, mask), mask, 7, {"seed": 1}), path)


def write_shards(path: Path) -> None:
    """Write a checkpoint in two safetensors files and the index that lists them."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    weights = dict(network().state_dict())
    shard_of = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for shard in sorted(set(shard_of.values())):
        held = {name: tensor for name, tensor in weights.items() if shard_of[name] == shard}
        save_file(held, path.with_name(shard))
    path.write_text(json.dumps({"metadata": {"total_size": 4000}, "weight_map": shard_of}, indent=1))


def read_shards(path: Path) -> Any:
    """A checkpoint in several files as a ticket."""
    return read_foreign(path)


def write_bitmask(path: Path) -> None:
    """Write two sparse layers as compressed-tensors does."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, weight in network().state_dict().items():
        if weight.ndim > 1:
            flat = weight.flatten(1)
            parts = bitmask.encode(flat, flat > 0)
            tensors |= {f"{name.removesuffix('.weight')}.{part}": value.contiguous() for part, value in parts.items()}
    save_file(tensors, path)


def read_bitmask(path: Path) -> Any:
    """What such a file holds, as a ticket."""
    ticket = lp.read(path)
    return bits(ticket.weights), bits(ticket.mask)


def write_metric_rows(path: Path) -> None:
    """Write six rows of a run that is measured by another metric than accuracy."""
    values = np.linspace(-1, 1, 50, dtype=np.float32) ** 2
    mean = float(values.mean(dtype=float))
    first = MetricRow(
        "größe", 0, "average", 0, 0.5, "test", "none", 0, 50, "r2", mean, 0.5, 0, 100, 5, 7, pack_values(values),
        tensors="0123456789abcdef",
    )  # fmt: skip
    results.append(path, [replace(first, level=level) for level in range(6)])


def write_record(path: Path) -> None:
    """Write what a run remembers of its data."""
    record.save(record.DataRecord("/data/größe", "0123456789abcdef", 40, 8, 8, ("cat", "dog")), path)


def write_speeds(path: Path) -> None:
    """Write the speeds of a compiled ticket, which lies beside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ticket = path.parent.with_suffix(".safetensors")
    write_ticket(ticket)
    speeds.keep([speeds.Speed(n, 1, 0.001 * n, 0.002 * n, "a processor") for n in (1, 64)], ticket, path.parent)


def read_speeds(path: Path) -> Any:
    """The speeds beside a ticket."""
    return speeds.of_ticket(path.parent.with_suffix(".safetensors"))


def write_published_speeds(path: Path) -> None:
    """Write the speeds of three published tickets."""
    speed = speeds.Speed(1, 1, 0.001, 0.002, "a processor")
    path.write_text(speeds.to_lines([speeds.SpeedRow(0, "ticket", level, 0.5, speed) for level in range(3)]))


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
    Kind("diagnosis", write_diagnosis, reading.read_json, False, "diagnosis_5.json", (edit_json_file,)),
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
    Kind("ticket, masks in all codes", write_coded, read_ticket, changes=CONTAINERS, sign=signed_container),
    Kind("shards of other software", write_shards, read_shards, False, "s/a.index.json", (edit_json_file,)),
    Kind("sparse-bitmask", write_bitmask, read_bitmask, False, "a.safetensors"),
    Kind(
        "rows of another metric",
        write_metric_rows,
        results.read_metrics,
        changes=ROWS,
        sign=signed_lines,
        may_be_cut=True,
    ),
    Kind("data of a run", write_record, record.read, False, "data.json", (edit_json_file,)),
    Kind("speeds", write_speeds, read_speeds, False, "level_03.compiled/speed.json", (edit_json_file,)),
    Kind("published speeds", write_published_speeds, speeds.read, False, "speeds.jsonl", (edit_json_file,)),
    *COMPILED_KINDS,
    *DATA_KINDS,
)
"""All kinds of files."""

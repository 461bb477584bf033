"""What one checkpoint holds, whichever software wrote it: tensors and masks by name.

| path | is read as |
|---|---|
| a file that `torch.save` wrote | a state_dict, bare or under a key: `pickles.KEYS` |
| `*.safetensors` | its tensors; a ticket that this package wrote, with its masks |
| `*.index.json`, or a folder with one | the shards that it lists, as Hugging Face writes them |
| a folder of Hugging Face's with `model.safetensors` or `pytorch_model.bin` | that file |
| a folder with `mask.pth` and `model_ep*_it*.pth` | open_lth's: its last model and its mask |
| a folder with one checkpoint file | that file |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lottery_pools.errors import UserError, shown
from lottery_pools.exchange import pickles
from lottery_pools.runs import strict_json
from lottery_pools.runs.disk import digest
from lottery_pools.tickets import files

SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin", ".safetensors")
"""How the names of checkpoint files end."""
HUGGING_FACE = ("model.safetensors", "pytorch_model.bin")
"""The weights in a folder that Hugging Face's libraries wrote, whatever lies beside them; the first that is there."""
_HUGGING_FACE_MARKS = ("config.json", "trainer_state.json", "training_args.bin")
OPEN_LTH_MASK, _OPEN_LTH_MODEL = "mask.pth", re.compile(r"model_ep(\d+)_it(\d+)\.pth")


@dataclass(frozen=True)
class Contents:
    """The tensors of one checkpoint, as its file has them."""

    path: Path
    """The file, or of shards their index."""
    tensors: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    """Masks that lie beside the tensors, under the tensors' names; not zero where a weight survives."""
    notes: tuple[str, ...] = ()
    """What was chosen among several, a sentence each."""
    digests: tuple[str, ...] = ()
    """Of the files that were read."""
    own_attribute: bool = False
    """Whether names may begin with the attribute under which a Lightning module holds the network."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Of a ticket that this package wrote."""


def contents(path: Path) -> Contents:
    """Read a file, or a folder that is one checkpoint, as the table above says. Nothing of it is run.

    Raises:
        UserError: If there is no checkpoint, or it would run code, is damaged, or of a kind that is not read.
    """
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}: give a file, or a folder of files")
    if path.is_dir():
        return _of_folder(path)
    if path.name.endswith(".index.json"):
        return _of_shards(path)
    return _of_file(path)


def is_one(folder: Path) -> bool:
    """Whether a folder is one checkpoint, not a folder of several."""
    return (
        _is_open_lth(folder)
        or _hugging_face_file(folder) is not None
        or any(folder.glob("*.index.json"))
        or (folder / ".metadata").exists()
        or len(listed(folder)) == 1
    )


def listed(folder: Path) -> list[Path]:
    """The checkpoint files that lie in a folder, in the order of their names."""
    return sorted((path for path in folder.iterdir() if _is_checkpoint(path)), key=natural)


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts names as people do: `step2.pt` before `step10.pt`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def named_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by name, as they are in it; raises UserError as `contents`."""
    if path.suffix == ".safetensors":
        return _safetensors(path)
    return pickles.tensors(pickles.load(path), path)[0]


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() and path.suffix in SUFFIXES and not path.name.startswith(".")


def _is_open_lth(folder: Path) -> bool:
    return (folder / OPEN_LTH_MASK).exists() and bool(_open_lth_models(folder))


def _hugging_face_file(folder: Path) -> Path | None:
    """The weights in a folder that Hugging Face's libraries wrote; None if it is not theirs, or in shards."""
    if not any((folder / mark).exists() for mark in _HUGGING_FACE_MARKS):
        return None
    return next((folder / name for name in HUGGING_FACE if (folder / name).is_file()), None)


def _of_file(path: Path) -> Contents:
    if path.suffix == ".safetensors":
        if _is_ticket(path):
            ticket = files.load(path)
            return Contents(path, ticket.weights, ticket.mask, digests=(digest(path),), origin=ticket.origin)
        return Contents(path, _safetensors(path), digests=(digest(path),))
    value = pickles.load(path)
    tensors, notes = pickles.tensors(value, path)
    own_attribute = isinstance(value, Mapping) and pickles.LIGHTNING in value
    return Contents(path, tensors, {}, tuple(notes), (digest(path),), own_attribute)


def _of_folder(folder: Path) -> Contents:
    if (folder / ".metadata").exists():
        raise UserError(
            f"{folder} is a distributed checkpoint: gather it first, with "
            f"`python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} whole.pt`"
        )
    if _is_open_lth(folder):
        return _of_open_lth(folder)
    if (whole := _hugging_face_file(folder)) is not None:
        return _of_file(whole)
    if indices := sorted(folder.glob("*.index.json")):
        return _of_shards(indices[-1])  # where both are there, the index of safetensors comes last
    inside = listed(folder)
    if len(inside) != 1:
        raise UserError(f"{folder} holds {len(inside)} checkpoint files where one was asked for: name the file")
    return _of_file(inside[0])


def _of_open_lth(folder: Path) -> Contents:
    """The last model of a level, and its mask."""
    model, mask = _open_lth_models(folder)[-1], folder / OPEN_LTH_MASK
    weights = _of_file(model)
    note = f"the weights are those of {model.name}, the mask is that of {mask.name}"
    return Contents(
        model, weights.tensors, named_tensors(mask), (*weights.notes, note), (*weights.digests, digest(mask))
    )


def _open_lth_models(folder: Path) -> list[Path]:
    """open_lth's models of one level, the last step last."""
    steps = {path: match for path in folder.iterdir() if (match := _OPEN_LTH_MODEL.fullmatch(path.name))}
    return sorted(steps, key=lambda path: tuple(map(int, steps[path].groups())))


def _of_shards(index: Path) -> Contents:
    """The tensors of the files that an index lists, each from the file that it is said to be in."""
    try:
        file_of: dict[str, str] = strict_json.parse(index.read_bytes())["weight_map"]
        shards = {name: index.parent / name for name in sorted(set(file_of.values()))}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is no index of shards: restore it, or give the shards as a list") from error
    for name, path in shards.items():
        if Path(name).name != name:
            raise UserError(f"{index} lists {shown(name)}, which is not beside it: put all shards into one folder")
        if not _is_file(path):
            raise UserError(f"{index} lists {shown(name)}, which is missing: restore it")
    held = {name: named_tensors(path) for name, path in shards.items()}
    for tensor, shard in file_of.items():
        if tensor not in held[shard]:
            raise UserError(
                f"{index} says that {shown(tensor)} is in {shown(shard)}, which does not have it: restore both"
            )
    tensors = {tensor: held[shard][tensor] for tensor, shard in file_of.items()}
    note = f"the tensors are those of {len(shards)} files that {index.name} lists"
    return Contents(index, tensors, {}, (note,), tuple(digest(path) for path in shards.values()))


def _is_file(path: Path) -> bool:
    """Whether there is such a file; False for what can be no name of one, as what a damaged index lists."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 – it is no mapping
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is truncated or no safetensors file ({shown(str(error))[1:-1]}): restore it"
        ) from error


def _is_ticket(path: Path) -> bool:
    """Whether this package wrote the file."""
    try:
        with safe_open(path, "pt") as file:
            return "ticket" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is truncated or no safetensors file ({shown(str(error))[1:-1]}): restore it"
        ) from error

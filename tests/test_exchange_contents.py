"""Files and folders of other software are opened, and nothing in them is run."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import lottery_pools as lp
from lottery_pools.errors import UserError
from lottery_pools.exchange import bitmask, contents, pickles


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"a.weight": torch.randn(4, 4) * (torch.rand(4, 4) < 0.5), "a.bias": torch.randn(4)}


class Runs:
    """An object that touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return pathlib.Path.touch, (self.mark,)


class RunsCommand:
    """An object that runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", [Runs, RunsCommand])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_nothing_ran(kind: type, zipped: bool, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "a.pt"
    torch.save({"state_dict": state(), "x": kind(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"a\.pt would run code when opened \([\w.]+\) and was not: save") as error:
        lp.read(path)
    assert "\n" not in str(error.value)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the file is one that runs when it is opened without care"


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"run code when opened \(torch\.nn\.modules\.linear\.Linear\) .*state_dict"):
        lp.read(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, path=Path("data")),
        np.float64(71.5),
        np.arange(3.0),
        [np.int64(3), {"deep": np.float32(1)}],
        Path("runs/here"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_programs_keep_beside_the_weights_does_not_hinder(
    beside: object, zipped: bool, tmp_path: Path
) -> None:
    saved = {"args": beside, "state_dict": state(), "epoch": 3}
    torch.save(saved, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=zipped)
    checkpoint = contents.contents(tmp_path / "a.pth.tar")
    assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in state().items())
    assert pickles.Inert not in torch.serialization.get_safe_globals()


def test_inert_objects_keep_nothing() -> None:
    inert = pickles.Inert(1, a=2)
    inert.__setstate__({"b": 3})
    assert vars(inert) == {}


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "model_state_dict", "anything"])
def test_weights_are_found_under_a_key(key: str, tmp_path: Path) -> None:
    torch.save({"epoch": 1, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, key: state()}, tmp_path / "a.pt")
    checkpoint = contents.contents(tmp_path / "a.pt")
    assert checkpoint.tensors.keys() == state().keys()
    assert checkpoint.notes == (f"the weights are those under {key!r}",)


def test_several_state_dicts_under_unknown_keys_are_refused(tmp_path: Path) -> None:
    torch.save({"generator": state(), "critic": state()}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="holds several state_dicts, under 'generator', 'critic': save the one"):
        contents.contents(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2), "holds a tensor, no state_dict"),
        ([torch.ones(2)], "holds a list, no state_dict"),
        ({"epoch": 3}, "holds no named tensors: save"),
        (OrderedDict({1: torch.ones(2)}), "has a tensor under 1: give tensors by name"),
        (defaultdict(list), "would run code when opened"),
    ],
)
def test_what_is_no_checkpoint_is_told(value: object, message: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(UserError, match=message):
        contents.contents(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02}q\x00.", b"PK\x03\x04 cut"])
def test_damage_is_told_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"a\.(pt|safetensors) (is|holds)") as error:
        contents.contents(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged or no PyTorch checkpoint"):
        contents.contents(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_told(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt is a TorchScript program: save the state_dict"):
        contents.contents(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_in_other_layouts_become_ordinary_ones(tmp_path: Path) -> None:
    torch.save({**state(), "a.weight": state()["a.weight"].to_sparse(), "_extra_state": None}, tmp_path / "a.pt")
    tensors = contents.contents(tmp_path / "a.pt").tensors
    assert torch.equal(tensors["a.weight"], state()["a.weight"])
    assert tensors.keys() == state().keys()
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    torch.save({"a": quantised}, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"'a' of .*b\.pt is quantised"):
        contents.contents(tmp_path / "b.pt")


def sharded(folder: Path, suffix: str) -> Path:
    """A checkpoint in two files and their index, as Hugging Face writes it."""
    folder.mkdir()
    places = {}
    for n, (name, tensor) in enumerate(state().items(), start=1):
        shard = f"model-0000{n}-of-00002.{suffix}"
        if suffix == "safetensors":
            save_file({name: tensor}, folder / shard)
        else:
            torch.save({name: tensor}, folder / shard)
        places[name] = shard
    index = folder / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 80}, "weight_map": places}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_one_checkpoint(suffix: str, tmp_path: Path) -> None:
    index = sharded(tmp_path / "model", suffix)
    for path in (index, index.parent):
        checkpoint = contents.contents(path)
        assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in state().items())
        assert len(checkpoint.digests) == 2
    assert lp.read(index.parent).kept == int((state()["a.weight"] != 0).sum())


def test_shards_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    index = sharded(tmp_path / "model", "safetensors")
    whole = json.loads(index.read_text())

    def refused(places: object, message: str) -> None:
        index.write_text(json.dumps({"weight_map": places} if places is not None else []))
        with pytest.raises(UserError, match=message):
            contents.contents(index)

    refused({"a.weight": "../../secret.safetensors"}, r"lists '\.\./\.\./secret\.safetensors', which is not beside it")
    refused({"a.weight": "model-9.safetensors"}, r"lists 'model-9\.safetensors', which is missing")
    refused({**whole["weight_map"], "b": whole["weight_map"]["a.bias"]}, "says that 'b' is in .* does not have it")
    refused(None, "is no index of shards")


def test_a_folder_of_one_file_is_that_file(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    assert contents.is_one(tmp_path)
    assert contents.contents(tmp_path).path == tmp_path / "model.safetensors"
    save_file(state(), tmp_path / "other.safetensors")
    assert not contents.is_one(tmp_path)
    with pytest.raises(UserError, match="holds 2 checkpoint files where one was asked for"):
        contents.contents(tmp_path)


def test_a_folder_of_hugging_faces_is_its_weights_whatever_lies_beside_them(tmp_path: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "pytorch_model.bin"):
        torch.save({"a": {"b": torch.ones(2)}, "c": {"d": torch.ones(2)}}, tmp_path / name)
    save_file(state(), tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text("{}")
    assert contents.is_one(tmp_path)
    assert lp.read(tmp_path).weights.keys() == state().keys()


def test_a_distributed_checkpoint_is_told_with_the_command_that_gathers_it(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(b"")
    (tmp_path / "__0_0.distcp").write_bytes(b"")
    with pytest.raises(UserError, match=r"is a distributed checkpoint: gather it first, with .*dcp_to_torch"):
        lp.read(tmp_path)


def test_names_sort_as_people_sort_them() -> None:
    assert sorted(map(Path, ("s10.pt", "s2.pt", "s2a.pt")), key=contents.natural) == [
        Path("s2.pt"),
        Path("s2a.pt"),
        Path("s10.pt"),
    ]


@pytest.mark.parametrize("shard", ["größe" * 400, "a\0b", ""])
def test_an_index_that_lists_what_can_be_no_file_is_told(shard: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json") as error:
        contents.contents(tmp_path / "model.safetensors.index.json")
    assert len(str(error.value)) < 600


def test_a_damaged_bitmask_is_told_with_its_file(tmp_path: Path) -> None:
    parts = bitmask.encode(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))
    tensors = {f"a.{part}": tensor for part, tensor in {**parts, "compressed": torch.ones(5)}.items()}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: a bitmask keeps 6 weights of which 5 are there"):
        lp.read(tmp_path / "a.safetensors")


def test_an_archive_that_cannot_be_looked_into_is_not_unpacked(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    entry = content.index(b"PK\x01\x02")  # the first of its list of files
    for place, value in ((entry + 6, 64), (entry, 0)):  # a version that there is not yet; no list
        damaged = bytearray(content)
        damaged[place] = value
        (tmp_path / "b.pt").write_bytes(damaged)
        with pytest.raises(UserError, match=r"b\.pt is damaged or no PyTorch checkpoint \((NotImplemented|BadZipFile)"):
            contents.contents(tmp_path / "b.pt")

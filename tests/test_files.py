from __future__ import annotations

import gc
import json
import math
import os
import resource
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lottery_pools import __version__
from lottery_pools.errors import UserError
from lottery_pools.models import registry
from lottery_pools.runs.seeds import generator
from lottery_pools.tickets import files, mask_code, masks
from lottery_pools.tickets.container import write
from lottery_pools.tickets.ticket import Ticket, snapshot

FIXTURES = Path(__file__).parent / "fixtures"


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def network(width: int = 4) -> nn.Module:
    return registry.build("resnet20", {"width": width, "blocks": 1}, 3, (3, 8, 8), seed=0)


def ticket_of(model: nn.Module, level: int = 2) -> Ticket:
    weights = snapshot(model)
    mask = masks.dense(weights, registry.prunable(model, "convolutions"))
    mask = masks.prune(masks.magnitude(weights, mask), mask, masks.count(mask)[0] // 2)
    return Ticket(masks.apply(weights, mask), mask, level, {"seed": 3, "parents": {"1": "ab"}, "recipe": [[1, 0.5]]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    files.save(ticket_of(network()), tmp_path / "level_02.safetensors")
    return tmp_path / "level_02.safetensors"


def test_round_trip_to_the_bit(tmp_path: Path) -> None:
    draws = generator(0, "files")
    weights = {
        "z": torch.randn(3, 7, generator=draws),  # 21 mask bits
        "a": torch.randn(5, generator=draws).bfloat16(),
        "half": torch.tensor([float("nan"), float("inf"), -0.0, 6e-8]).half(),
        "count": torch.tensor(2**62 + 1),
        "none": torch.zeros(0, 4),
    }
    mask = {name: torch.rand(weights[name].shape, generator=draws) < 0.5 for name in ("z", "a", "none")}
    ticket = Ticket(masks.apply(weights, mask), mask, 7, {"seed": 1, "accuracy": 0.1 + 0.2, "name": "é"})
    files.save(ticket, tmp_path / "new" / "t.safetensors")
    loaded = files.load(tmp_path / "new" / "t.safetensors")
    assert (loaded.level, loaded.kept, loaded.prunable) == (7, ticket.kept, 26)
    assert loaded.origin == ticket.origin
    assert list(loaded.weights) == list(weights)
    assert list(loaded.mask) == list(mask)
    for was, now in ((ticket.weights, loaded.weights), (ticket.mask, loaded.mask)):
        assert {name: bits(t) for name, t in was.items()} == {name: bits(t) for name, t in now.items()}


def test_what_is_no_ticket_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot save a ResNet: give a ticket, such as the `\.ticket` of what"):
        files.save(network(), tmp_path / "ticket")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_be_text(tmp_path: Path) -> None:
    ticket = ticket_of(network())
    files.save(ticket, str(tmp_path / "t.safetensors"))
    assert files.load(str(tmp_path / "t.safetensors")).kept == ticket.kept


@settings(max_examples=30)
@given(shape=st.lists(st.integers(0, 9), max_size=3), seed=st.integers(0, 10**6))
def test_masks_of_any_shape_round_trip(tmp_path_factory: pytest.TempPathFactory, shape: list[int], seed: int) -> None:
    mask = {"w": torch.rand(shape, generator=generator(seed, "mask")) < 0.5}
    path = tmp_path_factory.getbasetemp() / "any_shape.safetensors"
    files.save(Ticket({"w": mask["w"].float()}, mask, 0), path)
    loaded = files.load(path)
    assert torch.equal(loaded.mask["w"], mask["w"])
    assert torch.equal(loaded.weights["w"], mask["w"].float())


def test_equal_tickets_give_equal_bytes_whatever_their_layout(tmp_path: Path, path: Path) -> None:
    ticket = ticket_of(network())
    other = Ticket(
        {
            name: tensor.contiguous(memory_format=torch.channels_last)
            if tensor.ndim == 4
            else nn.Parameter(tensor)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in ticket.weights.items()
        },
        ticket.mask,
        2,
        dict(reversed(list(ticket.origin.items()))),
    )
    files.save(other, tmp_path / "other.safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() == path.read_bytes()
    files.save(files.load(path), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_tied_weights_are_saved_under_both_names(tmp_path: Path) -> None:
    shared = torch.ones(4)
    files.save(Ticket({"a": shared, "b": shared}, masks.dense({"a": shared}, ["a"]), 0), tmp_path / "t.safetensors")
    assert {name: t.tolist() for name, t in files.load(tmp_path / "t.safetensors").weights.items()} == {
        "a": [1.0] * 4,
        "b": [1.0] * 4,
    }


def test_only_survivors_are_written(path: Path) -> None:
    ticket = files.load(path)
    for name, tensor in load_file(path).items():
        if (name := name.removeprefix("weight/")) in ticket.mask:
            assert torch.equal(tensor, ticket.weights[name][ticket.mask[name]])


def frozen_ticket() -> Ticket:
    """The ticket in `fixtures/format_1.safetensors` and `format_2.safetensors`, which are never written again."""
    values = torch.arange(-60, 60).float().reshape(4, 30) / 7
    values[0, 0], values[3, 29] = -0.0, 1e-41  # the second is denormal
    mask = {
        "layer.weight": torch.arange(120).reshape(4, 30) % 7 == 0,
        "größe": torch.arange(12) % 3 == 1,
        "all": torch.ones(3, 3, dtype=torch.bool),
    }
    mask["layer.weight"][0, 0] = mask["layer.weight"][3, 29] = True
    weights = {
        "layer.weight": torch.where(mask["layer.weight"], values, 0.0),
        "layer.bias": torch.tensor([float("nan"), float("inf"), -0.0, 6e-8]).half(),
        "größe": torch.where(mask["größe"], torch.arange(12) - 5.5, 0.0).bfloat16(),
        "all": torch.arange(9).reshape(3, 3).double() - 4,
        "count": torch.tensor(2**62 + 1),
        "flags": torch.tensor([True, False]),
        "none": torch.zeros(0, 4),
    }
    origin = {"seed": 3, "recipe": [[1, 0.5]], "score": 0.1 + 0.2, "model": {"name": "é", "arguments": {}}}
    return Ticket(weights, mask, 3, origin)


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_every_format_are_read_to_the_bit(version: int) -> None:
    expected, path = frozen_ticket(), FIXTURES / f"format_{version}.safetensors"
    for verify in (True, False):
        ticket = files.load(path, verify=verify)
        assert (ticket.level, ticket.kept, ticket.prunable) == (3, 31, 141)
        assert ticket.origin == expected.origin
        for was, now in ((expected.weights, ticket.weights), (expected.mask, ticket.mask)):
            assert list(was) == list(now)
            assert {name: bits(t) for name, t in was.items()} == {name: bits(t) for name, t in now.items()}
    assert files.read_metadata(path)["format"] == version


def test_the_format_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "VERSION", "0.1.0")
    files.save(frozen_ticket(), tmp_path / "t.safetensors")
    assert (tmp_path / "t.safetensors").read_bytes() == (FIXTURES / "format_2.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("density", [1.0, 0.8, 0.5, 0.38, 0.2, 0.1, 0.05, 0.02])
def test_a_file_is_at_most_a_twentieth_larger_than_its_content(
    tmp_path: Path, dtype: torch.dtype, density: float
) -> None:
    size = 1_000_000
    mask = torch.rand(size, generator=generator(0, "mask")) < density
    values = torch.randn(size, generator=generator(0, "values")).to(dtype)
    files.save(Ticket({"w": values.masked_fill(~mask, 0)}, {"w": mask}, 0), tmp_path / "t")
    p = mask.double().mean().item()
    entropy = 0.0 if p == 1 else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    content = size * (entropy + p * 8 * dtype.itemsize) / 8
    assert content < (tmp_path / "t").stat().st_size < 1.05 * content


def test_weights_that_changed_on_disk_are_noticed_unless_that_is_skipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8 + int.from_bytes(content[:8], "little")] ^= 1  # the first tensor: a counter of batches
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: the SHA-256 of its tensors is not the one") as error:
        files.load(path)
    one_line(error, path)
    assert files.load(path, verify=False).level == 2
    assert files.read_metadata(path)["level"] == 2


def test_numbers_of_numpy_are_saved_as_plain_numbers(path: Path) -> None:
    ticket = files.load(path)
    origin = {"accuracy": np.float32(0.5), "seed": np.int64(3)}
    files.save(Ticket(ticket.weights, ticket.mask, np.int32(5), origin), path.with_name("n"))  # type: ignore[arg-type]
    loaded = files.load(path.with_name("n"))
    assert (loaded.level, loaded.origin) == (5, {"accuracy": 0.5, "seed": 3})


def test_a_kind_of_number_that_no_file_holds(tmp_path: Path) -> None:
    ticket = Ticket({"w": torch.ones(2, dtype=torch.complex128)}, {"w": torch.ones(2, dtype=torch.bool)}, 0)
    with pytest.raises(UserError, match=r"^cannot write .*: 'w' is torch\.complex128"):
        files.save(ticket, tmp_path / "t.safetensors")


def test_one_metadata_key_of_sorted_json_and_masks_as_bits(path: Path) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        packed = file.get_tensor("mask/conv1.weight")
    assert list(metadata) == ["ticket"]
    content = json.loads(metadata["ticket"])
    assert metadata["ticket"] == json.dumps(content, sort_keys=True)
    assert files.read_metadata(path) == content
    assert (content["format"], content["level"], content["version"]) == (2, 2, __version__)
    assert content["origin"] == {"seed": 3, "parents": {"1": "ab"}, "recipe": [[1, 0.5]]}
    assert packed.dtype == torch.uint8
    assert packed.numel() == 22  # of 108 weights: ten bytes, four of low bits of the 25 gaps, eight in unary


def test_the_file_has_ordinary_permissions(path: Path) -> None:
    plain = path.with_name("plain")
    plain.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_fifty_loaded_tickets_hold_no_tensors(path: Path) -> None:
    def tensors() -> int:
        gc.collect()
        return sum(type(tracked) is Tensor for tracked in gc.get_objects())

    before = tensors()
    tickets = [files.load(path) for _ in range(50)]
    assert sum(ticket.kept for ticket in tickets) > 0
    assert tensors() == before
    held = dict(tickets[0].weights)
    assert tensors() == before + len(held)


def test_what_is_read_belongs_to_the_reader(path: Path) -> None:
    ticket = files.load(path)
    ticket.weights["conv1.weight"].zero_()
    ticket.mask["conv1.weight"].zero_()
    assert ticket.weights["conv1.weight"].any()
    assert ticket.mask["conv1.weight"].any()
    with pytest.raises(KeyError):
        ticket.weights["nothing"]
    assert "nothing" not in ticket.mask


def one_line(error: pytest.ExceptionInfo[UserError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_a_truncated_file(path: Path) -> None:
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for size in (0, 4, 8, header // 2, header - 1, header, header + 1, (header + len(whole)) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="is truncated or no safetensors file") as error:
            files.load(path)
        one_line(error, path)


@pytest.mark.parametrize("content", [b"hello, this is no ticket", b"PK\x03\x04" * 40, b"\x80\x02" + b"\0" * 99])
def test_a_file_of_another_kind(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match="is truncated or no safetensors file") as error:
        files.load(path)
    one_line(error, path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_pytorch_is_not_to_be_deleted(zipped: bool, path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"no safetensors file .*: read a checkpoint of PyTorch with lp\.read$"):
        files.load(path)


@pytest.mark.parametrize("metadata", [None, {"other": "1"}])
def test_a_safetensors_file_that_is_no_ticket(path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.ones(2)}, path, metadata)
    with pytest.raises(UserError, match="is a safetensors file but no ticket") as error:
        files.load(path)
    one_line(error, path)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(UserError, match=r"^no ticket file ") as error:
            files.load(path)
        one_line(error, path)


def rewrite(path: Path, **changes: Any) -> None:
    """Change tensors of a ticket file, or entries of its metadata; its digests are made anew."""
    metadata, tensors = files.read_metadata(path), load_file(path)
    for name, value in changes.items():
        if isinstance(value, Tensor):
            tensors[name] = value
        else:
            metadata[name] = value
    write(path, files.KIND, tensors, metadata)


def test_a_ticket_of_a_later_format(path: Path) -> None:
    rewrite(path, format=3)
    with pytest.raises(
        UserError, match=r"has ticket format 3, this version reads 1 and 2: upgrade lottery-pools$"
    ) as error:
        files.load(path)
    one_line(error, path)


def test_a_mask_that_is_not_what_the_header_says(path: Path) -> None:
    kept, prunable = files.load(path).kept, files.load(path).prunable
    whole = torch.from_numpy(mask_code.encode(np.ones(108, np.bool_)))
    rewrite(path, **{"mask/conv1.weight": whole, "weight/conv1.weight": torch.ones(108)})
    with pytest.raises(UserError, match=f"is damaged: it keeps .* where its header says {kept} of {prunable}") as error:
        files.load(path)
    one_line(error, path)


def test_a_mask_that_is_not_what_the_weights_say(path: Path) -> None:
    name = "conv1.weight"
    survivors = int(files.load(path).mask[name].sum())
    other = torch.from_numpy(mask_code.encode(np.arange(108) <= survivors))
    rewrite(path, **{f"mask/{name}": other})
    with pytest.raises(UserError, match=rf"is damaged: the mask of '{name}' keeps {survivors + 1} of {survivors} weig"):
        files.load(path)
    rewrite(path, **{f"mask/{name}": torch.zeros(30, dtype=torch.uint8)})
    with pytest.raises(
        UserError, match=rf"is damaged: the mask of '{name}' cannot be decoded, it has 0 numbers"
    ) as error:
        files.load(path)
    one_line(error, path)


def test_a_mask_of_format_1_that_is_not_what_its_header_says(tmp_path: Path) -> None:
    old = FIXTURES / "format_1.safetensors"
    tensors = load_file(old)
    tensors["mask/größe"][0] = 0
    tensors["weight/größe"].zero_()
    with safe_open(old, "pt") as file:
        save_file(tensors, tmp_path / "t", file.metadata())
    with pytest.raises(UserError, match=r"is damaged: it keeps \d+ of 141 weights where its header says 31 of 141"):
        files.load(tmp_path / "t")


def test_a_small_file_cannot_claim_a_large_tensor(path: Path) -> None:
    """Such a file of 3.6 kB once took 8 GB."""
    metadata, whole = files.read_metadata(path), path.read_bytes()
    for shape in ([10**9], [40_000, 50_000], [2**40, 2**40], [4, 3, 3, 30_000]):
        changed = [[name, shape if name == "conv1.weight" else size] for name, size in metadata["weights"]]
        prunable = metadata["prunable"] + math.prod(shape) - 108
        path.write_bytes(whole)
        rewrite(path, weights=changed, prunable=prunable)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UserError, match=r"is damaged: ") as error:
            files.load(path)
        one_line(error, path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_ticket_of_another_model(path: Path) -> None:
    assert files.load(path, network()).level == 2
    with pytest.raises(UserError) as error:
        files.load(path, network(width=6))
    assert one_line(error, path) == (
        f"'conv1.weight' is (4, 3, 3, 3) in the tensors of {path} and (6, 3, 3, 3) in the model: "
        "give the model, with the arguments, that they were trained with"
    )


def test_a_full_disk_leaves_the_old_file_and_no_other(path: Path) -> None:
    old = path.read_bytes()
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
    try:
        with pytest.raises(UserError, match=r"^cannot write .*: File too large; remove the cause") as error:
            files.save(ticket_of(network(), level=3), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    one_line(error, path)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupt_before_the_rename_leaves_the_old_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    old = path.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.save(ticket_of(network(), level=3), path)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]

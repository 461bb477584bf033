"""Files with digests: whole, to the bit, and nothing in them believed before it is checked."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from lottery_pools.errors import UserError
from lottery_pools.tickets import container
from lottery_pools.tickets.container import Container, write
from lottery_pools.tickets.layout import DTYPES, MAX_HEADER_BYTES

TENSORS = {"a": torch.tensor([1.0, -0.0, float("nan")]), "b": torch.tensor([[True, False]]), "c": torch.zeros(0, 2)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "file", "test", TENSORS, {"x": [1, {"é": None}]})
    return tmp_path / "file"


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), container.bytes_of(tensor).tobytes()


def test_round_trip(path: Path) -> None:
    file = Container(path, "test")
    file.verify()
    assert file.metadata["x"] == [1, {"é": None}]
    assert file.has_digests
    assert {name: bits(file.read(name)) for name in file.entries} == {name: bits(t) for name, t in TENSORS.items()}


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_numbers_of_every_type(tmp_path: Path, dtype: torch.dtype) -> None:
    drawn = torch.randint(0, 2, (3, 5 * dtype.itemsize), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    tensor = drawn.view(dtype)
    write(tmp_path / "file", "test", {"t": tensor, "scalar": tensor[0, 0]}, {})
    file = Container(tmp_path / "file", "test")
    assert bits(file.read("t")) == bits(tensor)
    assert file.read("scalar").shape == ()
    with safe_open(tmp_path / "file", "pt") as other:
        assert bits(other.get_tensor("t")) == bits(tensor)


def test_the_digests_are_what_their_definition_says(path: Path) -> None:
    content, metadata = path.read_bytes(), Container(path, "test").metadata
    start = 8 + int.from_bytes(content[:8], "little")
    header = content[:start].replace(metadata["check_header"].encode(), b"0" * 64)
    assert hashlib.sha256(header).hexdigest() == metadata["check_header"]
    assert hashlib.sha256(content[start:]).hexdigest() == metadata["check_tensors"]


def test_one_flipped_bit_anywhere_is_one_line_that_names_the_file(path: Path) -> None:
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(UserError) as error:
            Container(path, "test").verify()
        text = str(error.value)
        assert text.startswith(str(path)), text
        assert "\n" not in text


def test_tensors_of_kinds_that_cannot_be_written(tmp_path: Path) -> None:
    for tensor in (torch.zeros(2, dtype=torch.complex128), torch.ones(2, 2).to_sparse()):
        with pytest.raises(UserError, match=r"^cannot write .*: 't' is torch\.\w+ \(torch\.\w+\), which safetensors"):
            write(tmp_path / "file", "test", {"t": tensor}, {})
    assert not list(tmp_path.iterdir())


def test_a_header_that_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_HEADER_BYTES", 600)
    with pytest.raises(UserError, match=r"its header would have [\d,]+ bytes, more than 600$"):
        write(tmp_path / "file", "test", {}, {"x": "y" * 600})


def test_a_file_of_another_kind(path: Path) -> None:
    with pytest.raises(UserError, match=r"is a safetensors file but no ticket: give a file written by lottery-pools$"):
        Container(path, "ticket")


def test_a_file_that_cannot_be_opened(path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot read .*: (Is a directory|No such file or directory)"):
        Container(path.parent, "test")
    file = Container(path, "test")
    path.unlink()
    with pytest.raises(UserError, match=r"^cannot read .*: No such file or directory"):
        file.read("a")


def raw(path: Path, header: Any, data: bytes = b"") -> None:
    """A file with this header, as text or as an object, and these bytes after it."""
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(struct.pack("<Q", len(text.encode())) + text.encode() + data)


def test_a_plain_safetensors_file_is_read_but_has_no_digests(path: Path) -> None:
    raw(path, {"__metadata__": {"test": "{}"}, "a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"ab")
    file = Container(path, "test")
    assert not file.has_digests
    assert file.read("a").tolist() == [97, 98]
    with pytest.raises(UserError, match=r"SHA-256 of its tensors is not the one"):
        file.verify()


def tensor(**changes: object) -> dict[str, Any]:
    return {"t": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "{",
        "[" * 3000,
        {"t": 3},
        {"t": {}},
        tensor(more=1),
        tensor(dtype="X8"),
        tensor(dtype=["U8"]),
        tensor(dtype="F32"),
        tensor(shape=[3]),
        tensor(shape=[-2]),
        tensor(shape=[2.0]),
        tensor(shape=[True, 2]),
        tensor(shape="2"),
        tensor(shape=[2] + [1] * 64),
        tensor(shape=[2**60, 2**60]),
        tensor(shape=[2**47, 2**47, 0], data_offsets=[0, 0]),
        tensor(data_offsets=[0]),
        tensor(data_offsets=[2, 0]),
        tensor(data_offsets=[-2, 0]),
        tensor(data_offsets=[1, 3]),
        tensor(data_offsets=[0, 2, 2]),
        {**tensor(), "u": tensor()["t"]},  # both in the same place
        '{"t": {"dtype": "U8", "shape": [' + "9" * 5000 + '], "data_offsets": [0, 2]}}',
        '{"t": {"dtype": "U8", "dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}',
        '{"\\ud800": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}',
        {"__metadata__": [], **tensor()},
    ],
)
def test_a_header_that_does_not_fit_the_file(path: Path, header: Any) -> None:
    raw(path, header, b"ab")
    with pytest.raises(UserError, match=r"is truncated or no safetensors file \(.*\): restore or delete it$") as error:
        Container(path, "test")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("text", [3, "{", "[]", '{"x": 1, "x": 2}', "[" * 3000])
def test_metadata_that_is_no_json_object(path: Path, text: Any) -> None:
    raw(path, {"__metadata__": {"test": text}})
    with pytest.raises(UserError, match=r"is damaged: ") as error:
        Container(path, "test")
    assert "\n" not in str(error.value)


def test_a_header_longer_than_any_of_ours_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        file.truncate(2 * MAX_HEADER_BYTES)
    with pytest.raises(UserError, match=r"its header has 8,388,609 bytes, more than 8,388,608"):
        Container(path, "test")


def test_a_bool_that_is_neither_true_nor_false(path: Path) -> None:
    raw(path, {"__metadata__": {"test": "{}"}, **tensor(dtype="BOOL")}, b"\1\2")
    with pytest.raises(UserError, match=r"is damaged: 't' has a byte that is neither true nor false"):
        Container(path, "test").read("t")


def replaced(path: Path, **changes: Any) -> None:
    write(path, "test", changes.pop("tensors", TENSORS), {"x": 2, **changes})
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda path: os.utime(path, ns=(1, 1)), False),
        (lambda path: replaced(path, y="more metadata"), False),
        (lambda path: replaced(path, tensors={**TENSORS, "a": torch.ones(3)}), True),
        (lambda path: replaced(path, tensors={**TENSORS, "d": torch.ones(3)}), True),
    ],
)
def test_a_file_that_changes_while_it_is_used(path: Path, change: Callable[[Path], None], refused: bool) -> None:
    file = Container(path, "test")
    change(path)
    for _ in range(2):
        if refused:
            with pytest.raises(UserError, match=r"was replaced since it was loaded: load it again$"):
                file.read("a")
        else:
            assert bits(file.read("a")) == bits(TENSORS["a"])


def test_a_bit_that_flips_while_the_file_is_used(path: Path) -> None:
    file = Container(path, "test")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    for _ in range(2):
        with pytest.raises(UserError, match=r"the SHA-256 of its tensors is not the one that it carries"):
            file.read("a")

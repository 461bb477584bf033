"""A small file takes little memory: sizes are compared with the file before anything is allocated."""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import lottery_pools as lp
from lottery_pools.config import toml
from lottery_pools.data import arrow_tables, npy, pixels
from lottery_pools.errors import UserError
from lottery_pools.exchange import bitmask, contents, network
from lottery_pools.runs import results
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket

ROOT = Path(__file__).parents[1]
MOST_MEGABYTES = 300
"""What reading all the files below may add to the memory of a process, together."""
PRUNED = 7_000_000
"""Weights of a ticket whose file has about 3,600 bytes."""


def ticket(path: Path) -> None:
    """A ticket whose weights are all pruned, as an honest file may have it."""
    files.save(Ticket({"a": torch.zeros(PRUNED)}, {"a": torch.zeros(PRUNED, dtype=torch.bool)}, 0), path)


def ticket_of_a_large_network(path: Path) -> None:
    """A ticket of two weights that says it is of a network of 100,000 units in 60 layers."""
    model = {"name": "mlp", "arguments": {"width": 100_000, "depth": 60}, "classes": 10, "input_shape": [1, 40]}
    weights = {"a": torch.ones(2)}
    files.save(Ticket(weights, {"a": torch.ones(2, dtype=torch.bool)}, 0, {"model": model}), path)


def rows(path: Path) -> None:
    """Published rows of 400 MB in a small file: many streams of zeros, one after the other."""
    path.write_bytes(lzma.compress(bytes(4 << 20), preset=0) * 100)


def array(path: Path) -> None:
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)


def png(path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", 11_000, 11_000, 8, 2, 0, 0, 0)), chunk(b"IDAT", zlib.compress(b"0"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))


def tiff(path: Path) -> None:
    fields = ((256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 60_000), (279, 9))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4))


def parquet(path: Path) -> None:
    """Millions of equal rows."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    count = 3_000_000
    table = {"image": pyarrow.nulls(count, pyarrow.binary()), "label": pyarrow.array(np.zeros(count, np.int8))}
    write_table(pyarrow.table(table), path)


def deflated_pickle(path: Path) -> None:
    """A checkpoint of zeros, compressed, as `torch.save` never writes it."""
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(8 << 20)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def sparse_pickle(path: Path) -> None:
    """Many sparse tensors that hold nothing, each of 200 MB if it were dense."""
    nothing, size = (torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0)), (1 << 13, 1 << 13)
    torch.save({f"t{k}": torch.sparse_coo_tensor(*nothing, size, check_invariants=True) for k in range(20)}, path)


def shapes_only_pickle(path: Path) -> None:
    torch.save({"a": torch.zeros(1 << 20, 1 << 20, device="meta")}, path)


def settings_of_long_numbers(path: Path) -> None:
    path.write_text(f"seeds = [{'9' * 5000}]\n")


def settings_nested_deep(path: Path) -> None:
    path.write_text("seeds = " + "[" * 100_000 + "]" * 100_000 + "\n")


def settings_of_many_parts(path: Path) -> None:
    path.write_text("a" + ".a" * 100_000 + " = 1\n")


def large_settings(path: Path) -> None:
    path.write_text("# " + "x" * (1 << 20) + "\n")


FILES: Mapping[str, tuple[Callable[[Path], None], Callable[[Path], object], str]] = {
    "ticket.safetensors": (ticket, lambda path: files.load(path).nonzero_density, ""),
    "network.safetensors": (ticket_of_a_large_network, network.load_model, "cannot be built: .* lack"),
    "rows.jsonl.xz": (rows, results.read, "holds more than"),
    "array.npy": (array, npy.open_array, "its header says"),
    "image.png": (png, lambda path: pixels.decode(str(path), 32), "11000×11000 pixels are more than"),
    "image.tiff": (tiff, lambda path: pixels.decode(str(path), 32), "3600000000 pixels"),
    "images.parquet": (parquet, arrow_tables.describe, "is no set of images"),
    "deflated.pt": (deflated_pickle, contents.contents, "bytes unpacked, far more than it has"),
    "sparse.pt": (sparse_pickle, contents.contents, "numbers, the file far fewer"),
    "shapes.pt": (shapes_only_pickle, contents.contents, "has no numbers"),
    "digits.toml": (settings_of_long_numbers, lambda path: toml.read_toml(path), "digits"),
    "deep.toml": (settings_nested_deep, lambda path: toml.read_toml(path), "nested too deep"),
    "parts.toml": (settings_of_many_parts, lambda path: toml.read_toml(path), "too many parts"),
    "large.toml": (large_settings, lambda path: toml.read_toml(path), "more than 262,144 bytes"),
}
"""Name of a file → how it is made, how it is read, and what is said of it; nothing: it is read."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bounds")
    for name, (make, _, _) in FILES.items():
        make(made / name)
        assert (made / name).stat().st_size < 2 << 20
    return made


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_would_be_large_is_refused_in_one_line(name: str, folder: Path) -> None:
    _, read, said = FILES[name]
    if not said:
        read(folder / name)
        return
    with pytest.raises((UserError, ValueError), match=said) as refused:
        read(folder / name)
    assert "\n" not in str(refused.value)


def read_all(folder: Path) -> Iterator[tuple[str, int]]:
    """Read every file; yields its name, and how many megabytes the process has taken at most by then."""
    import resource

    for name, (_, read, _) in FILES.items():
        with contextlib.suppress(ValueError):  # as it should
            read(folder / name)
        yield name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is counted otherwise")
def test_no_file_takes_much_memory(folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    for name in FILES:  # read first, so that everything is imported before memory is counted
        (empty / name).write_bytes(b"")
    code = (
        "import json, sys; from pathlib import Path; from tests import test_bounds\n"
        "for folder in sys.argv[1:]: print(json.dumps(dict(test_bounds.read_all(Path(folder)))))"
    )
    script = [sys.executable, "-c", code, str(empty), str(folder)]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(json.loads, done.stdout.splitlines())
    largest = max(after, key=lambda name: after[name])
    assert after[largest] - max(before.values()) < MOST_MEGABYTES, after


def test_a_bitmask_whose_shape_is_no_list_of_sizes_is_refused() -> None:
    parts = torch.zeros(3), torch.zeros(1, 1, dtype=torch.uint8)
    for shape in (torch.tensor(5), torch.tensor([1.0, float("inf")])):
        with pytest.raises(UserError, match="the shape beside a bitmask is torch"):
            bitmask.decode(shape, *parts)


def test_a_network_that_fits_its_file_is_built(tmp_path: Path) -> None:
    from tests.test_exchange_export import made

    lp.save(made(), tmp_path / "a.safetensors")
    assert not lp.load_model(tmp_path / "a.safetensors").training

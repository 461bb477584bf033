"""The files of a compiled network: the same bytes each time, and a library that any program can call."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lottery_pools.deploy import compiler
from lottery_pools.deploy.standalone import Standalone, write_standalone

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
SHAPE = (2, 12)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(cache))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3)).eval()


def predict(library: Path, x: torch.Tensor, outputs: int) -> tuple[int, np.ndarray]:
    """What the library's function returns, and the floats that it writes: one more than it may, which is 7."""
    function = ctypes.CDLL(str(library)).network_predict
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    y = np.full(len(x) * outputs + 1, 7, np.float32)
    return function(x.data_ptr(), y.ctypes.data, len(x)), y


@pytest.mark.parametrize("batch", [1, 8, 16, 19, 30])
def test_the_library_predicts_as_pytorch_does(tmp_path: Path, batch: int) -> None:
    module = network()
    files = write_standalone(module, SHAPE, tmp_path)
    assert files.library is not None
    x = torch.randn(batch, *SHAPE)
    code, y = predict(files.library, x, 3)
    assert code == 0
    assert y[-1] == 7
    with torch.no_grad():
        np.testing.assert_allclose(y[:-1].reshape(batch, 3), module(x).numpy(), atol=1e-5)


def test_the_library_refuses_what_it_cannot_take(tmp_path: Path) -> None:
    files = write_standalone(network(), SHAPE, tmp_path)
    library = ctypes.CDLL(str(files.library))
    function = library.network_predict
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    assert (library.network_inputs(), library.network_outputs()) == (24, 3)
    memory = np.zeros(100, np.float32).ctypes.data
    assert function(None, memory, 1) == function(memory, None, 1) == 1
    assert function(memory, memory, -1) == function(memory, memory, 1 << 62) == 1
    assert function(memory, memory, 0) == 0


def texts(files: Standalone) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in (files.header, files.source)]


def test_the_same_network_gives_the_same_text(tmp_path: Path) -> None:
    first, second = (write_standalone(network(), SHAPE, tmp_path / name) for name in ("first", "again"))
    assert texts(first) == texts(second)
    assert [path.name for path in first.paths] == ["network.h", "network.c", "network.so"]


def test_the_source_compiles_with_the_command_that_it_names(tmp_path: Path) -> None:
    files = write_standalone(network(), SHAPE, tmp_path)
    (command,) = [line.strip() for line in texts(files)[1].splitlines() if line.strip().startswith("cc ")]
    assert command == f"cc {' '.join(compiler.FLAGS)} -march=native -shared -fPIC network.c -o network.so -lm"


def test_for_another_processor_there_is_no_library(tmp_path: Path) -> None:
    other = next(target for target in compiler.TARGETS if not compiler.find().has(target))
    write_standalone(network(), SHAPE, tmp_path)
    files = write_standalone(network(), SHAPE, tmp_path, other)
    assert files.library is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.c", "network.h"]
    assert f"for {other};" in texts(files)[0]

"""Sources: the same bytes for the same network, functions shared by shape, and refusals by the C function itself."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lottery_pools.deploy import compiler
from lottery_pools.deploy.graph import Network
from lottery_pools.deploy.source import Source, write
from lottery_pools.deploy.trace import trace
from lottery_pools.models import registry


def network() -> Network:
    model = registry.build("resnet20", {"blocks": 2, "width": 4}, 10, (3, 8, 8), 0)
    (step,) = trace(model, torch.zeros(1, 3, 8, 8)).steps
    assert isinstance(step, Network)
    return step


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (write(network(), False, "avx512") for _ in range(2))
    assert first.text == second.text
    assert first.floats.tobytes() == second.floats.tobytes()
    assert first.integers.tobytes() == second.integers.tobytes()
    assert write(network(), True, "avx512").text != first.text


def test_layers_of_one_shape_share_a_function_and_the_text_has_no_weights() -> None:
    source = write(network(), False, "avx512")
    calls = source.text.count("    network_convolution_")
    functions = source.text.count("static void network_convolution_")
    assert calls == 16  # the stem, 12 in blocks, 2 shortcuts, the linear layer
    assert functions < calls
    assert len(source.text) < 100_000
    assert (source.inputs, source.outputs) == ((192,), (10,))


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_the_function_refuses_what_is_too_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path))
    (step,) = trace(torch.nn.Linear(4, 3), torch.zeros(1, 4)).steps
    assert isinstance(step, Network)
    source = write(step, True, "plain")
    function = ctypes.CDLL(str(compiler.build(source.text, "plain"))).network_predict
    x, y = np.ones(8, np.float32), np.zeros(6, np.float32)
    workspace = np.zeros(source.workspace, np.float32)

    def call(samples: int = 2, ins: int = 8, outs: int = 6, space: int = source.workspace, threads: int = 1) -> int:
        return int(_predict(function, source, (x, y, workspace), (samples, ins, outs, space, threads)))

    assert call() == 0
    np.testing.assert_allclose(y[:3], y[3:])
    assert call(samples=3) == 2
    assert call(ins=7) == 2
    assert call(outs=5) == 3
    assert call(space=source.workspace - 1) == 4
    assert call(threads=2) == 4
    assert call(samples=-1) == call(threads=0) == call(threads=10_000) == 1
    assert call(samples=0, ins=0, outs=0) == 0


def _predict(
    function: ctypes._NamedFuncPointer,
    source: Source,
    arrays: tuple[np.ndarray[tuple[int], np.dtype[np.float32]], ...],
    numbers: tuple[int, ...],
) -> int:
    """Call the C function on one input and one output: (samples, input, output and workspace floats, threads)."""
    x, y, workspace = arrays
    samples, ins, outs, space, threads = numbers

    def one(array: np.ndarray[tuple[int], np.dtype[np.float32]], size: int) -> tuple[object, object]:
        return (ctypes.c_void_p * 1)(array.ctypes.data), (ctypes.c_int64 * 1)(size)

    code: int = function(
        *one(x, ins),
        *one(y, outs),
        ctypes.c_int64(samples),
        ctypes.c_void_p(workspace.ctypes.data),
        ctypes.c_int64(space),
        ctypes.c_void_p(source.floats.ctypes.data),
        ctypes.c_void_p(source.integers.ctypes.data),
        ctypes.c_int(threads),
    )
    return code

"""Headers: the same bytes each time, and what a C program that includes one computes, with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from lottery_pools.deploy.header import header
from lottery_pools.errors import UserError
from lottery_pools.models import registry
from lottery_pools.tickets import masks
from tests.test_deploy_compiled import networks, sparse

needed = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
SHAPE = (3, 10, 7)
CROSS = "aarch64-linux-gnu-gcc"

MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"
#include "other.h"

int main(int count, char **names)
{
    const int64_t batch = atoi(names[1]);
    float *x = malloc(sizeof(float) * batch * net_INPUTS), *y = malloc(sizeof(float) * batch * net_OUTPUTS);
    float *workspace = calloc(net_WORKSPACE, sizeof(float));
    FILE *in = fopen("x.bin", "rb"), *out = fopen("y.bin", "wb");
    if (count != 2 || !in || !out || fread(x, sizeof(float), batch * net_INPUTS, in) != (size_t)(batch * net_INPUTS))
        return 1;
    for (int again = 0; again < 2; again++)
        if (net_run(x, y, batch, workspace))
            return 2;
    if (net_run(x, y, -1, workspace) != 1 || net_run(NULL, y, batch, workspace) == 0)
        return 3;
    fwrite(y, sizeof(float), batch * net_OUTPUTS, out);
    fclose(in), fclose(out), free(x), free(y), free(workspace);
    return 0;
}
"""


def network(density: float) -> nn.Module:
    model = registry.build("resnet20", {"blocks": 1, "width": 4}, 5, SHAPE, 0).eval()
    weights = model.state_dict()
    mask = masks.dense(weights, registry.prunable(model, "convolutions"))
    keep = round(density * sum(tensor.numel() for tensor in mask.values()))
    model.load_state_dict(masks.apply(weights, masks.prune(masks.magnitude(weights, mask), mask, keep)))
    return model


def test_the_same_network_gives_the_same_bytes_with_readable_weights() -> None:
    text = header(network(0.2), SHAPE, name="net")
    assert text == header(network(0.2), SHAPE, name="net")
    assert text.startswith("#ifndef NET_H\n")
    first = next(float(w) for w in network(0.2).state_dict()["fc.weight"].flatten())
    number = f"{np.float32(first).item():.9g}f"
    assert text.count(number) == 2, "in the order for one sample, and in that for many"
    assert header(network(0.2), SHAPE, name="net", single=True).count(number) == 1


def run_main(folder: Path, build: list[str], run: list[str], batch: int) -> NDArray[np.float32]:
    """What a program that includes `net.h` predicts for `x.bin`, compiled and run by these commands."""
    (folder / "other.h").write_text(header(nn.Linear(3, 2), (3,), name="other"), encoding="utf-8")
    (folder / "main.c").write_text(MAIN, encoding="utf-8")
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wno-unused-function", "-Wno-unused-const-variable"]
    subprocess.run([*build, *warnings, "main.c", "-o", "main", "-lm"], cwd=folder, check=True)
    done = subprocess.run([*run, "./main", str(batch)], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.frombuffer((folder / "y.bin").read_bytes(), np.float32).reshape(batch, -1)


@needed
@pytest.mark.slow
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("batch", [1, 19, 30])
def test_a_program_predicts_without_a_fault(tmp_path: Path, batch: int, single: bool) -> None:
    check_without_a_fault(tmp_path, network(0.2), SHAPE, batch, single=single)


@needed
@pytest.mark.slow
@settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(networks(), st.floats(0, 1), st.integers(1, 70), st.sampled_from(["avx512", "plain"]))
def test_random_networks_read_and_write_only_what_is_theirs(
    tmp_path: Path, drawn: tuple[nn.Module, tuple[int, ...]], density: float, batch: int, target: str
) -> None:
    module, shape = drawn
    check_without_a_fault(tmp_path, sparse(module, density, 0), shape, batch, target=target)


def check_without_a_fault(
    folder: Path, model: nn.Module, shape: tuple[int, ...], batch: int, single: bool = False, target: str = "avx512"
) -> None:
    """A program that has exactly the memory that it needs, watched by sanitizers, predicts as PyTorch does."""
    compiler = next(path for path in map(shutil.which, ("cc", "gcc", "clang")) if path)
    (folder / "net.h").write_text(header(model, shape, name="net", single=single, target=target), encoding="utf-8")
    x = torch.randn(batch, *shape)
    (folder / "x.bin").write_bytes(x.numpy().tobytes())
    flags = ["-O1", "-g", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    predicted = run_main(folder, [compiler, *flags, *(["-DPLAIN"] if target == "plain" else [])], [], batch)
    with torch.no_grad():
        expected = model(x).flatten(1).numpy()
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, (CROSS, "qemu-aarch64"))), reason="no compiler for ARM (gcc-aarch64-linux-gnu), no qemu"
)
@pytest.mark.parametrize("target", ["neon", "plain"])
def test_an_arm_processor_predicts_the_same(tmp_path: Path, target: str) -> None:
    model = network(0.2)
    (tmp_path / "net.h").write_text(header(model, SHAPE, name="net", target=target), encoding="utf-8")
    x = torch.randn(19, *SHAPE)
    (tmp_path / "x.bin").write_bytes(x.numpy().tobytes())
    plain = ["-DPLAIN"] if target == "plain" else []
    predicted = run_main(tmp_path, [CROSS, "-O2", "-static", *plain], ["qemu-aarch64"], 19)
    with torch.no_grad():
        np.testing.assert_allclose(predicted, model(x).numpy(), atol=1e-4)


class Sigmoid(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x)


@pytest.mark.parametrize(
    ("module", "options", "complaint"),
    [
        (Sigmoid(), {"name": "net"}, "needs PyTorch for aten.sigmoid.default"),
        (nn.Linear(3, 2), {"name": "3net"}, "cannot begin a name in C"),
        (nn.Linear(3, 2), {"name": "net", "target": "avx51"}, "did you mean 'avx512'"),
    ],
)
def test_what_a_header_cannot_have_is_refused(module: nn.Module, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        header(module, (3,), **options)  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_refused() -> None:
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        header(module, (3,), name="net")

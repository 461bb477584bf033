"""Memory: near the beginning, never shared by what is needed together, and cleared where a border was written over."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lottery_pools.deploy import memory
from lottery_pools.deploy.graph import Activate, Convolution, Network
from lottery_pools.deploy.layout import bordered
from lottery_pools.deploy.plan import plan
from lottery_pools.deploy.trace import trace
from lottery_pools.models import registry
from tests.test_deploy_compiled import assert_same, sparse

SHAPE = (4, 8, 8)


def convolution(source: str, out: str, residual: str | None = None) -> Convolution:
    weight, bias = np.ones((4, 4, 3, 3), np.float32), np.zeros(4, np.float32)
    return Convolution(out, source, weight, bias, padding=(1, 1), residual=residual)


def block(*, kept: bool = False, shape: tuple[int, int, int] = SHAPE) -> Network:
    """x → a → b = convolution of a, plus x; `kept` says whether x is needed afterwards."""
    steps = (convolution("x", "a"), convolution("a", "b", "x"))
    return Network(steps, dict.fromkeys("xab", shape), ("x",), ("b", "x") if kept else ("b",))


def test_a_result_is_written_over_the_residual_that_nothing_else_needs() -> None:
    layouts = dict.fromkeys("xab", bordered(SHAPE, 16, (1, 1)))
    places = memory.place(block(), block().operations, layouts)
    assert places["b"] == places["x"] != places["a"]
    needed = block(kept=True)
    assert len(set(memory.place(needed, needed.operations, layouts).values())) == 3


@pytest.mark.parametrize("unsuited", ["shape", "layout", "source", "one sample"])
def test_a_result_is_not_written_over_what_it_may_not(unsuited: str) -> None:
    shape = (4, 8, 7) if unsuited == "shape" else SHAPE  # no tile of 4 × 4 divides it: positions are computed twice
    layout = bordered(shape, 1 if unsuited == "one sample" else 16, (1, 1))
    layouts = {"x": layout, "b": bordered(shape, 16, (2, 2)) if unsuited == "layout" else layout}
    step = convolution("x" if unsuited == "source" else "a", "b", "x")
    assert memory.over(step, layouts) is None
    suited = replace(step, source="a")
    assert memory.over(suited, dict.fromkeys("xab", bordered(SHAPE, 16, (1, 1)))) == "x"


def test_what_is_no_longer_needed_gives_its_place_to_another_layout_which_is_cleared_first() -> None:
    small = (4, 4, 4)
    steps = (Activate("a", "x", "relu"), convolution("a", "b"), Activate("c", "b", "relu"))
    network = Network(steps, {"x": SHAPE, "a": SHAPE, "b": small, "c": small}, ("x",), ("c",))
    layouts = {name: bordered(shape, 16, (1, 1)) for name, shape in network.shapes.items()}
    places = memory.place(network, steps, layouts)
    assert places == {"x": 0, "a": layouts["x"].floats, "b": 0, "c": places["c"]}
    assert places["c"] < layouts["x"].floats, "beside b, where x was"
    assert memory.spoiled(network, steps, layouts, places) == {"x", "b", "c"}
    alone = block()
    assert memory.spoiled(alone, alone.operations, dict.fromkeys("xab", layouts["x"]), {"x": 0, "a": 9999, "b": 0}) == (
        frozenset()
    )


def test_layouts_without_a_border_need_no_clearing() -> None:
    step = Activate("y", "x", "relu")
    network = Network(
        (step, Activate("z", "y", "relu")), {"x": (2, 1, 1), "y": (8, 1, 1), "z": (2, 1, 1)}, ("x",), ("z",)
    )
    layouts = {name: bordered(shape, 64, (0, 0)) for name, shape in network.shapes.items()}
    assert memory.spoiled(network, network.operations, layouts, {"x": 0, "y": 0, "z": 0}) == frozenset()


def test_a_network_needs_little_more_than_its_two_largest_values() -> None:
    (network,) = trace(registry.build("resnet20", {"width": 8}, 10, (3, 16, 16), 0), torch.zeros(1, 3, 16, 16)).steps
    assert isinstance(network, Network)
    planned = plan(network, single=False)
    largest = max(layout.floats for layout in planned.layouts.values())
    assert 2 * largest <= planned.workspace < 2.5 * largest


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_a_used_workspace_computes_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shrinking images with borders of several widths: each tile of samples finds what the one before it left."""
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path))
    layers = [
        nn.Conv2d(2, 6, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 3, padding=1),
    ]
    module = sparse(nn.Sequential(*layers), 0.4, 0)
    (network,) = trace(module, torch.zeros(1, 2, 13, 12)).steps
    assert isinstance(network, Network)
    assert len(plan(network, single=False).spoiled) == 3
    assert_same(module, (2, 13, 12), (90, 33, 90))

"""Pairs of weights that share their inputs: found once each, and only where inputs overlap."""

from __future__ import annotations

import numpy as np
import pytest

from lottery_pools.deploy.convolution import convolution
from lottery_pools.deploy.graph import Convolution, Network
from lottery_pools.deploy.kernel import Convolving
from lottery_pools.deploy.layout import bordered
from lottery_pools.deploy.plan import plan
from lottery_pools.deploy.sharing import Shift, match, sharings, shifts

BESIDE, BELOW = Shift((0, 1), (0, 1)), Shift((1, 0), (1, 0))


def layer(density: float, stride: tuple[int, int] = (1, 1)) -> Convolution:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(16, 16, 3, 3)) * (generator.random((16, 16, 3, 3)) < density)
    return Convolution("y", "x", weight.astype(np.float32), np.zeros(16, np.float32), stride, padding=(1, 1))


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_every_weight_is_in_one_pair_or_left(density: float) -> None:
    kept = layer(density).weight != 0
    left, pairs = match(kept, (BESIDE, BELOW))
    count = np.zeros(kept.shape, int) + left
    for shift, group in zip((BESIDE, BELOW), pairs, strict=True):
        assert (group[:, 1] - group[:, 0] == [0, 0, *shift.taps]).all()
        np.add.at(count, tuple(group.reshape(-1, 4).T), 1)
    np.testing.assert_array_equal(count, kept)
    if density == 1.0:
        assert [len(group) for group in pairs] == [16 * 16 * 3, 16 * 16], "a row of three has one pair, a column too"
    beside, below, both = sharings(layer(density).weight, [BESIDE, BELOW])
    assert beside.pairs == (len(pairs[0]),)
    assert both.pairs == (len(pairs[0]), len(pairs[1]))
    assert below.pairs >= (len(pairs[1]),)


def test_shared_inputs_are_loaded_once() -> None:
    assert BESIDE.loads(4, 4) == BELOW.loads(4, 4) == 20
    assert BESIDE.loads(2, 8) == 18
    assert Shift((0, 1), (0, 9)).loads(1, 8) == 16, "nothing in common"


def taps(op: Convolution, size: int, single: bool) -> list[Shift]:
    out = size // op.stride[0]
    network = Network((op,), {"x": (16, size, size), "y": (16, out, out)}, ("x",), ("y",))
    planned = plan(network, single)
    (step,) = (step for step in planned.operations if isinstance(step, Convolution))
    source = planned.unfolded.get(step.source) or planned.layouts[step.source]
    work = Convolving(step, source, None, planned.layouts["y"])
    return shifts(work.taps(), work.grid.source)


def test_shifts_follow_the_layout() -> None:
    assert taps(layer(1.0), 8, single=False)[:2] == [BESIDE, BELOW]
    assert taps(layer(1.0, (2, 2)), 8, single=False) == [Shift((0, 2), (0, 1)), Shift((2, 0), (1, 0))]
    assert Shift((1, 0), (0, 2)) in taps(layer(1.0), 32, single=True), "a row of 32 positions is two registers"
    assert Shift((1, 0), (0, 1)) not in taps(layer(1.0), 8, single=True), "half a register"


def test_a_layer_with_many_pairs_has_a_loop_for_them_and_one_with_few_has_none() -> None:
    for density, expected in ((0.4, True), (0.02, False)):
        op = layer(density)
        network = Network((op,), {"x": (16, 32, 32), "y": (16, 32, 32)}, ("x",), ("y",))
        function = convolution(op, plan(network, single=False), "avx512")
        assert ("k += 2" in function.text) is expected
        assert len(function.floats) == 16 + np.count_nonzero(op.weight)
    assert bordered((16, 32, 32), 16, (1, 1)).has_zeros

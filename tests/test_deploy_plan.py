"""Plans: borders, what is unfolded, and which values share memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from lottery_pools.deploy import plan as planning
from lottery_pools.deploy.graph import Convolution, Network
from lottery_pools.deploy.layout import Layout, Unfolded, bordered
from lottery_pools.deploy.plan import Plan, Unfold, cut, plan
from lottery_pools.deploy.trace import trace
from lottery_pools.models import registry


def network(name: str, shape: tuple[int, ...], **arguments: int) -> Network:
    (step,) = trace(registry.build(name, arguments, 10, shape, 0), torch.zeros(1, *shape)).steps
    assert isinstance(step, Network)
    return step


def alive(planned: Plan) -> list[dict[str, tuple[int, int]]]:
    """The memory (first, one past the last float) of all values that are needed at each operation.

    A residual over which its operation writes counts as that operation's result.
    """
    layouts: dict[str, Layout | Unfolded] = {**planned.layouts, **planned.unfolded}
    last = {name: index for index, op in enumerate(planned.operations) for name in op.reads}
    last |= dict.fromkeys(planned.network.outputs, len(planned.operations))
    born = dict.fromkeys(planned.network.inputs, -1) | {op.out: i for i, op in enumerate(planned.operations)}
    spans = {name: (place, place + layouts[name].floats) for name, place in planned.places.items()}
    written_over = {
        (index, op.residual)
        for index, op in enumerate(planned.operations)
        if isinstance(op, Convolution) and op.residual and planned.places[op.residual] == planned.places[op.out]
    }
    return [
        {
            name: spans[name]
            for name in spans
            if born[name] <= index <= last.get(name, -1) and (index, name) not in written_over
        }
        for index in range(len(planned.operations))
    ]


@pytest.mark.parametrize("single", [False, True])
def test_values_that_are_needed_together_do_not_share_memory(single: bool) -> None:
    planned = plan(network("resnet20", (3, 16, 16), blocks=2, width=4), single)
    for spans in alive(planned):
        ordered = sorted(spans.values())
        assert all(end <= begin for (_, end), (begin, _) in pairwise(ordered))
        assert ordered[-1][1] <= planned.workspace
    total = sum(layout.floats for layout in planned.layouts.values())
    total += sum(copies.floats for copies in planned.unfolded.values())
    assert planned.workspace < total, "values share memory"


def test_borders_in_batch_mode_and_copies_in_single_mode() -> None:
    traced = network("conv1d", (2, 20))
    batch, single = plan(traced, single=False), plan(traced, single=True)
    assert batch.lanes == 16
    assert single.lanes == 1
    first = batch.layouts[traced.inputs[0]]
    assert (first.top, first.left, first.pitch) == (0, 2, 22), "what lies after a row is the border before the next"
    assert [type(op) for op in single.operations].count(Unfold) == 3  # the convolutions; not the linear layer
    assert not any(isinstance(op, Unfold) for op in batch.operations)


def test_a_network_of_vectors_computes_64_samples_side_by_side() -> None:
    assert plan(network("mlp", (20,)), single=False).lanes == 64


def test_few_weights_on_much_memory_are_computed_one_sample_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = network("resnet20", (3, 16, 16), blocks=1, width=16)
    assert cut(dense) == 0
    first_layer = dense.operations[0]
    touched = sum(bordered(dense.shapes[name], 16, (1, 1)).floats for name in (*first_layer.reads, first_layer.out))
    monkeypatch.setattr(planning, "CACHE", 4 * touched - 1)  # just less than the first layer touches
    monkeypatch.setattr(planning, "FEW", 28)  # 27 weights an output in the first layer, 144 in the next
    first, second = (op for op in dense.operations[:2] if isinstance(op, Convolution))
    assert [np.count_nonzero(op.weight) / len(op.weight) for op in (first, second)] == [27, 144]
    downsampling = [i for i, op in enumerate(dense.operations) if isinstance(op, Convolution) and op.stride == (2, 2)]
    assert cut(dense) == 1 + max(i for i in downsampling if dense.shapes[dense.operations[i].out][0] == 32)
    monkeypatch.setattr(planning, "FEW", 10)
    assert cut(dense) == 0
